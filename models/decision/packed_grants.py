"""Grants as decisions read them, packed as bytes: every process holds millions of them in memory.

    connections[clientId][first two digits][brin]   the latest grant of each place of that school

A grant takes some 80 bytes. `bytes` hold no references, so that the garbage collector never walks through them.
`Granted.of` unpacks the few grants that a question is about.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any, Final, NamedTuple

from models.decision.grant_status import NOT_YET, Status


class GrantFacts(NamedTuple):
    """The members of a grant that decisions read."""

    grant_id: str
    client_id: str
    brin: str
    location: str | None
    scopes: frozenset[str]
    purposes: frozenset[str]
    status: str
    valid_from: datetime
    valid_until: datetime | None
    suspended_until: datetime | None
    reconfirm_by: datetime | None
    granted_at_revision: int


Packed = bytes
#: One grant, as nearly always, or several for different places.
Places = Packed | tuple[Packed, ...]
#: Partitioned by the first two digits of the BRIN, so that a change copies a hundredth of a country's schools.
Draft = dict[str, dict[str, dict[str, Places]]]

#: A grant as read from the store: as `GrantFacts`, with a number (see `scope_sets_number`) for its scopes and purposes.
Row = tuple[
    str, str, str, str | None, int, str, datetime, datetime | None, datetime | None, datetime | None, int
]  # fmt: skip


class Granted:
    """The latest grant of each place. Immutable: `after` returns another one and copies only what changed."""

    __slots__ = ("_connections",)

    def __init__(self, connections: Draft | None = None) -> None:
        self._connections = connections if connections is not None else {}

    @classmethod
    def latest(cls, facts: Iterable[GrantFacts]) -> "Granted":
        """Packs the latest of several grants for one place, without those that never permitted anything."""
        draft: Draft = {}
        pack_rows(draft, (_row(fact) for fact in facts))
        return cls(draft)

    def of(self, client_id: str, brin: str) -> tuple[GrantFacts, ...]:
        """The grants of a connection for a school and its locations, at most one per place."""
        packed = self._connections.get(client_id, _NOTHING).get(brin[:2], _NOTHING).get(brin)
        if packed is None:
            return ()
        if isinstance(packed, bytes):
            return (_unpacked(client_id, brin, packed),)
        return tuple(_unpacked(client_id, brin, place) for place in packed)

    def schools_of(self, client_id: str, start: str = "") -> Iterator[str]:
        """The BRINs for which, or for a location of which, this connection has a grant, in order from `start` on.

        Partitions are sorted one by one when they are reached, so that stopping early is cheap.
        """
        parts = self._connections.get(client_id, _NOTHING)
        for part in sorted(part for part in parts if part >= start[:2]):
            yield from sorted(brin for brin in parts[part] if brin >= start)

    def __iter__(self) -> Iterator[GrantFacts]:
        for client_id, parts in self._connections.items():
            for schools in parts.values():
                for brin in schools:
                    yield from self.of(client_id, brin)

    def after(self, changed: "Granted") -> "Granted":
        """These grants with `changed` applied. Only the partitions that change are copied."""
        if not self._connections or not changed._connections:
            return changed if changed._connections else self
        connections = dict(self._connections)
        for client_id, parts in changed._connections.items():
            known_parts = connections[client_id] = dict(connections.get(client_id, {}))
            for part, schools in parts.items():
                known = known_parts[part] = dict(known_parts.get(part, {}))
                for brin, places in schools.items():
                    for place in _each(places):
                        known[brin] = _with_latest(known.get(brin, ()), place)
        return Granted(connections)


_NOTHING: Final[dict[str, Any]] = {}
NOTHING_GRANTED: Final = Granted()


def pack_rows(draft: Draft, rows: Iterable[Row]) -> None:
    """Packs rows into `draft`, the content of a `Granted`. Rows may be streamed: unpacked, not all fit in memory.

    Of two grants for one place at the same revision, the later row counts.
    """
    for row in rows:
        client_id, brin, status = row[1], row[2], row[5]
        if status in NOT_YET:
            continue
        parts = draft.get(client_id)
        if parts is None:
            parts = draft[client_id] = {}
        schools = parts.get(brin[:2])
        if schools is None:
            schools = parts[brin[:2]] = {}
        known = schools.get(brin)
        schools[brin] = _packed(row) if known is None else _with_latest(known, _packed(row))


def scope_sets_number(scopes: frozenset[str], purposes: frozenset[str]) -> int:
    """The number of this pair of sets, valid in this process only."""
    number = _number_of_sets.get((scopes, purposes))
    if number is None:
        number = _number_of_sets[scopes, purposes] = len(_scope_sets)
        _scope_sets.append((scopes, purposes))
    return number


def _row(fact: GrantFacts) -> Row:
    return (*fact[:4], scope_sets_number(fact.scopes, fact.purposes), *fact[6:])


# -- one grant as bytes -----------------------------------------------------------------------------------------------

#: Status, flags for the optional instants, location, number of the scope set, revision granted at, valid from.
_HEAD: Final = Struct("<BBBIqq")
_INSTANT: Final = Struct("<q")
_GRANTED_AT: Final = Struct("<q")
_GRANTED_AT_OFFSET: Final = 7
_LOCATION_OFFSET: Final = 2

_STATUSES: Final = tuple(status.value for status in Status)
_STATUS_NUMBERS: Final = {status: number for number, status in enumerate(_STATUSES)}
_WHOLE_SCHOOL: Final = 255
_UNTIL, _SUSPENDED, _RECONFIRM, _OTHER_ID = 1, 2, 4, 8
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

ScopeSets = tuple[frozenset[str], frozenset[str]]
# Grants share few pairs of sets of scopes and purposes; a packed grant holds the index of its pair.
_scope_sets: Final[list[ScopeSets]] = []
_number_of_sets: Final[dict[ScopeSets, int]] = {}


def _packed(row: Row) -> Packed:
    grant_id, _, _, location, sets_number, status, valid_from, until, suspended, reconfirm, granted_at = row
    flags, tail = 0, b""
    if until is not None:
        flags, tail = _UNTIL, _INSTANT.pack((until - _EPOCH) // _MICROSECOND)
    if suspended is not None:
        flags, tail = flags | _SUSPENDED, tail + _INSTANT.pack((suspended - _EPOCH) // _MICROSECOND)
    if reconfirm is not None:
        flags, tail = flags | _RECONFIRM, tail + _INSTANT.pack((reconfirm - _EPOCH) // _MICROSECOND)
    identity = _identity(grant_id)
    if identity is None:
        flags, identity = flags | _OTHER_ID, grant_id.encode()
    place = _WHOLE_SCHOOL if location is None else int(location[4:])
    begins = (valid_from - _EPOCH) // _MICROSECOND
    return _HEAD.pack(_STATUS_NUMBERS[status], flags, place, sets_number, granted_at, begins) + tail + identity


def _unpacked(client_id: str, brin: str, packed: Packed) -> GrantFacts:
    status, flags, location, sets_number, granted_at, valid_from = _HEAD.unpack_from(packed)
    scopes, purposes = _scope_sets[sets_number]
    until = suspended = reconfirm = None
    if flags:
        until, suspended, reconfirm = _instants(flags, packed)
    return GrantFacts(
        packed[_id_offset(flags) :].decode() if flags & _OTHER_ID else _text(packed[-16:]),
        client_id,
        brin,
        None if location == _WHOLE_SCHOOL else f"{brin}{location:02}",
        scopes,
        purposes,
        _STATUSES[status],
        _EPOCH + timedelta(0, 0, valid_from),
        until,
        suspended,
        reconfirm,
        granted_at,
    )


def _instants(flags: int, packed: Packed) -> list[datetime | None]:
    instants: list[datetime | None] = []
    offset = _HEAD.size
    for flag in (_UNTIL, _SUSPENDED, _RECONFIRM):
        if not flags & flag:
            instants.append(None)
            continue
        instants.append(_EPOCH + timedelta(0, 0, _INSTANT.unpack_from(packed, offset)[0]))
        offset += _INSTANT.size
    return instants


def _id_offset(flags: int) -> int:
    return _HEAD.size + _INSTANT.size * (flags & (_UNTIL | _SUSPENDED | _RECONFIRM)).bit_count()


def _identity(grant_id: str) -> bytes | None:
    """The 16 bytes of a UUID in its usual spelling; None for any other text."""
    digits = grant_id.replace("-", "")
    if len(grant_id) != 36 or grant_id[8:24:5] != "----":
        return None
    try:
        identity = bytes.fromhex(digits)
    except ValueError:
        return None
    # bytes.fromhex() also skips spaces and accepts capitals.
    return identity if identity.hex() == digits and len(identity) == 16 else None


def _text(identity: bytes) -> str:
    digits = identity.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _each(places: Places) -> tuple[Packed, ...]:
    return (places,) if isinstance(places, bytes) else places


def _with_latest(known: Places, grant: Packed) -> Places:
    """The grants of a school, one per place, with `grant` put in unless a later one for its place is there."""
    if not known:
        return grant
    others = []
    for place in _each(known):
        if place[_LOCATION_OFFSET] != grant[_LOCATION_OFFSET]:
            others.append(place)
        elif _granted_at(place) > _granted_at(grant):
            return known
    return (*others, grant) if others else grant


def _granted_at(grant: Packed) -> int:
    revision: int = _GRANTED_AT.unpack_from(grant, _GRANTED_AT_OFFSET)[0]
    return revision
