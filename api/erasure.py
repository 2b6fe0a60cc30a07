"""Erasing who acted: the name is destroyed with its key, and everything that was proven about the log still holds."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import StringConstraints
from sqlmodel import select

from api.callers import Operator
from api.events import record
from api.store import Store
from api.wire import PRINTABLE, Wire, WireIn
from api.writes import Writing
from models.events import EventKind
from models.refusals import NotFound
from models.sealed import SealedText

router = APIRouter(prefix="/v1/actors", tags=["evidence"])


class ActorToErase(WireIn):
    """Whom: the `sub` of the tokens with which they acted."""

    subject: Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=PRINTABLE)]


class ErasedActor(Wire):
    """How they go on to be known, now that nobody can tell who it was."""

    commitment: str
    revision: int


@router.post("/_erase", operation_id="eraseActor")
async def erase_actor(caller: Operator, wish: ActorToErase, writing: Writing, request: Request) -> ErasedActor:
    """Destroys a person's name and the key of the commitments to it. What they did stays, as someone's."""
    store: Store = request.app.state.store
    lookup = store.sealing.lookup(wish.subject) if store.sealing is not None else ""
    found = (await writing.session.exec(select(SealedText).where(SealedText.lookup == lookup))).first()
    if found is None:
        raise NotFound("Nobody of this name has acted, or they were erased.")
    await writing.write.forget(found)
    record(writing.write, EventKind.ACTOR_ERASED, caller.actor, {"commitment": found.commitment})
    return writing.answer(ErasedActor(commitment=found.commitment, revision=writing.write.revision))
