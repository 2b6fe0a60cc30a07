"""`make bench`: performance of the service, each figure beside a reference that alternated with it in the same run.

    python -m bench                 all rows, about a quarter of an hour
    python -m bench --rows 1,2      only these rows
    python -m bench --quick         a small world and short turns, to check that all of it works

Only the row about the decision log stores lines of decisions, so that other figures are comparable to earlier runs.

Needs `wrk` (Debian: `apt-get install wrk`). Other programs are fetched into the run's temporary folder; a row says so
if that fails. Everything runs on one Linux machine, including the load generator.
"""

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench.load import require_wrk
from bench.rows import (
    before_row,
    cerbos_row,
    evidence_rows,
    exchange_rows,
    hook_rows,
    library_rows,
    revocation_rows,
    snapshot_rows,
    webhook_rows,
)
from bench.setting import Bench, Options, progress
from bench.table import heading, notes, shown
from bench.world import World

ROWS: Final[Mapping[int, Callable[[Bench], None]]] = {
    1: hook_rows.on_postgresql,
    2: hook_rows.on_sqlite,
    3: hook_rows.against_the_ordinary_way,
    4: cerbos_row.against_cerbos,
    5: library_rows.against_libraries,
    6: hook_rows.with_workers,
    7: hook_rows.in_batches,
    8: snapshot_rows.with_many_more_grants,
    9: snapshot_rows.loading,
    10: snapshot_rows.one_change,
    11: revocation_rows.decisions_meanwhile,
    12: revocation_rows.acknowledged,
    13: exchange_rows.filtering,
    14: exchange_rows.whole_gate,
    15: evidence_rows.a_write,
    16: evidence_rows.a_proof,
    17: hook_rows.with_the_log,
    18: webhook_rows.with_a_full_outbox,
    19: before_row.against_before,
}
_GIGABYTE: Final = 1024**3


def main() -> None:
    asked = _arguments()
    require_wrk()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)))
        bench = Bench(_options(asked, folder), folder, stack, progress())
        print(heading(bench), flush=True)
        for row in asked.rows:
            before = len(bench.lines)
            _run(bench, row)
            bench.say("")
            for line in bench.lines[before:]:
                print(shown(line), flush=True)
        for note in notes(bench):
            print(note)


def _run(bench: Bench, row: int) -> None:
    """Runs one row. If it fails, the table says so and the other rows go on."""
    try:
        ROWS[row](bench)
    except Exception as error:
        bench.add(row, f"failed: {(ROWS[row].__doc__ or '').rstrip('.')}")
        bench.notes.append(f"row {row} failed: {' '.join(f'{type(error).__name__}: {error}'.split())[:600]}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=_rows, default=list(ROWS), help="only these, as in 1,2,9")
    parser.add_argument("--quick", action="store_true", help="a small world and short turns")
    parser.add_argument("--seconds", type=float, help="how long a turn lasts (3)")
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="an earlier version, for row 19: it has a .venv")
    parser.add_argument("--turns", type=int, help="how many turns each one has (3)")
    parser.add_argument(
        "--large",
        action=argparse.BooleanOptionalAction,
        help="measure 4,000,000 grants too (when 10 GB of disk and 4 GB of memory are free)",
    )
    return parser.parse_args()


def _rows(text: str) -> list[int]:
    chosen = [int(word) for word in text.split(",")]
    if unknown := [row for row in chosen if row not in ROWS]:
        raise argparse.ArgumentTypeError(f"there is no row {unknown[0]}: they are {', '.join(map(str, ROWS))}")
    return chosen


def _options(asked: argparse.Namespace, folder: Path) -> Options:
    seconds, turns = (1, 1) if asked.quick else (3, 3)
    return Options(
        seconds=asked.seconds or seconds,
        turns=asked.turns or turns,
        world=World(400, 10) if asked.quick else World(8_000, 50),
        large=World(400, 100) if asked.quick else World(8_000, 500),
        why_not_large=_why_not_large(asked.large, asked.quick, folder),
        before=asked.before.resolve() if asked.before is not None else None,
    )


def _why_not_large(wish: bool | None, is_quick: bool, folder: Path) -> str | None:
    if wish is not None:
        return None if wish else "it was not asked for"
    if is_quick:
        return None
    if shutil.disk_usage(folder).free < 10 * _GIGABYTE:
        return "less than 10 GB of disk is free"
    if os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 4 * _GIGABYTE:
        return "less than 4 GB of memory is free"
    return None


if __name__ == "__main__":
    main()
