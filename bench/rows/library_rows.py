"""Rows of policy libraries: their decisions in process against ours, on the same grants."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from bench.probes import measured
from bench.setting import POSTGRESQL, Bench
from bench.world import PURPOSES, World

PACKAGES = ("casbin", "cedarpy")
#: Grants per library; None for all. A linear search of all of them would take minutes per answer.
LIBRARIES: dict[str, int | None] = {"cedarpy": None, "casbin, by key": None, "casbin, in order": 1_000}
_INSTALL_SECONDS = 240
_PROBE_SECONDS = 300

Result = dict[str, Any]


def against_libraries(bench: Bench) -> None:
    """Measures the decision in process against casbin and cedarpy."""
    world = bench.options.world
    own = measured(
        "in_process", "decide", bench.store(POSTGRESQL, world), str(bench.bodies(world)), str(bench.options.seconds)
    )
    bench.add(5, f"decide() in process, {world.grants:,} grants", f"{own['per_second']:,.0f} /s")
    bench.say("installing casbin and cedarpy")
    python = _environment(bench)
    if isinstance(python, str):
        bench.add(5, "casbin, cedarpy: not measured, pip could not install them")
        bench.notes.append(f"row 5: {python}")
        return
    for library, most in LIBRARIES.items():
        _measure(bench, python, library, min(most or world.grants, world.grants), own)


def _measure(bench: Bench, python: Path, library: str, many: int, own: Result) -> None:
    bench.say(f"{library}: {many:,} grants")
    world = bench.options.world
    grants, questions = bench.folder / "grants.tsv", bench.folder / f"asked-{many}.tsv"
    grants.write_text("\n".join(islice(_grants(world), many)), encoding="utf-8")
    asked = (_question(pair, world) for pair in _pairs(bench, world, many))
    questions.write_text("\n".join(asked), encoding="utf-8")
    probe = Path(__file__).with_name("library_probe.py")
    command = [str(python), str(probe), library, str(grants), str(questions), str(bench.options.seconds)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        bench.add(5, f"decide() : {library} - {many:,} grants took over {_PROBE_SECONDS} s")
        return
    if done.returncode:
        bench.add(5, f"decide() : {library} - it cannot hold {many:,} grants")
        bench.notes.append(f"row 5: {library}: {' '.join(done.stderr.split())[-300:]}")
        return
    _add(bench, library, json.loads(done.stdout), own)


def _add(bench: Bench, library: str, result: Result, own: Result) -> None:
    what = f"decide() : {library}, {result['grants']:,} grants"
    is_same = result["grants"] == bench.options.world.grants
    for name, member, unit in (
        (what, "per_second", "{:,.0f} /s"),
        ("  memory that they take, in MiB", "bytes", "{:,.0f}"),
        ("  time to load them", "load_seconds", "{:.1f} s"),
    ):
        mine, other = ((each[member] / (2**20 if member == "bytes" else 1)) for each in (own, result))
        # With different numbers of grants, only the decisions are comparable.
        ratio = mine / other if is_same or member == "per_second" else None
        bench.add(5, name, unit.format(mine), unit.format(other), ratio)
    if result["wrong"]:
        bench.notes.append(f"row 5: {library} answered {result['wrong']} questions wrong")


def _environment(bench: Bench) -> Path | str:
    """The Python of a temporary environment with the libraries, or the reason why there is none."""
    folder = bench.folder / "libraries"
    python = folder / "bin" / "python"
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True, timeout=60)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        return "pip did not install casbin and cedarpy in time"
    except subprocess.CalledProcessError as error:
        return f"pip: {' '.join(str(error.stderr).split())[-300:]}"
    return python


def _grants(world: World) -> Iterator[str]:
    now = int(time.time())
    for pair in range(world.grants):
        status = "granted" if world.is_granted(pair) else "revoked"
        yield f"{world.client_of(pair)}\t{world.brin_of(pair)}\t{status}\t{now - pair % 30_000_000}\t{now + 26_000_000}"


def _pairs(bench: Bench, world: World, many: int) -> list[int]:
    """The pairs of the usual questions; with few grants, all pairs."""
    return [asked.pair for asked in bench.asked(world)] if many == world.grants else list(range(many))


def _question(pair: int, world: World) -> str:
    return f"{world.client_of(pair)}\t{world.brin_of(pair)}\tleerling.naam\t{PURPOSES[0]}\t{world.is_granted(pair)}"
