"""`privacy-manager schools import`: the schools and locations of DUO's files into the store, all of them or none.

The files are read before the store is asked anything. Then, in one transaction: what is stored, what that becomes
(pure), and only the rows that differ, each with the import's revision, so that decisions see them with the next
request. An import speaks only for its kinds of file: what other kinds list stays as it is.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

from sqlalchemy import bindparam, insert, inspect, select, update
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from api.duo import (
    MAX_BYTES,
    ImportRefused,
    ListedBoard,
    ListedLocation,
    RefusedLine,
    Row,
    kind_of,
    parse,
    refusal,
)
from api.events import SYSTEM, record
from api.store import Store, Write
from models.events import EventKind
from models.schools import Board, Location, School

__all__ = ["Counts", "FileRead", "ImportRefused", "ImportReport", "RefusedLine", "import_files"]

#: Above this share of a kind's listed locations, a removal is taken for a truncated download ...
MASS_REMOVAL: Final = 0.10
#: ... unless the kind has no more than so many locations, where one school more or less already is a large share.
FEW_LOCATIONS: Final = 100

ROWS_AT_ONCE: Final = 500

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Counts:
    """What an import did to the rows of one table. Only rows that the import speaks for are counted."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    gone: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{number:,} {name}" for name, number in asdict(self).items())


@dataclass(frozen=True, slots=True)
class FileRead:
    """One file: its rows, and how many of them list a location that an earlier row listed."""

    name: str
    kind: str
    rows: int
    repeated: int


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import read and did. `revision` is None when nothing changed; then no event was recorded either."""

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
        """The report for a person, a line each."""
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

    The kind of a file is told by its name, unless `kind` says it for all. `on_progress` gets what is done and the
    total, which grows once when it is known how much there is to write. Raises `ImportRefused`, and then nothing has
    changed: for any refused line, and for a removal of more than `MASS_REMOVAL` of a kind unless
    `allow_mass_removal`. Raises `StoreUnreachable`.
    """
    progress = _Progress(on_progress)
    listing = _listing(files, kind, progress)
    async with store.writing() as write:
        stored = await _stored(write.session)
        plan = _plan(stored, listing, write.now)
        if not allow_mass_removal:
            _refuse_mass_removal(stored, plan.locations.gone, listing.kinds)
        if not plan.writes:
            return _report(listing, plan, None)
        await _carry_out(write, plan, progress)
        report = _report(listing, plan, write.revision)
        record(write, EventKind.SCHOOLS_IMPORTED, SYSTEM, _state_of(report))
    return report


@dataclass
class _Progress:
    """How far the import is: lines read, then rows written."""

    tell: OnProgress | None
    done: int = 0
    total: int = 0

    def expect(self, more: int) -> None:
        self.total += more

    def advance(self, more: int) -> None:
        self.done += more
        if self.tell is not None:
            self.tell(self.done, self.total)


# What the files say.


@dataclass
class _Listing:
    """What all files together list: of each location the first row, of each school the board that it is under."""

    files: list[FileRead] = field(default_factory=list)
    locations: dict[str, ListedLocation] = field(default_factory=dict)
    kinds_of: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    boards: dict[str, ListedBoard] = field(default_factory=dict)
    board_of: dict[str, str] = field(default_factory=dict)
    refused: list[RefusedLine] = field(default_factory=list)

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset(file.kind for file in self.files)

    def add(self, file: str, kind: str, rows: Sequence[Row]) -> None:
        known = len(self.locations)
        for row in rows:
            self.locations.setdefault(row.location.code, row.location)
            self.kinds_of[row.location.code].add(kind)
            if row.board is not None:
                self._add_board(file, row, row.board)
        self.files.append(FileRead(file, kind, len(rows), len(rows) - (len(self.locations) - known)))

    def _add_board(self, file: str, row: Row, board: ListedBoard) -> None:
        known = self.board_of.setdefault(row.location.brin, board.number)
        if known != board.number:
            message = f"school {row.location.brin} is under board {board.number} here, under {known} on a row before"
            self.refused.append(RefusedLine(file, row.line, message))
        if self.boards.get(board.number, ListedBoard(board.number)).name is None:
            self.boards[board.number] = board


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    kind: str
    data: bytes


