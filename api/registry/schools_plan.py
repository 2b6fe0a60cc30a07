"""What an import of schools changes: from what the files list and what is stored, to the rows that differ. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Generic, Protocol, TypeVar

from api.registry.duo import ImportRefused, ListedBoard, ListedLocation, RefusedLine, Row

#: Above this share of a kind's listed locations, a removal is taken for a truncated download ...
MASS_REMOVAL: Final = 0.10
#: ... unless the kind has no more than so many locations, where one school more or less already is a large share.
FEW_LOCATIONS: Final = 100


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


@dataclass
class Listing:
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


class State(Protocol):
    """A row of one table, without its revision; two that are equal need no write."""

    @property
    def gone_at(self) -> datetime | None: ...

    def columns(self, revision: int) -> dict[str, Any]: ...


State_co = TypeVar("State_co", bound=State, covariant=True)


@dataclass(frozen=True, slots=True)
class BoardState:
    number: str
    name: str | None

    @property
    def gone_at(self) -> datetime | None:
        return None  # an agreement may still name it: a board stays

    def columns(self, revision: int) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SchoolState:
    brin: str
    name: str
    board_number: str | None
    gone_at: datetime | None

    def columns(self, revision: int) -> dict[str, Any]:
        return asdict(self) | {"revision": revision}


@dataclass(frozen=True, slots=True)
class LocationState:
    listed: ListedLocation
    kinds: frozenset[str]
    gone_at: datetime | None

    def columns(self, revision: int) -> dict[str, Any]:
        own = {"kinds": sorted(self.kinds), "gone_at": self.gone_at, "revision": revision}
        return asdict(self.listed) | own


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store holds, by number, BRIN4 and BRIN6."""

    boards: Mapping[str, BoardState]
    schools: Mapping[str, SchoolState]
    locations: Mapping[str, LocationState]


@dataclass(frozen=True, slots=True)
class Difference(Generic[State_co]):
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
class Plan:
    """What an import will write."""

    boards: Difference[BoardState]
    schools: Difference[SchoolState]
    locations: Difference[LocationState]

    @property
    def writes(self) -> int:
        return self.boards.writes + self.schools.writes + self.locations.writes


def planned(stored: Stored, listing: Listing, now: datetime) -> Plan:
    boards = _boards_after(stored.boards, listing.boards)
    locations = _locations_after(stored.locations, listing, now)
    schools = _schools_after(stored, locations, listing.board_of, now)
    return Plan(
        _difference(stored.boards, boards),
        _difference(stored.schools, schools),
        _difference(stored.locations, locations),
    )


def _boards_after(before: Mapping[str, BoardState], listed: Mapping[str, ListedBoard]) -> dict[str, BoardState]:
    """A row that gives no name says nothing about it."""
    return {
        number: BoardState(number, board.name or (before[number].name if number in before else None))
        for number, board in listed.items()
    }


def _locations_after(before: Mapping[str, LocationState], listing: Listing, now: datetime) -> dict[str, LocationState]:
    """The locations that these kinds of file list, or listed until now."""
    others = {code: state.kinds - listing.kinds for code, state in before.items()}
    after = {
        code: LocationState(listed, others.get(code, frozenset()) | listing.kinds_of[code], None)
        for code, listed in listing.locations.items()
    }
    for code, state in before.items():
        if code not in after and others[code] != state.kinds:
            after[code] = replace(state, kinds=others[code], gone_at=None if others[code] else now)
    return after


def _schools_after(
    before: Stored, locations: Mapping[str, LocationState], board_of: Mapping[str, str], now: datetime
) -> dict[str, SchoolState]:
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
    brin: str, before: SchoolState | None, listed: Sequence[ListedLocation], board: str | None, now: datetime
) -> SchoolState:
    """One school. A file without its board says nothing about it; without a listed location it keeps its name."""
    if before is not None:
        board = board or before.board_number
        if not listed:
            return replace(before, board_number=board, gone_at=before.gone_at or now)
    # `00`, the main location, is the lowest.
    return SchoolState(brin, min(listed, key=lambda each: each.code).name, board, None)


def _difference(before: Mapping[str, State_co], after: Mapping[str, State_co]) -> Difference[State_co]:
    added = [state for key, state in after.items() if key not in before]
    differing = [(before[key], state) for key, state in after.items() if key in before and before[key] != state]
    gone = [new for old, new in differing if new.gone_at is not None and old.gone_at is None]
    changed = [new for old, new in differing if new.gone_at is None or old.gone_at is not None]
    return Difference(added, changed, gone, len(after) - len(added) - len(differing))


def refuse_mass_removal(stored: Stored, gone: Sequence[LocationState], kinds: Iterable[str]) -> None:
    """A truncated download must not switch off schools."""
    before = Counter(kind for state in stored.locations.values() for kind in state.kinds)
    lost = Counter(kind for state in gone for kind in stored.locations[state.listed.code].kinds)
    for kind in sorted(kinds):
        if before[kind] > FEW_LOCATIONS and lost[kind] > before[kind] * MASS_REMOVAL:
            raise ImportRefused(
                f"Nothing was imported: {lost[kind]:,} of the {before[kind]:,} {kind} locations would be gone,"
                f" more than {MASS_REMOVAL:.0%}. Are the files complete? If so, allow it (--allow-mass-removal)."
            )
