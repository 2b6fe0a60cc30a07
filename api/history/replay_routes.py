"""Routes of replay: the decision at an instant of the past, by the log alone and by the same rules as today's.

A replay answers "may connection P have received field F of location S at instant T, and why?"
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field, StringConstraints, model_validator
from sqlalchemy import and_, or_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.contract.shared_parameters import shared_as
from api.queries.past_events import events_of, in_order, read_events, read_partners, read_school
from api.web.callers import Operator, SchoolAdmin
from api.web.concurrency import RebuildSlot
from api.web.read_request import Reading
from api.web.schemas import Moment, ScopeName, Wire, WireIn
from models.decision.decision import Question
from models.log.entry_states import ConnectionState
from models.log.events import Event, PastEvent
from models.log.log_entries import entry_of
from models.past.past_decision import PastDecision, decision_at
from models.vocabulary.event_kinds import CONNECTIONS, SCHOOLS
from models.vocabulary.identifiers import Brin, ClientId, Place
from models.vocabulary.refusals import InvalidInput

router = APIRouter(tags=["evidence"])

Word = Annotated[str, StringConstraints(max_length=40, pattern=r"^[a-z]+$")]
Names = Annotated[list[ScopeName], Field(max_length=64)]


class AskedThen(WireIn):
    """What may have been received, and when. Without `at` it is now; with `at` and `revision`, as a decision carries
    them, exactly the decision of then."""

    model_config = ConfigDict(extra="ignore")

    client_id: Annotated[ClientId, Field(json_schema_extra=shared_as("AskedClientId"))]
    type: Word
    scope: Names = Field(default_factory=list)
    field: Names = Field(default_factory=list)
    purpose: ScopeName | None = None
    at: Annotated[Moment | None, Field(json_schema_extra=shared_as("AskedAt"))] = None
    revision: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = Field(
        default=None, description="As a decision carries it, together with its `at`."
    )

    @model_validator(mode="after")
    def _is_of_an_instant(self) -> Self:
        # A decision on the facts of an old revision but at the present instant was never given.
        if self.revision is not None and self.at is None:
            raise ValueError("revision needs at, the instant of the decision that carried it")
        return self

    def question(self, place: str) -> Question:
        return Question(
            subject_type="partner",
            client_id=self.client_id,
            action="release",
            resource_type=self.type,
            place=place,
            scopes=tuple(self.scope),
            fields=tuple(self.field),
            purpose=self.purpose,
        )


class AskedOfAnyPlace(AskedThen):
    place: Place


class AskedOfOwnPlace(AskedThen):
    """Without a location it is about the school as a whole."""

    location: Annotated[str, StringConstraints(pattern=r"^[0-9]{2}$", max_length=2)] | None = None


class DecidingEntry(Wire):
    """An entry of the log that a decision rests on."""

    number: int
    revision: int
    at: Moment
    event: str


class ReplayedDecision(Wire):
    """The decision of then. `because` names the last entries about the grant, the connection and what it must keep."""

    decision: bool
    reason: str
    revision: int
    at: Moment
    scopes: list[str]
    fields: list[str]
    grant_id: str | None
    valid_until: Moment | None
    because: list[DecidingEntry]


@router.get("/v1/replay", operation_id="replay")
async def replay(
    caller: Operator, asked: Annotated[AskedOfAnyPlace, Query()], slot: RebuildSlot, reading: Reading
) -> ReplayedDecision:
    """May this connection have received this, then, and why? The same as the decision that was given then."""
    question = asked.question(asked.place)
    return await replayed(reading.session, question, asked.at or reading.now, asked.revision, reading.now)


@router.get("/v1/schools/{brin}/replay", operation_id="replayOfSchool")
async def replay_of_school(
    caller: SchoolAdmin, brin: Brin, asked: Annotated[AskedOfOwnPlace, Query()], slot: RebuildSlot, reading: Reading
) -> ReplayedDecision:
    """The same for a school, about its own data."""
    question = asked.question(brin + (asked.location or ""))
    return await replayed(reading.session, question, asked.at or reading.now, asked.revision, reading.now)


async def replayed(
    session: AsyncSession, question: Question, at: datetime, revision: int | None, now: datetime
) -> ReplayedDecision:
    """The decision on the question at `at`, by the log up to that instant, or up to `revision` where it is given.

    Raises `InvalidInput` for an instant in the future, an unknown revision, or one that was not the newest at `at`.
    """
    if at > now:
        raise InvalidInput("at must not be in the future.")
    events = await _events(session, question, await _last(session, at, revision))
    # In a thread, so that the event loop serves decisions meanwhile.
    return shown(await asyncio.to_thread(decision_at, map(entry_of, events), question, at, revision), at)


async def _last(session: AsyncSession, at: datetime, revision: int | None) -> int:
    """The number of the last entry at `at`, or of `revision` where it is given; 0 before the first entry."""
    by = Event.at <= at if revision is None else Event.revision == revision
    # Backwards by number: instants rise with numbers, so that this needs no index on them.
    found = (await session.exec(select(Event.number).where(by).order_by(col(Event.number).desc()).limit(1))).first()
    return found or 0


async def _events(session: AsyncSession, question: Question, last: int) -> Sequence[PastEvent]:
    """The events up to `last` that concern the question, with `last` itself and the next event.

    Selects as `concerns` does, but of all partners the connection's alone, and of all schools the asked one alone.
    """
    number, kind = col(Event.number), col(Event.kind)
    of_school = or_(col(Event.brin).is_(None), col(Event.brin) == question.place[:4])
    of_connection = and_(col(Event.client_id) == question.client_id, of_school)
    which = or_(of_connection, number >= last)
    rows = await read_events(session, number <= last + 1, which, kind.not_in(SCHOOLS))
    about = await asyncio.to_thread(lambda: list(events_of(rows)))
    partners = await read_partners(
        session, {ConnectionState.of(each.state).kvk_number for each in about if each.kind in CONNECTIONS}, last
    )
    schools = await read_school(session, question.place[:4], last, last + 1)
    return await asyncio.to_thread(in_order, about, partners, schools)


def shown(then: PastDecision, at: datetime) -> ReplayedDecision:
    """The view of a replayed decision."""
    decision = then.decision
    return ReplayedDecision(
        decision=decision.permit,
        reason=decision.reason,
        revision=decision.revision,
        at=at,
        scopes=list(decision.scopes),
        fields=list(decision.fields),
        grant_id=decision.grant_id,
        valid_until=decision.valid_until,
        because=[
            DecidingEntry(number=each["number"], revision=each["revision"], at=each["at"], event=each["kind"])
            for each in then.because
        ],
    )
