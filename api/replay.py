"""What was decided, or would have been, at an instant of the past: told by the log alone, by the same rules as today's.

"May connection P have received field F of location S at instant T, and why?"
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from sqlalchemy import or_
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.callers import Operator, SchoolAdmin
from api.reads import Reading
from api.wire import Moment, ScopeName, Wire
from models.decision import Decision, Question, decide
from models.events import Event
from models.identifiers import Brin, ClientId, Place
from models.log_entries import entry_of
from models.refusals import InvalidInput
from models.replay import AGREEMENTS, CONNECTIONS, GRANTS, PARTNERS, RULES, SCHOOLS, Told

router = APIRouter(tags=["evidence"])

Names = Annotated[list[ScopeName] | None, Query(max_length=64)]
ResourceType = Annotated[str, Query(alias="type", max_length=40, pattern=r"^[a-z]+$")]
Location = Annotated[str | None, Query(pattern=r"^[0-9]{2}$", description="Of one location: its two digits.")]
At = Annotated[Moment | None, Query(description="The instant; without it, that of the revision, or now.")]
AtRevision = Annotated[
    int | None, Query(ge=1, le=2**53, description="As a decision carries it; without it, the last one at the instant.")
]


class Because(Wire):
    """An entry of the log that a decision rests on."""

    number: int
    revision: int
    at: Moment
    event: str


class Replayed(Wire):
    """The decision of then. `because` names the last entries about the grant, the connection and what it must keep."""

    decision: bool
    reason: str
    revision: int
    at: Moment
    scopes: list[str]
    fields: list[str]
    grant_id: str | None
    valid_until: Moment | None
    because: list[Because]


#: The kinds of which each thing's last entry is named, since it tells how that thing stood.
_TOLD: Final = (GRANTS, CONNECTIONS, PARTNERS, RULES, AGREEMENTS)


@router.get("/v1/replay", operation_id="replay")
async def replay(
    caller: Operator,
    reading: Reading,
    client_id: Annotated[ClientId, Query(alias="clientId")],
    place: Annotated[Place, Query()],
    resource_type: ResourceType,
    scope: Names = None,
    field: Names = None,
    purpose: Annotated[ScopeName | None, Query()] = None,
    at: At = None,
    revision: AtRevision = None,
) -> Replayed:
    """May this connection have received this, then, and why? The same as the decision that was given then."""
    question = _question(client_id, place, resource_type, scope, field, purpose)
    return await replayed(reading.session, question, at or reading.now, revision, reading.now)


@router.get("/v1/schools/{brin}/replay", operation_id="replayOfSchool")
async def replay_of_school(
    caller: SchoolAdmin,
    brin: Brin,
    reading: Reading,
    client_id: Annotated[ClientId, Query(alias="clientId")],
    resource_type: ResourceType,
    location: Annotated[
        str | None, Query(pattern=r"^[0-9]{2}$", description="Of one location: its two digits.")
    ] = None,
    scope: Names = None,
    field: Names = None,
    purpose: Annotated[ScopeName | None, Query()] = None,
    at: At = None,
    revision: AtRevision = None,
) -> Replayed:
    """The same for a school, about its own data."""
    question = _question(client_id, brin + (location or ""), resource_type, scope, field, purpose)
    return await replayed(reading.session, question, at or reading.now, revision, reading.now)


async def replayed(
    session: AsyncSession, question: Question, at: datetime, revision: int | None, now: datetime
) -> Replayed:
    """The decision on this question as of `at`, on what the log then held: up to `revision`, where that is given.

    Raises `InvalidInput` for an instant that has not come, or a revision that there is not.
    """
    if at > now:
        raise InvalidInput("at must not be in the future.")
    last = await _last(session, at, revision)
    events = await _events(session, question, last)
    told = Told.by(entry_of(event) for event in events)
    told.revision = await _revision(session, last)
    return _shown(decide(told.snapshot, question, at), at, _because(events, question))


def _question(
    client_id: str,
    place: str,
    kind: str,
    scopes: Sequence[str] | None,
    fields: Sequence[str] | None,
    purpose: str | None,
) -> Question:
    return Question(
        subject_type="partner",
        client_id=client_id,
        action="release",
        resource_type=kind,
        place=place,
        scopes=tuple(scopes or ()),
        fields=tuple(fields or ()),
        purpose=purpose,
    )


async def _last(session: AsyncSession, at: datetime, revision: int | None) -> int:
    """The number of the last entry that counted then; 0 before the first."""
    by = Event.at <= at if revision is None else Event.revision <= revision
    if revision is not None:
        found = (await session.exec(select(Event.number).where(Event.revision == revision).limit(1))).first()
        if found is None:
            raise InvalidInput("There is no such revision.")
    return (await session.exec(select(func.coalesce(func.max(Event.number), 0)).where(by))).one()


async def _revision(session: AsyncSession, number: int) -> int:
    found = await session.get(Event, number)
    return found.revision if found is not None else 0


async def _events(session: AsyncSession, question: Question, last: int) -> Sequence[Event]:
    """All up to then that such a decision can rest on: about the connection, any partner, and the schools."""
    about = or_(col(Event.client_id) == question.client_id, col(Event.kind).in_([*PARTNERS, *SCHOOLS]))
    query = select(Event).where(Event.number <= last, about).order_by(col(Event.number))
    return (await session.exec(query)).all()


def _because(events: Sequence[Event], question: Question) -> list[Because]:
    """The last entry about each thing of this connection and school."""
    latest: dict[Any, Event] = {}
    kvk_numbers = {event.state["kvkNumber"] for event in events if event.kind in CONNECTIONS}
    for event in events:
        kinds = next((kinds for kinds in _TOLD if event.kind in kinds), None)
        if kinds is PARTNERS and event.state["kvkNumber"] not in kvk_numbers:
            continue
        if kinds is not None and (kinds is not GRANTS or event.brin == question.place[:4]):
            latest[_TOLD.index(kinds), _key(event)] = event
    return [
        Because(number=each.number, revision=each.revision, at=each.at, event=each.kind)
        for each in sorted(latest.values(), key=lambda event: event.number)
    ]


def _key(event: Event) -> Any:
    names = ("grantId", "groundRuleId", "agreementId", "clientId", "kvkNumber")
    return next(event.state[name] for name in names if name in event.state)


def _shown(decision: Decision, at: datetime, because: list[Because]) -> Replayed:
    return Replayed(
        decision=decision.permit,
        reason=decision.reason,
        revision=decision.revision,
        at=at,
        scopes=list(decision.scopes),
        fields=list(decision.fields),
        grant_id=decision.grant_id,
        valid_until=decision.valid_until,
        because=because,
    )
