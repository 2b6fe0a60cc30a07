"""`privacy-manager schools import`: imports the schools and locations of DUO's files, all of them or none.

The files are read before the store. Then one transaction reads the stored rows, computes the plan (pure), and writes
only the rows that differ, each with the import's revision, so that the next request's decision sees them. An import
changes only what its kinds of file list; rows of other kinds stay as they are.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from sqlalchemy import bindparam, insert, inspect, select, update
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from api.grants.reconfirmation import set_reconfirmation_dates
from api.queries.grant_rows import clients_with_grant
from api.registry.duo import MAX_BYTES, ImportRefused, ListedLocation, RefusedLine, kind_of, parse, refusal
from api.registry.schools_plan import (
    BoardState,
    Counts,
    Difference,
    FileRead,
    Listing,
    LocationState,
    Plan,
    SchoolState,
    State,
    State_co,
    Stored,
    planned,
    refuse_mass_removal,
)
from api.store.events import SYSTEM, record
from api.store.store import Store, Write
from models.consents.schools import Board, Location, School
from models.log.entry_states import listed
from models.vocabulary.event_kinds import EventKind

__all__ = ["Counts", "FileRead", "ImportRefused", "ImportReport", "RefusedLine", "import_files"]

ROWS_AT_ONCE: Final = 500

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The result of an import. `revision` is None when nothing changed; then no event was recorded either."""

    files: tuple[FileRead, ...]
    locations: Counts
    schools: Counts
    boards: Counts
    revision: int | None
    #: Always 0 here: an import with refused lines is an `ImportRefused`.
    refused: int = 0

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def repeated(self) -> int:
        return sum(file.repeated for file in self.files)

    def lines(self) -> list[str]:
        """The report as lines of text for people."""
        return [
            *(f"{file.name} ({file.kind}): {file.rows:,} read, {file.repeated:,} repeated" for file in self.files),
            f"rows: {self.rows:,} read, {self.repeated:,} repeated, {self.refused:,} refused",
            f"locations: {self.locations}",
            f"schools: {self.schools}",
            f"boards: {self.boards}",
            "nothing changed" if self.revision is None else f"revision: {self.revision}",
        ]

    def __str__(self) -> str:
        return "\n".join(self.lines())


async def import_files(
    store: Store,
    files: Sequence[Path],
    *,
    kind: str | None = None,
    on_progress: OnProgress | None = None,
    allow_mass_removal: bool = False,
) -> ImportReport:
    """Imports DUO's `files` in one transaction. The same files again change nothing and take no revision.

    `kind` is the kind of all files; without it, each file's name tells its kind. `on_progress` gets the steps done and
    the total, which grows once, when the number of rows to write is known. Raises `ImportRefused`, after which nothing
    has changed, for any refused line, and for a removal of more than `MASS_REMOVAL` of a kind unless
    `allow_mass_removal`. Raises `StoreUnreachable`.
    """
    progress = _Progress(on_progress)
    listing = _listing(files, kind, progress)
    async with store.writing() as write:
        stored = await _stored(write.session)
        plan = planned(stored, listing, write.now)
        if not allow_mass_removal:
            refuse_mass_removal(stored, plan.locations.gone, listing.kinds)
        if not plan.writes:
            return _report(listing, plan, None)
        await _write_plan(write, plan, progress)
        await _set_dates_of_moved_schools(write, stored, plan)
        report = _report(listing, plan, write.revision)
        record(write, EventKind.SCHOOLS_IMPORTED, SYSTEM, {**_state_of(report), "listed": _listed_state(plan)})
    return report


@dataclass
class _Progress:
    """The progress of an import, in steps: lines read, then rows written."""

    report: OnProgress | None
    done: int = 0
    total: int = 0

    def expect(self, more: int) -> None:
        self.total += more

    def advance(self, more: int) -> None:
        self.done += more
        if self.report is not None:
            self.report(self.done, self.total)


# Reading the files.


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    kind: str
    data: bytes


def _listing(files: Sequence[Path], kind: str | None, progress: _Progress) -> Listing:
    listing = Listing()
    opened = _opened(files, kind, listing.refused)
    progress.expect(sum(file.data.count(b"\n") for file in opened))
    for file in opened:
        with _collecting(listing.refused):
            listing.add(file.name, file.kind, parse(file.data, file.name))
        progress.advance(file.data.count(b"\n"))
    if listing.refused:
        raise refusal(listing.refused)
    return listing


