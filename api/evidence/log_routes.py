"""Routes of the log of all changes: its keys, checkpoint, entries, and proofs of inclusion and consistency.

The tree is that of RFC 9162 over the entries in order of their numbers; a checkpoint is a C2SP signed note.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import PlainTextResponse
from pydantic import Field
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.evidence.proofs import checkpoint, consistency, inclusion, size_of
from api.security.evidence_keys import EvidenceKeys
from api.web.callers import Anyone, Operator
from api.web.paging import Cursor, Limit, after_number, part
from api.web.read_request import Reading
from api.web.schemas import EntryNumber, Moment, Page, Wire
from api.web.services import provided
from models.log.events import Event
from models.log.log_entries import entry_of
from models.vocabulary.refusals import InvalidInput, NotFound

router = APIRouter(prefix="/v1/log", tags=["evidence"])

Number = Annotated[EntryNumber, Path()]
Size = Annotated[int | None, Query(ge=1, le=2**53, description="Of a tree of so many entries; without it, of all.")]


class Entry(Wire):
    """One change as everybody may see it. `actor` and `reason` are commitments, but for what the system does itself.

    Its leaf is the SHA-256 of a zero byte and of this object in the canonical form of RFC 8785.
    """

    number: int
    revision: int
    mark: str
    at: str
    kind: str
    actor: str
    actor_role: str
    reason: str | None
    brin: str | None
    client_id: str | None
    grant_id: str | None
    state: dict[str, Any]


class InclusionProof(Wire):
    """That an entry is in the log of `size` entries. Its leaf's index is `number` - 1; hashes are hexadecimal."""

    number: int
    size: int
    leaf: str
    root: str
    proof: list[str]


class ConsistencyProof(Wire):
    """That the log of `first` entries is the beginning of that of `second`."""

    first: int
    second: int
    first_root: str
    second_root: str
    proof: list[str]


class PublicKeys(Wire):
    """With which keys checkpoints and receipts are verified, older ones too."""

    origin: str
    notes: Annotated[list[str], Field(description="C2SP verifier keys.")]
    receipts: Annotated[dict[str, Any], Field(description="A JWK set (RFC 7517).")]


@router.get("/keys", operation_id="getLogKeys")
async def get_keys(caller: Anyone, request: Request) -> PublicKeys:
    """The public keys."""
    keys = provided(request, EvidenceKeys)
    return PublicKeys(origin=keys.origin, notes=[str(key) for key in keys.verifiers], receipts=keys.jwks)


@router.get("/checkpoint", operation_id="getCheckpoint", response_class=PlainTextResponse)
async def get_checkpoint(caller: Anyone, reading: Reading, request: Request) -> PlainTextResponse:
    """How large the log is now, and its root, signed. Keep it elsewhere: it shows whether the log was changed since."""
    return PlainTextResponse(await checkpoint(reading.session, provided(request, EvidenceKeys)))


@router.get("/entries", operation_id="listLogEntries")
async def list_entries(
    caller: Operator,
    reading: Reading,
    after: Annotated[int, Query(ge=0, le=2**53, description="Only those behind this number.")] = 0,
    since: Annotated[Moment | None, Query(description="Only what changed from then on.")] = None,
    until: Annotated[Moment | None, Query(description="Only what changed before then.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[Entry]:
    """The entries in order of their numbers, all or those between two instants."""
    # A number beyond the log is cut to its size: it may be larger than the store's integers.
    after_entry = min(max(after, after_number(cursor)), await size_of(reading.session))
    found = await _entries(reading.session, after_entry, since, until, limit)
    shown, following = part(found, limit, lambda event: event.number)
    return Page(items=[Entry.model_validate(entry_of(event)) for event in shown], next=following)


@router.get("/entries/{number}/proof", operation_id="proveEntry")
async def prove_entry(caller: Anyone, number: Number, reading: Reading, size: Size = None) -> InclusionProof:
    """That an entry is in the log."""
    tree_size = await _size(reading.session, size)
    if int(number) > tree_size:
        raise NotFound("There is no such entry, or not yet in a log of that size.")
    event = await reading.session.get_one(Event, int(number))
    proof = await inclusion(reading.session, event.number, tree_size)
    return InclusionProof(
        number=event.number,
        size=tree_size,
        leaf=event.leaf.hex(),
        root=proof.roots[0].hex(),
        proof=[each.hex() for each in proof.hashes],
    )


@router.get("/consistency", operation_id="proveConsistency")
async def prove_consistency(
    caller: Anyone, reading: Reading, first: Annotated[int, Query(ge=1, le=2**53)] = 1, second: Size = None
) -> ConsistencyProof:
    """That the log only grew between two sizes."""
    tree_size = await _size(reading.session, second)
    if first > tree_size:
        raise InvalidInput("first must not be larger than second.")
    proof = await consistency(reading.session, first, tree_size)
    return ConsistencyProof(
        first=first,
        second=tree_size,
        first_root=proof.roots[0].hex(),
        second_root=proof.roots[1].hex(),
        proof=[each.hex() for each in proof.hashes],
    )


async def _size(session: AsyncSession, size: int | None) -> int:
    events = await size_of(session)
    if size is not None and size > events:
        raise InvalidInput(f"The log has {events} entries.")
    return events if size is None else size


async def _entries(
    session: AsyncSession, after: int, since: datetime | None, until: datetime | None, limit: int
) -> Sequence[Event]:
    query = select(Event).where(Event.number > after)
    if since is not None:
        query = query.where(Event.at >= since)
    if until is not None:
        query = query.where(Event.at < until)
    return (await session.exec(query.order_by(col(Event.number)).limit(limit + 1))).all()
