"""The plan of a schools import: from the files' listing and the stored rows to the rows that differ. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Generic, Protocol, TypeVar

from api.registry.duo import ImportRefused, ListedBoard, ListedLocation, RefusedLine, Row

#: The share of a kind's listed locations above which a removal is refused as a truncated download ...
MASS_REMOVAL: Final = 0.10
#: ... unless the kind has at most this many locations, of which one school already is a large share.
FEW_LOCATIONS: Final = 100


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of the rows of one table by what the import did to them; only rows of its kinds of file are counted."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    gone: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{number:,} {name}" for name, number in asdict(self).items())


@dataclass(frozen=True, slots=True)
class FileRead:
    """One file: the number of its rows, and of those that repeat a location of an earlier row."""

    name: str
    kind: str
    rows: int
    repeated: int


@dataclass
class Listing:
    """The listing of all files together: each location by its first row, and each school's board."""

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
    """A row of one table without its revision; a row that equals the stored one is not written."""

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
        return None  # a board is never removed: an agreement may still name it

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
    """The stored boards by number, schools by BRIN4 and locations by BRIN6."""

    boards: Mapping[str, BoardState]
    schools: Mapping[str, SchoolState]
    locations: Mapping[str, LocationState]


@dataclass(frozen=True, slots=True)
class Difference(Generic[State_co]):
    """The rows of one table that an import adds, changes and marks as gone, and the number of the unchanged."""

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
    """The rows that an import writes, table by table."""

    boards: Difference[BoardState]
    schools: Difference[SchoolState]
    locations: Difference[LocationState]

    @property
    def writes(self) -> int:
        return self.boards.writes + self.schools.writes + self.locations.writes


def planned(stored: Stored, listing: Listing, now: datetime) -> Plan:
    """The plan that brings the stored rows to the listing. Locations and schools no longer listed are gone at `now`."""
    boards = _boards_after(stored.boards, listing.boards)
    locations = _locations_after(stored.locations, listing, now)
    schools = _schools_after(stored, locations, listing.board_of, now)
    return Plan(
        _difference(stored.boards, boards),
        _difference(stored.schools, schools),
        _difference(stored.locations, locations),
    )


def _boards_after(before: Mapping[str, BoardState], listed: Mapping[str, ListedBoard]) -> dict[str, BoardState]:
    """The boards after the import. A board whose rows give no name keeps its stored name."""
    return {
        number: BoardState(number, board.name or (before[number].name if number in before else None))
        for number, board in listed.items()
    }


def _locations_after(before: Mapping[str, LocationState], listing: Listing, now: datetime) -> dict[str, LocationState]:
    """The locations after the import that its kinds of file list, or listed until now."""
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
    """The schools of `locations` after the import, by all of their listed locations of every kind of file."""
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
    """One school after the import. Without a board in the files it keeps its board; without a listed location it is
    gone and keeps its name."""
    if before is not None:
        board = board or before.board_number
        if not listed:
            return replace(before, board_number=board, gone_at=before.gone_at or now)
    # The school has the name of its lowest location, which is `00`, the main one, where that is listed.
    return SchoolState(brin, min(listed, key=lambda each: each.code).name, board, None)


def _difference(before: Mapping[str, State_co], after: Mapping[str, State_co]) -> Difference[State_co]:
    added = [state for key, state in after.items() if key not in before]
    differing = [(before[key], state) for key, state in after.items() if key in before and before[key] != state]
    gone = [new for old, new in differing if new.gone_at is not None and old.gone_at is None]
    changed = [new for old, new in differing if new.gone_at is None or old.gone_at is not None]
    return Difference(added, changed, gone, len(after) - len(added) - len(differing))


def refuse_mass_removal(stored: Stored, gone: Sequence[LocationState], kinds: Iterable[str]) -> None:
    """Raises `ImportRefused` where too many locations of a kind would be gone, as after a truncated download."""
    before = Counter(kind for state in stored.locations.values() for kind in state.kinds)
    lost = Counter(kind for state in gone for kind in stored.locations[state.listed.code].kinds)
    for kind in sorted(kinds):
        if before[kind] > FEW_LOCATIONS and lost[kind] > before[kind] * MASS_REMOVAL:
            raise ImportRefused(
                f"Nothing was imported: {lost[kind]:,} of the {before[kind]:,} {kind} locations would be gone,"
                f" more than {MASS_REMOVAL:.0%}. Are the files complete? If so, allow it (--allow-mass-removal)."
            )
