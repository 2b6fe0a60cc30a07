"""Rows of revocations: their effect on concurrent decisions, and the time until they are acknowledged."""

import asyncio
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from bench import servers
from bench.filling import driver_url
from bench.load import Target, begin_load, in_turns, put_load
from bench.setting import POSTGRESQL, Aim, Bench

RATE = 50
CONNECTIONS = 16
#: Questions used to check a started hook; their grants are not revoked.
_LEFT_ALONE = 200
#: Upper bound of revocations a second by one sequential client.
_MOST_A_SECOND = 400
_HEAD_START_SECONDS = 0.5


def decisions_meanwhile(bench: Bench) -> None:
    """Measures decisions during revocations against decisions without."""
    with bench.hook(POSTGRESQL, bench.options.world) as hook:
        taken: list[float] = []

        def quiet() -> Any:
            return put_load(hook, CONNECTIONS, bench.options.seconds)

        def busy() -> Any:
            seconds = bench.options.seconds + _HEAD_START_SECONDS
            writer = _revoker(bench, hook, RATE, seconds)
            turn = quiet()
            taken.extend(_milliseconds_of(bench, writer))
            return turn

        bench.say(f"decisions while {RATE} revocations a second arrive")
        put_load(hook, CONNECTIONS, 1)
        own, reference = in_turns([busy, quiet], bench.options.turns)
    what = f"decisions with {RATE} revocations/s : without, {CONNECTIONS} conn."
    bench.compare(11, what, own, reference, Aim(">=", 0.9))
    bench.compare_p99(11, "  p99 of the same", own, reference, None)
    expected = bench.options.turns * RATE * bench.options.seconds
    bench.notes.append(
        f"row 11: {len(taken)} revocations were answered, of {expected:.0f} or more that were due; "
        f"p50 {_percentile(taken, 50):.1f} ms, p99 {_percentile(taken, 99):.1f} ms"
    )
    errors = sum(turn.errors for turn in (*own, *reference))
    if errors:
        bench.notes.append(f"row 11: {errors} decisions were not 200")


def acknowledged(bench: Bench) -> None:
    """Measures the time of a revocation against a bare commit."""
    world = bench.options.world
    url = driver_url(bench.store(POSTGRESQL, world))
    seconds = str(bench.options.seconds)
    with bench.hook(POSTGRESQL, world) as hook:
        measured: dict[str, list[float]] = {}

        def note(name: str, begin: Callable[[], "subprocess.Popen[str]"]) -> None:
            measured.setdefault(name, []).extend(_milliseconds_of(bench, begin()))

        bench.say("revocations, quiet and under load")
        for _ in range(bench.options.turns):
            note("quiet", lambda: _revoker(bench, hook, 0, bench.options.seconds))
            note("quiet, bare", lambda: _writer("commit", url, seconds))
            for name, begin in (
                ("under load", lambda: _revoker(bench, hook, 0, bench.options.seconds)),
                ("under load, bare", lambda: _writer("commit", url, seconds)),
            ):
                load = begin_load(hook, CONNECTIONS, bench.options.seconds + 2)
                note(name, begin)
                load.communicate()
    for name in ("quiet", "under load"):
        for share in (50, 99):
            own, reference = _percentile(measured[name], share), _percentile(measured[f"{name}, bare"], share)
            what = f"revocation : bare commit, {name}, p{share}"
            bench.add(12, what, f"{own:.2f} ms", f"{reference:.2f} ms", own / reference)
    bench.notes.append(
        f"row 12: under load is {CONNECTIONS} connections that ask for decisions; "
        f"{len(measured['quiet'])} and {len(measured['under load'])} revocations, one after the other"
    )


def _revoker(bench: Bench, hook: Target, rate: float, seconds: float) -> "subprocess.Popen[str]":
    """Starts a process that revokes; it is running when this returns."""
    most = round(seconds * (rate or _MOST_A_SECOND))
    path = bench.folder / "to-revoke.txt"
    path.write_text("\n".join(asyncio.run(_targets(bench, most))), encoding="utf-8")
    origin = hook.url.split("/access/", 1)[0]
    return _writer("revoke", origin, str(path), str(rate), str(seconds))


def _writer(*arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "bench.writers", *arguments]
    process = subprocess.Popen(command, cwd=servers.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def _milliseconds_of(bench: Bench, writer: "subprocess.Popen[str]") -> list[float]:
    """Waits for the writer. Returns the milliseconds of each write."""
    printed, complaint = writer.communicate()
    if writer.returncode:
        raise RuntimeError(f"a writer failed: {' '.join(complaint.split())[-300:]}")
    result = json.loads(printed)
    if result["refused"]:
        bench.notes.append(f"{len(result['refused'])} revocations were not 200, as this one: {result['refused'][0]}")
    return list(result["milliseconds"])


async def _targets(bench: Bench, many: int) -> list[str]:
    """Grants in force, each with its school and a token of that school."""
    world = bench.options.world
    kept = {(world.client_of(each.pair), world.brin_of(each.pair)) for each in bench.asked(world)[:_LEFT_ALONE]}
    connection = await asyncpg.connect(driver_url(bench.store(POSTGRESQL, world)))
    query = "SELECT client_id, brin, grant_id FROM grants WHERE status = 'granted' ORDER BY grant_id LIMIT $1"
    rows = await connection.fetch(query, many + len(kept))
    await connection.close()
    free = [(school, grant_id) for client, school, grant_id in rows if (client, school) not in kept][:many]
    return [f"{school} {grant_id} {_school_token(bench, school)}" for school, grant_id in free]


_tokens: dict[tuple[Path, str], str] = {}


def _school_token(bench: Bench, school: str) -> str:
    key = bench.folder, school
    if key not in _tokens:
        now, lifetime = datetime.now(UTC), timedelta(hours=12)
        _tokens[key] = bench.issuer.mint("school", subject="bench", school=school, lifetime=lifetime, now=now)
    return _tokens[key]


def _percentile(values: list[float], share: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]
