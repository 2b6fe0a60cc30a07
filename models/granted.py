"""The grants that decisions look at, packed: millions of them stand in every process's memory.

    connections[clientId][brin]   the latest grant of each place of that school

A grant takes some 80 bytes here, as `bytes` that hold no reference: the collector of garbage never walks through
them. `Granted.of` unpacks the few that a question is about.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Final, NamedTuple

from models.grants import NOT_YET, Status


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


class Granted:
    """The latest grant of each place. Nobody changes it: `after` makes another, and copies only what changed."""

    __slots__ = ("_connections",)

    def __init__(self, connections: Mapping[str, Mapping[str, Places]] | None = None) -> None:
        self._connections = connections if connections is not None else {}

    @classmethod
    def latest(cls, facts: Iterable[GrantFacts]) -> "Granted":
        """These grants, without those that were never given; of several for one place, the one given last."""
        draft: dict[str, dict[str, Places]] = {}
        put(draft, facts)
        return cls(draft)

    def of(self, client_id: str, brin: str) -> tuple[GrantFacts, ...]:
        """The grants of a connection for a school and its locations, one a place."""
        schools = self._connections.get(client_id)
        found = schools.get(brin) if schools is not None else None
        if found is None:
            return ()
        if isinstance(found, bytes):
            return (_unpacked(client_id, brin, found),)
        return tuple(_unpacked(client_id, brin, place) for place in found)

    def __iter__(self) -> Iterator[GrantFacts]:
        for client_id, schools in self._connections.items():
            for brin in schools:
                yield from self.of(client_id, brin)

    def after(self, changed: "Granted") -> "Granted":
        """These with `changed` applied: it costs a copy of the map of each connection in it, however many others."""
        if not self._connections or not changed._connections:
            return changed if changed._connections else self
        connections = dict(self._connections)
        for client_id, schools in changed._connections.items():
            known = dict(connections.get(client_id, {}))
            for brin, places in schools.items():
                for place in _each(places):
                    known[brin] = _with_latest(known.get(brin, ()), place)
            connections[client_id] = known
        return Granted(connections)


NOTHING_GRANTED: Final = Granted()


def put(draft: dict[str, dict[str, Places]], facts: Iterable[GrantFacts]) -> None:
    """Packs `facts` into what will be `Granted(draft)`, for whoever reads more of them than fit in memory unpacked."""
    for fact in facts:
        if fact.status in NOT_YET:
            continue
        schools = draft.setdefault(fact.client_id, {})
        schools[fact.brin] = _with_latest(schools.get(fact.brin, ()), _packed(fact))


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


def _packed(fact: GrantFacts) -> Packed:
    flags = 0
    tail = b""
    for flag, instant in (
        (_UNTIL, fact.valid_until),
        (_SUSPENDED, fact.suspended_until),
        (_RECONFIRM, fact.reconfirm_by),
    ):
        if instant is not None:
            flags |= flag
            tail += _INSTANT.pack((instant - _EPOCH) // _MICROSECOND)
    identity = _identity(fact.grant_id)
    if len(identity) != 16 or _text(identity) != fact.grant_id:
        flags, identity = flags | _OTHER_ID, fact.grant_id.encode()
    head = _HEAD.pack(
        _STATUS_NUMBERS[fact.status],
        flags,
        _WHOLE_SCHOOL if fact.location is None else int(fact.location[4:]),
        _number_of((fact.scopes, fact.purposes)),
        fact.granted_at_revision,
        (fact.valid_from - _EPOCH) // _MICROSECOND,
    )
    return head + tail + identity


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


def _identity(grant_id: str) -> bytes:
    """The 16 bytes of a UUID; of any other text, something that does not read back as it."""
    try:
        return bytes.fromhex(grant_id.replace("-", ""))
    except ValueError:
        return b""


def _text(identity: bytes) -> str:
    digits = identity.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _number_of(terms: Terms) -> int:
    number = _terms_numbers.get(terms)
    if number is None:
        number = _terms_numbers[terms] = len(_terms)
        _terms.append(terms)
    return number


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