def _listing(files: Sequence[Path], kind: str | None, progress: _Progress) -> _Listing:
    listing = _Listing()
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
    """Goes on after a refusal, so that one run names what is wrong in every file."""
    try:
        yield
    except ImportRefused as refusal_of_file:
        refused.extend(refusal_of_file.refused)


def _contents(path: Path) -> bytes:
    """What is in the file, or so much of it that the parser sees that it is too large."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise refusal([RefusedLine(path.name, None, f"it cannot be read: {error.strerror}")]) from error


# What is stored, and what that becomes.


class _State(Protocol):
    """A row of one table, without its revision; two that are equal need no write."""

    @property
    def gone_at(self) -> datetime | None: ...

    def columns(self, revision: int) -> dict[str, Any]: ...


State_co = TypeVar("State_co", bound=_State, covariant=True)


@dataclass(frozen=True, slots=True)
class _BoardState:
    number: str
    name: str | None

    @property
    def gone_at(self) -> datetime | None:
        return None  # an agreement may still name it: a board stays

    def columns(self, revision: int) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _SchoolState:
    brin: str
    name: str
    board_number: str | None
    gone_at: datetime | None

    def columns(self, revision: int) -> dict[str, Any]:
        return asdict(self) | {"revision": revision}


@dataclass(frozen=True, slots=True)
class _LocationState:
    listed: ListedLocation
    kinds: frozenset[str]
    gone_at: datetime | None

    def columns(self, revision: int) -> dict[str, Any]:
        own = {"kinds": sorted(self.kinds), "gone_at": self.gone_at, "revision": revision}
        return asdict(self.listed) | own


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the store holds, by number, BRIN4 and BRIN6."""

    boards: Mapping[str, _BoardState]
    schools: Mapping[str, _SchoolState]
    locations: Mapping[str, _LocationState]


@dataclass(frozen=True, slots=True)
class _Difference(Generic[State_co]):
    """What becomes of the rows of one table."""

    added: Sequence[State_co]
    changed: Sequence[State_co]
    gone: Sequence[State_co]
    unchanged: int

    @property
    def writes(self) -> int:
        return len(self.added) + len(self.changed) + len(self.gone)

    @property
    def counts(self) -> Counts:
        return Counts(len(self.added), len(self.changed), self.unchanged, len(self.gone))


@dataclass(frozen=True, slots=True)
class _Plan:
    """What an import will write."""

    boards: _Difference[_BoardState]
    schools: _Difference[_SchoolState]
    locations: _Difference[_LocationState]

    @property
    def writes(self) -> int:
        return self.boards.writes + self.schools.writes + self.locations.writes


def _plan(stored: _Stored, listing: _Listing, now: datetime) -> _Plan:
    boards = _boards_after(stored.boards, listing.boards)
    locations = _locations_after(stored.locations, listing, now)
    schools = _schools_after(stored, locations, listing.board_of, now)
    return _Plan(
        _difference(stored.boards, boards),
        _difference(stored.schools, schools),
        _difference(stored.locations, locations),
    )


def _boards_after(before: Mapping[str, _BoardState], listed: Mapping[str, ListedBoard]) -> dict[str, _BoardState]:
    """A row that gives no name says nothing about it."""
    return {
        number: _BoardState(number, board.name or (before[number].name if number in before else None))
        for number, board in listed.items()
    }


def _locations_after(
    before: Mapping[str, _LocationState], listing: _Listing, now: datetime
) -> dict[str, _LocationState]:
    """The locations that these kinds of file list, or listed until now."""
    others = {code: state.kinds - listing.kinds for code, state in before.items()}
    after = {
        code: _LocationState(listed, others.get(code, frozenset()) | listing.kinds_of[code], None)
        for code, listed in listing.locations.items()
    }
    for code, state in before.items():
        if code not in after and others[code] != state.kinds:
            after[code] = replace(state, kinds=others[code], gone_at=None if others[code] else now)
    return after


