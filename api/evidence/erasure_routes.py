"""Routes of erasure: destroy an actor's name or a reason's text with the key of its commitment; proofs still hold."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import StringConstraints
from sqlmodel import select

from api.contract.components import NOT_FOUND, refuses
from api.security import sealing
from api.store.events import record
from api.store.shredding import forget_person, forget_reason
from api.store.store import Store
from api.web.callers import Operator
from api.web.schemas import PRINTABLE, EntryNumber, Wire, WireIn
from api.web.services import provided
from api.web.write_request import Writing
from models.log.events import Event
from models.log.sealed_texts import SealedText
from models.vocabulary.event_kinds import EventKind
from models.vocabulary.refusals import NotFound

router = APIRouter(prefix="/v1", tags=["evidence"])

Number = Annotated[EntryNumber, Path()]


class ActorToErase(WireIn):
    """Whom: the `sub` of the tokens with which they acted."""

    subject: Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=PRINTABLE)]


class ErasedActor(Wire):
    """How they go on to be known, now that nobody can tell who it was."""

    commitment: str
    revision: int


class ErasedReason(Wire):
    """What stays of the reason of the entry `number`, now that nobody can tell what it said."""

    number: int
    commitment: str
    revision: int


@router.post("/actors/_erase", operation_id="eraseActor", responses=refuses(NOT_FOUND))
async def erase_actor(caller: Operator, wish: ActorToErase, writing: Writing, request: Request) -> ErasedActor:
    """Destroys a person's name and the key of the commitments to it. What they did stays, as someone's."""
    store = provided(request, Store)
    lookup = store.sealing.lookup(wish.subject) if store.sealing is not None else ""
    found = (await writing.session.exec(select(SealedText).where(SealedText.lookup == lookup))).first()
    if found is None:
        raise NotFound("Nobody of this name has acted, or they were erased.")
    await forget_person(writing.write, found.commitment)
    sealing.keep_commitment(writing.session, wish.subject, found.commitment)
    record(writing.write, EventKind.ACTOR_ERASED, caller.actor, {"commitment": found.commitment})
    return writing.answer(ErasedActor(commitment=found.commitment, revision=writing.write.revision))


@router.post("/log/entries/{number}/reason/_erase", operation_id="eraseReason")
async def erase_reason(caller: Operator, number: Number, writing: Writing) -> ErasedReason:
    """Destroys the text that somebody gave as the reason of a change, and the key of the commitment to it.

    That it was erased is an entry itself. What the system gives as a reason is nobody's, and stays: a 404.
    """
    write, wanted = writing.write, int(number)
    event = await writing.session.get(Event, wanted) if wanted <= write.events_before else None
    if event is None or event.reason is None or not await forget_reason(write, event):
        raise NotFound("There is no such entry, nobody gave a reason with it, or the reason was erased.")
    # The event names no school and no grant: their feeds are of changes of what may be released.
    record(write, EventKind.REASON_ERASED, caller.actor, {"number": event.number, "commitment": event.reason})
    return writing.answer(ErasedReason(number=event.number, commitment=event.reason, revision=write.revision))