def _opened(files: Sequence[Path], kind: str | None, refused: list[RefusedLine]) -> list[_File]:
    if not files:
        raise ImportRefused("Nothing was imported: no file was named.")
    opened: list[_File] = []
    for path in files:
        with _collecting(refused):
            opened.append(_File(path.name, kind_of(path.name, kind), _contents(path)))
    return opened


@contextmanager
def _collecting(refused: list[RefusedLine]) -> Iterator[None]:
    """Collects the refusal of a file and goes on, so that one run names the bad lines of every file."""
    try:
        yield
    except ImportRefused as refusal_of_file:
        refused.extend(refusal_of_file.refused)


def _contents(path: Path) -> bytes:
    """The file's bytes; of a file over `MAX_BYTES` one byte more, by which the parser refuses it."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise refusal([RefusedLine(path.name, None, f"it cannot be read: {error.strerror}")]) from error


def _report(listing: Listing, plan: Plan, revision: int | None) -> ImportReport:
    return ImportReport(tuple(listing.files), plan.locations.counts, plan.schools.counts, plan.boards.counts, revision)


def _listed_state(plan: Plan) -> dict[str, Any]:
    """The changed schools and locations for the log, from which past decisions are replayed."""
    schools, locations = (
        [*difference.added, *difference.changed, *difference.gone] for difference in (plan.schools, plan.locations)
    )
    return listed(
        ((each.brin, each.board_number, each.gone_at) for each in schools),
        ((each.listed.code, each.gone_at) for each in locations),
    )


def _state_of(report: ImportReport) -> dict[str, Any]:
    """The event's state: the kinds of file, and the counts."""
    return {
        "kinds": sorted({file.kind for file in report.files}),
        "rows": report.rows,
        "repeated": report.repeated,
        "locations": asdict(report.locations),
        "schools": asdict(report.schools),
        "boards": asdict(report.boards),
    }


# Reading and writing the store.


async def _stored(session: AsyncSession) -> Stored:
    listed = [each.name for each in fields(ListedLocation)]
    boards = await _select_columns(session, Board, "number", "name")
    schools = await _select_columns(session, School, "brin", "name", "board_number", "gone_at")
    locations = await _select_columns(session, Location, *listed, "kinds", "gone_at")
    return Stored(
        {row[0]: BoardState(*row) for row in boards},
        {row[0]: SchoolState(*row) for row in schools},
        {row[0]: LocationState(ListedLocation(*row[:-2]), frozenset(row[-2]), row[-1]) for row in locations},
    )


async def _select_columns(session: AsyncSession, table: type[SQLModel], *names: str) -> Sequence[Sequence[Any]]:
    connection = await session.connection()
    return (await connection.execute(select(*(inspect(table).columns[name] for name in names)))).all()


async def _write_plan(write: Write, plan: Plan, progress: _Progress) -> None:
    """Writes the rows that differ, referenced tables first, in batches: a flush for each row would take a minute."""
    progress.expect(plan.writes)
    await _write_rows(write, Board, plan.boards, progress)
    await _write_rows(write, School, plan.schools, progress)
    await _write_rows(write, Location, plan.locations, progress)


async def _set_dates_of_moved_schools(write: Write, stored: Stored, plan: Plan) -> None:
    """Sets reconfirmation dates of schools that moved to another board, whose agreement may allow more than theirs."""
    moved = {
        state.brin
        for state in (*plan.schools.changed, *plan.schools.gone)
        if state.board_number != stored.schools[state.brin].board_number
    }
    for client_id in await clients_with_grant(write.session, moved) if moved else ():
        await set_reconfirmation_dates(write, client_id, SYSTEM, moved)


async def _write_rows(write: Write, table: type[SQLModel], difference: Difference[State], progress: _Progress) -> None:
    connection = await write.session.connection()
    key = inspect(table).primary_key[0]
    by_key = update(table).where(key == bindparam("key_of_row"))
    for rows in _batches(difference.added):
        await connection.execute(insert(table), [row.columns(write.revision) for row in rows])
        progress.advance(len(rows))
    for rows in _batches([*difference.changed, *difference.gone]):
        columns = [row.columns(write.revision) for row in rows]
        await connection.execute(by_key, [each | {"key_of_row": each[key.name]} for each in columns])
        progress.advance(len(rows))


def _batches(rows: Sequence[State_co]) -> Iterator[Sequence[State_co]]:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield rows[start : start + ROWS_AT_ONCE]