def _schools_after(
    before: _Stored, locations: Mapping[str, _LocationState], board_of: Mapping[str, str], now: datetime
) -> dict[str, _SchoolState]:
    """The schools of `locations`, by all of their listed locations, whichever kind of file lists them."""
    listed: dict[str, list[ListedLocation]] = {state.listed.brin: [] for state in locations.values()}
    for state in {**before.locations, **locations}.values():
        if state.gone_at is None and state.listed.brin in listed:
            listed[state.listed.brin].append(state.listed)
    return {
        brin: _school_after(brin, before.schools.get(brin), names, board_of.get(brin), now)
        for brin, names in listed.items()
    }


def _school_after(
    brin: str, before: _SchoolState | None, listed: Sequence[ListedLocation], board: str | None, now: datetime
) -> _SchoolState:
    """One school. A file without its board says nothing about it; without a listed location it keeps its name."""
    if before is not None:
        board = board or before.board_number
        if not listed:
            return replace(before, board_number=board, gone_at=before.gone_at or now)
    # `00`, the main location, is the lowest.
    return _SchoolState(brin, min(listed, key=lambda each: each.code).name, board, None)


def _difference(before: Mapping[str, State_co], after: Mapping[str, State_co]) -> _Difference[State_co]:
    added = [state for key, state in after.items() if key not in before]
    differing = [(before[key], state) for key, state in after.items() if key in before and before[key] != state]
    gone = [new for old, new in differing if new.gone_at is not None and old.gone_at is None]
    changed = [new for old, new in differing if new.gone_at is None or old.gone_at is not None]
    return _Difference(added, changed, gone, len(after) - len(added) - len(differing))


def _refuse_mass_removal(stored: _Stored, gone: Sequence[_LocationState], kinds: Iterable[str]) -> None:
    """A truncated download must not switch off schools."""
    before = Counter(kind for state in stored.locations.values() for kind in state.kinds)
    lost = Counter(kind for state in gone for kind in stored.locations[state.listed.code].kinds)
    for kind in sorted(kinds):
        if before[kind] > FEW_LOCATIONS and lost[kind] > before[kind] * MASS_REMOVAL:
            raise ImportRefused(
                f"Nothing was imported: {lost[kind]:,} of the {before[kind]:,} {kind} locations would be gone,"
                f" more than {MASS_REMOVAL:.0%}. Are the files complete? If so, allow it (--allow-mass-removal)."
            )


def _report(listing: _Listing, plan: _Plan, revision: int | None) -> ImportReport:
    return ImportReport(tuple(listing.files), plan.locations.counts, plan.schools.counts, plan.boards.counts, revision)


def _state_of(report: ImportReport) -> dict[str, Any]:
    """What the event says: counts, and the kinds that they are about."""
    return {
        "kinds": sorted({file.kind for file in report.files}),
        "rows": report.rows,
        "repeated": report.repeated,
        "locations": asdict(report.locations),
        "schools": asdict(report.schools),
        "boards": asdict(report.boards),
    }


# The store.


async def _stored(session: AsyncSession) -> _Stored:
    listed = [each.name for each in fields(ListedLocation)]
    boards = await _selected(session, Board, "number", "name")
    schools = await _selected(session, School, "brin", "name", "board_number", "gone_at")
    locations = await _selected(session, Location, *listed, "kinds", "gone_at")
    return _Stored(
        {row[0]: _BoardState(*row) for row in boards},
        {row[0]: _SchoolState(*row) for row in schools},
        {row[0]: _LocationState(ListedLocation(*row[:-2]), frozenset(row[-2]), row[-1]) for row in locations},
    )


async def _selected(session: AsyncSession, table: type[SQLModel], *names: str) -> Sequence[Sequence[Any]]:
    connection = await session.connection()
    return (await connection.execute(select(*(inspect(table).columns[name] for name in names)))).all()


async def _carry_out(write: Write, plan: _Plan, progress: _Progress) -> None:
    """Writes what differs, the referenced rows first, in few statements: a flush per row would take a minute."""
    progress.expect(plan.writes)
    await _write_rows(write, Board, plan.boards, progress)
    await _write_rows(write, School, plan.schools, progress)
    await _write_rows(write, Location, plan.locations, progress)


async def _write_rows(
    write: Write, table: type[SQLModel], difference: _Difference[_State], progress: _Progress
) -> None:
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
