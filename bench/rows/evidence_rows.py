"""Rows of the evidence: a change with its event against one without, and a proof in a long log."""

from bench.evidence_writes import WITH, WITHOUT
from bench.probes import measured
from bench.setting import POSTGRESQL, SQLITE, Aim, Bench
from bench.world import World

LONG, SHORT, QUICK_LONG = 1_000_000, 1_000, 20_000


def a_write(bench: Bench) -> None:
    """Measures writes by callers with their event against the same without, and the minimal write."""
    for kind in (POSTGRESQL, SQLITE):
        bench.say(f"revocations and grants on {kind} with their events, and without")
        url = bench.new_store(kind, "writes", World(schools=400, connections=5))
        found = measured("evidence_writes", url, str(100 * bench.options.turns))
        for what, aim in (("revocation", Aim("<=", 1.3)), ("grant", Aim("<=", 1.3)), ("least write", None)):
            shown = [f"{1000 * found[what][way]:.2f} ms" for way in (WITH, WITHOUT)]
            ratio = found[what][WITH] / found[what][WITHOUT]
            bench.add(15, f"{kind}: a {what} with its event : without", *shown, ratio, aim)


def a_proof(bench: Bench) -> None:
    """Measures an inclusion proof in a long log against one in a short log."""
    long = QUICK_LONG if bench.options.world.grants < 100_000 else LONG
    for kind in (POSTGRESQL, SQLITE):
        taken = []
        for size in (long, SHORT):
            bench.say(f"proofs in a log of {size:,} events on {kind}")
            taken.append(measured("evidence", bench.new_store(kind, f"proofs_{size}"), str(size))["seconds"])
        shown = [f"{1000 * each:.2f} ms" for each in taken]
        what = f"{kind}: inclusion proof of {long:,} : {SHORT:,} events"
        bench.add(16, what, *shown, taken[0] / taken[1], Aim("<=", 20))
