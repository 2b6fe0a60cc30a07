"""Many histories of many calls, recorded while things fail, and each checked: `python -m tests.faults.histories`."""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.replicas import Site
from tests.faults.workload import Plan, Recording, keys_of, record_history, running_site
from tests.linearizability.history import Operation, Violation
from tests.linearizability.search import violations

_MOST_SHOWN = 10


@dataclass
class Total:
    """What all histories so far add up to."""

    began: float = field(default_factory=time.monotonic)
    histories: int = 0
    violations: int = 0
    counted: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    refused_reads: Counter[str] = field(default_factory=Counter)

    def add(self, recording: Recording, found: Sequence[Violation]) -> None:
        self.histories += 1
        self.violations += len(found)
        self.counted += recording.tally
        self.faults += recording.faults
        self.refused_reads += recording.refused_reads

    def line(self) -> str:
        seconds = time.monotonic() - self.began
        of = self.counted
        return (
            f"{self.histories} histories, {of['operations']:,} operations in {seconds:,.0f} s; "
            f"writes {of['writes ok']:,} acknowledged, {of['writes unknown']:,} unknown, "
            f"{of['writes failed']:,} refused; reads {of['reads permit']:,} permit, {of['reads deny']:,} deny, "
            f"{of['reads none']:,} none; violations {self.violations}"
        )

    def details(self) -> str:
        faults = ", ".join(f"{name} {count:,}" for name, count in sorted(self.faults.items()))
        unavailable = ", ".join(f"{reason} {count:,}" for reason, count in sorted(self.refused_reads.items()))
        return f"faults: {faults or 'none'}\n503 to a read: {unavailable or 'none'}"


async def record_all(
    site: Site, histories: int, operations: int, seed: int, *, first: int = 0, total: Total | None = None
) -> Total:
    """Records so many histories and checks each; the sum of them, and of those that `total` has already.

    Nobody did anything yet at the schools from the `first` history's on.
    """
    total = total or Total()
    for number in range(first, first + histories):
        recording = await record_history(site, Plan(operations, keys_of(number), f"{seed} {number}"))
        found = violations(recording.operations)
        total.add(recording, found)
        if found:
            report(number, found, recording.operations)
        show(total.line())
    return total


def show(line: str) -> None:
    """The line of progress, in its place; nothing where there is no terminal."""
    if sys.stdout.isatty():
        print(f"\r\x1b[K{line}", end="", flush=True)


def report(number: int, found: Sequence[Violation], history: Sequence[Operation]) -> None:
    path = dump(history)
    print(f"\nhistory {number}: {len(found)} violations, written to {path}")
    for violation in found[:_MOST_SHOWN]:
        print(violation)


def dump(history: Sequence[Operation]) -> Path:
    """Writes a history where it stays, for `from_json`."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", prefix="history-", delete=False, encoding="utf-8") as file:
        json.dump([operation.as_json() for operation in history], file, indent=1)
    return Path(file.name)


async def run(histories: int, operations: int, seed: int) -> Total:
    with tempfile.TemporaryDirectory(prefix="privacy-manager-histories-") as folder:
        async with running_site(Path(folder), histories) as site:
            return await record_all(site, histories, operations, seed)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.histories", description=__doc__)
    parser.add_argument("--histories", type=int, default=200)
    parser.add_argument("--operations", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    total = asyncio.run(run(chosen.histories, chosen.operations, chosen.seed))
    show("")
    print(total.line())
    print(total.details())
    return 1 if total.violations else 0


if __name__ == "__main__":
    sys.exit(main())
