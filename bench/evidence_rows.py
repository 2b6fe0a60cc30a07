"""The evidence: what a change takes with its event beside the same change without, and a proof in a long log."""

import json
import subprocess
import sys
from typing import Any

from bench import servers
from bench.setting import POSTGRESQL, SQLITE, Aim, Bench

LONG, SHORT, QUICK_LONG = 1_000_000, 1_000, 20_000
_SECONDS = 900


def a_write(bench: Bench) -> None:
    """A write with its event against the same write without one."""
    for kind in (POSTGRESQL, SQLITE):
        bench.say(f"writes on {kind} with their events, and without")
        found = _measured("write", bench.new_store(kind, "writes"), str(100 * bench.options.turns))
        shown = [f"{1000 * found[name]:.2f} ms" for name in ("with", "without")]
        bench.add(15, f"{kind}: a write with its event : without", *shown, found["ratio"], Aim("<=", 1.3))


def a_proof(bench: Bench) -> None:
    """An inclusion proof in a long log against one in a short log."""
    long = QUICK_LONG if bench.options.world.grants < 100_000 else LONG
    for kind in (POSTGRESQL, SQLITE):
        taken = []
        for size in (long, SHORT):
            bench.say(f"proofs in a log of {size:,} events on {kind}")
            taken.append(_measured("proof", bench.new_store(kind, f"proofs_{size}"), str(size))["seconds"])
        shown = [f"{1000 * each:.2f} ms" for each in taken]
        what = f"{kind}: inclusion proof of {long:,} : {SHORT:,} events"
        bench.add(16, what, *shown, taken[0] / taken[1], Aim("<=", 20))


def _measured(what: str, *arguments: str) -> Any:
    command = [sys.executable, "-m", "bench.evidence", what, *arguments]
    done = subprocess.run(command, cwd=servers.ROOT, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(" ".join(done.stderr.split())[-300:])
    return json.loads(done.stdout)
