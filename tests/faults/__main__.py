"""`make stress`: the probe in full, the leaks of an unprotected cache beside it; and histories, each checked."""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults import histories
from tests.faults.cases import CASES, UNPROTECTED
from tests.faults.replicas import fresh_store, site_on
from tests.faults.rounds import Tally, probe
from tests.faults.workload import furnish

SCHOOLS = 20


async def probed(rounds: int, seed: int, *, protected: bool) -> dict[str, Tally]:
    """So many rounds against three replicas, of which one has two workers."""
    cases, workers = (CASES, (1, 1, 2)) if protected else (UNPROTECTED, (1, 1, 1))
    with tempfile.TemporaryDirectory(prefix="privacy-manager-stress-") as folder:
        async with fresh_store() as postgresql:
            await furnish(postgresql.url, SCHOOLS)
            async with site_on(postgresql, Path(folder), workers, protected=protected) as site:
                return await probe(site, cases, rounds, random.Random(seed), progress(rounds))


def progress(rounds: int) -> Callable[[int], None]:
    begun = time.monotonic()

    def show(done: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done:,} of {rounds:,} rounds, {time.monotonic() - begun:.0f} s ", end="", file=sys.stderr)

    return show


def print_table(title: str, tallies: dict[str, Tally]) -> int:
    """The table of one build. Gives the number of permits after an acknowledged revocation."""
    print(f"\n{title}")
    print(f"{'case':<34}{'rounds':>7}{'permits':>9}{'denied':>8}{'503':>7}{'none':>6}{'LEAKS':>7}{'back, s':>9}")
    total = Tally()
    for name, tally in [*tallies.items(), ("all", total)]:
        unavailable = sum(count for told, count in tally.after.items() if told.startswith("503"))
        denied = sum(count for told, count in tally.after.items() if told.startswith("200"))
        print(
            f"{name:<34}{tally.rounds:>7,}{tally.permits_before:>9,}{denied - tally.leaks:>8,}{unavailable:>7,}"
            f"{tally.after['none']:>6,}{tally.leaks:>7,}{tally.slowest_return:>9.2f}"
        )
        if tally is not total:
            total.add(tally)
    for wrong in total.wrong[:5]:
        print(f"  {wrong}"[:300])
    return total.leaks + (len(total.wrong) - total.leaks)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10_000, help="of the protected build")
    parser.add_argument("--unprotected-rounds", type=int, help="of a cache that only listens; else a tenth as many")
    parser.add_argument("--histories", type=int, default=200)
    parser.add_argument("--operations", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    few = chosen.rounds // 10 if chosen.unprotected_rounds is None else chosen.unprotected_rounds
    leaks = print_table("A cache that only listens", asyncio.run(probed(few, chosen.seed, protected=False)))
    wrong = print_table("This service", asyncio.run(probed(chosen.rounds, chosen.seed, protected=True)))
    print(f"\n{chosen.histories} histories of {chosen.operations} operations, with faults")
    total = asyncio.run(histories.run(chosen.histories, chosen.operations, chosen.seed))
    print(total.line())
    print(total.details())
    return 0 if leaks and not wrong and not total.violations else 1


if __name__ == "__main__":
    sys.exit(main())
