"""The grants that decisions look at, packed: millions of them stand in every process's memory.

    connections[clientId][first two digits][brin]   the latest grant of each place of that school

A grant takes some 80 bytes here, as `bytes` that hold no reference: the collector of garbage never walks through
them. `Granted.of` unpacks the few that a question is about.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any, Final, NamedTuple

from models.decision.grant_status import NOT_YET, Status


class GrantFacts(NamedTuple):
    """What a decision needs to know of a grant."""

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
#: One grant, as nearly always, or several of different places.
Places = Packed | tuple[Packed, ...]
#: In parts by the first two digits of their BRINs, so that a change copies a hundredth of a country's schools.
Draft = dict[str, dict[str, dict[str, Places]]]

#: A grant as it is read: as in `GrantFacts`, with a number (see `number_of`) for scopes and purposes.
Row = tuple[
    str, str, str, str | None, int, str, datetime, datetime | None, datetime | None, datetime | None, int
]  # fmt: skip


class Granted:
    """The latest grant of each place. Nobody changes it: `after` makes another, and copies only what changed."""

    __slots__ = ("_connections",)

    def __init__(self, connections: Draft | None = None) -> None:
        self._connections = connections if connections is not None else {}

    @classmethod
    def latest(cls, facts: Iterable[GrantFacts]) -> "Granted":
        """These grants, without those that were never given; of several for one place, the one given last."""
        draft: Draft = {}
        put(draft, (_row(fact) for fact in facts))
        return cls(draft)

    def of(self, client_id: str, brin: str) -> tuple[GrantFacts, ...]:
        """The grants of a connection for a school and its locations, one a place."""
        found = self._connections.get(client_id, _NOTHING).get(brin[:2], _NOTHING).get(brin)
        if found is None:
            return ()
        if isinstance(found, bytes):
            return (_unpacked(client_id, brin, found),)
        return tuple(_unpacked(client_id, brin, place) for place in found)

    def schools_of(self, client_id: str, start: str = "") -> Iterator[str]:
        """The BRINs with a grant of this connection, for the school or a location, in order from `start` on.

        Only the parts that are reached are put in order: whoever stops early pays for no more.
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
        """These with `changed` applied. It costs a copy of the parts that it touches, however many there are in all."""
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


def put(draft: Draft, rows: Iterable[Row]) -> None:
    """Packs grants into what will be `Granted(draft)`, for whoever reads more of them than fit in memory as they are.

    The later of two that were given at the same revision counts.
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


def number_of(scopes: frozenset[str], purposes: frozenset[str]) -> int:
    """The number that stands for these scopes and purposes, in this process."""
    number = _terms_numbers.get((scopes, purposes))
    if number is None:
        number = _terms_numbers[scopes, purposes] = len(_terms)
        _terms.append((scopes, purposes))
    return number


def _row(fact: GrantFacts) -> Row:
    return (*fact[:4], number_of(fact.scopes, fact.purposes), *fact[6:])


# -- one grant as bytes -----------------------------------------------------------------------------------------------

#: Status, which of the instants that may be missing are there, location, terms, revision it was granted at, valid from.
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

Terms = tuple[frozenset[str], frozenset[str]]
# What grants say of scopes and purposes are few sets, shared by all; a number stands for each.
_terms: Final[list[Terms]] = []
_terms_numbers: Final[dict[Terms, int]] = {}


def _packed(row: Row) -> Packed:
    grant_id, _, _, location, terms, status, valid_from, until, suspended, reconfirm, granted_at = row
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
    return _HEAD.pack(_STATUS_NUMBERS[status], flags, place, terms, granted_at, begins) + tail + identity


def _unpacked(client_id: str, brin: str, packed: Packed) -> GrantFacts:
    status, flags, location, terms, granted_at, valid_from = _HEAD.unpack_from(packed)
    scopes, purposes = _terms[terms]
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
    found: list[datetime | None] = []
    offset = _HEAD.size
    for flag in (_UNTIL, _SUSPENDED, _RECONFIRM):
        if not flags & flag:
            found.append(None)
            continue
        found.append(_EPOCH + timedelta(0, 0, _INSTANT.unpack_from(packed, offset)[0]))
        offset += _INSTANT.size
    return found


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
    # It skips spaces, and takes capitals too.
    return identity if identity.hex() == digits and len(identity) == 16 else None


def _text(identity: bytes) -> str:
    digits = identity.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _each(places: Places) -> tuple[Packed, ...]:
    return (places,) if isinstance(places, bytes) else places


def _with_latest(known: Places, grant: Packed) -> Places:
    """The grants of a school, one a place, with `grant` in its place unless a later one stands there."""
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
