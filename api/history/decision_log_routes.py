"""Routes of the decision log: its lines for operators, a school's own lines, and the use of a school's grants."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from pydantic import Field
from sqlalchemy import and_, literal, tuple_
from sqlalchemy import select as plain_select
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.contract.shared_parameters import shared_as
from api.queries.past_events import read_rows
from api.web.callers import Operator, SchoolAdmin
from api.web.long_answers import json_answer, json_of
from api.web.paging import Cursor, Limit, after_key, part
from api.web.read_request import Reading, ReadRequest
from api.web.schemas import FIRST_MOMENT, LAST_MOMENT, Moment, Page, Wire
from models.columns import Instant
from models.consents.grants import Grant
from models.decision.decision import Reason
from models.log.logged_decisions import LoggedDecision
from models.log.otlp import ACTIVITY, traces_of
from models.vocabulary.identifiers import Brin, ClientId
from models.vocabulary.refusals import InvalidInput

router = APIRouter(tags=["decisions"])

#: The period that is read unless `since` says otherwise.
BACK: Final = timedelta(days=30)

#: The columns of a grant that `_use` needs.
_OF_GRANTS: Final = ("grant_id", "client_id", "location", "status", "scopes")

Since = Annotated[
    Moment | None,
    Query(description="From then on; without it, the last 30 days.", json_schema_extra=shared_as("DecidedSince")),
]
Until = Annotated[Moment | None, Query(description="Before then.", json_schema_extra=shared_as("DecidedUntil"))]
OfConnection = Annotated[ClientId | None, Query(alias="clientId", json_schema_extra=shared_as("OfConnection"))]

Activity = Annotated[
    str,
    Query(
        pattern=r"^[a-z][a-z0-9+.-]{0,31}:[!-~]{1,223}$",
        max_length=255,
        description="The URI of the processing activity in a register.",
    ),
]


class LineView(Wire):
    """A decision. `scopes`, `fields` and `purpose` are what was asked for; `?9` stands for what is no word of ours."""

    id: int
    at: Moment
    revision: int
    issuer: str
    subject: str
    door: str
    client_id: str
    place: str
    type: str
    scopes: list[str]
    fields: list[str]
    purpose: str | None
    decision: bool
    reason: str
    grant_id: str | None
    request_id: str
    trace_id: str | None


class Traces(Wire):
    """What a collector takes at `/v1/traces`; it ignores `next`, the cursor of what follows."""

    resource_spans: Annotated[list[dict[str, Any]], Field(alias="resourceSpans")]
    next: str | None


class GrantUse(Wire):
    """How a grant was used: how often it permitted and last when, and how often it did not, by reason.

    `beyond` are scopes that were asked for and that it does not have.
    """

    grant_id: str
    client_id: str
    location: str | None
    status: str
    permitted: int
    last_permitted_at: Moment | None
    never_used: bool
    refused: dict[str, int]
    beyond: list[str]


class Use(Wire):
    """The use of a school's grants, as far as there are lines; `without_grant` is what named none, by reason."""

    since: Moment
    until: Moment
    grants: list[GrantUse]
    without_grant: dict[str, int]


@router.get("/v1/decisions", operation_id="listDecisions")
async def list_decisions(
    caller: Operator,
    reading: Reading,
    since: Since = None,
    until: Until = None,
    client_id: OfConnection = None,
    school: Annotated[Brin | None, Query()] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[LineView]:
    """The decisions of a period, the oldest first."""
    return await _listed(reading, _period(reading.now, since, until), client_id, school, limit, cursor)


@router.get("/v1/decisions/otlp", operation_id="exportDecisions")
async def export_decisions(
    caller: Operator,
    reading: Reading,
    since: Since = None,
    until: Until = None,
    client_id: OfConnection = None,
    school: Annotated[Brin | None, Query()] = None,
    activity: Activity = ACTIVITY,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Traces:
    """The same in OpenTelemetry's JSON (OTLP), in the shape of Logius' Logboek Dataverwerkingen."""
    period = _period(reading.now, since, until)
    shown, following = await _read(reading, period, client_id, school, limit, cursor)
    return Traces(**traces_of(shown, activity), next=following)


@router.get("/v1/schools/{brin}/decisions", operation_id="listDecisionsOfSchool")
async def list_decisions_of_school(
    caller: SchoolAdmin,
    brin: Brin,
    reading: Reading,
    since: Since = None,
    until: Until = None,
    client_id: OfConnection = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[LineView]:
    """The decisions about the school and its locations, the oldest first."""
    return await _listed(reading, _period(reading.now, since, until), client_id, brin, limit, cursor)


@router.get("/v1/schools/{brin}/use", operation_id="getUse", response_model=Use)
async def get_use(
    caller: SchoolAdmin, brin: Brin, reading: Reading, since: Since = None, until: Until = None
) -> Response:
    """How each grant of the school was used: how often, never, refused, and asked beyond."""
    period = _period(reading.now, since, until)
    counted = await _count(reading.session, brin, period)
    columns = plain_select(*(col(getattr(Grant, name)) for name in _OF_GRANTS))
    of_school = columns.where(col(Grant.brin) == brin)
    grants = await read_rows(reading.session, of_school.order_by(col(Grant.granted_at_revision), col(Grant.grant_id)))
    return json_answer(await asyncio.to_thread(_use_of, grants, counted, period))


def _use_of(grants: Sequence[Any], counted: Sequence[Any], period: tuple[datetime, datetime]) -> bytes:
    """The use of the grants as JSON, by the counted lines."""
    rows: dict[str | None, list[Any]] = {}
    for row in counted:
        rows.setdefault(row.grant_id, []).append(row)
    without = Counter[str]()
    for row in rows.get(None, ()):
        if not row.reason.startswith("searched_"):
            without[row.reason] += row.times
    use = Use(since=period[0], until=period[1], grants=[], without_grant=dict(sorted(without.items())))
    return json_of(use, grants=(_use(grant, rows.get(grant.grant_id, ())) for grant in grants))


def _period(now: datetime, since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    end = until or now + timedelta(microseconds=1)
    begin = since or max(end - BACK, FIRST_MOMENT)
    if begin > end:
        raise InvalidInput("since must not be later than until.")
    return begin, end


def _within(period: tuple[datetime, datetime]) -> Any:
    return and_(col(LoggedDecision.at) >= period[0], col(LoggedDecision.at) < period[1])


async def _listed(
    reading: ReadRequest,
    period: tuple[datetime, datetime],
    client_id: str | None,
    school: str | None,
    limit: int,
    cursor: str | None,
) -> Page[LineView]:
    shown, following = await _read(reading, period, client_id, school, limit, cursor)
    return Page(items=[shown_line(line) for line in shown], next=following)


async def _read(
    reading: ReadRequest,
    period: tuple[datetime, datetime],
    client_id: str | None,
    school: str | None,
    limit: int,
    cursor: str | None,
) -> tuple[Sequence[LoggedDecision], str | None]:
    at, number = col(LoggedDecision.at), col(LoggedDecision.id)
    query = select(LoggedDecision).where(_within(period))
    if school is not None:
        query = query.where(LoggedDecision.school == school)
    if client_id is not None:
        query = query.where(LoggedDecision.client_id == client_id)
    if cursor is not None:
        instant, last = _position(cursor)
        query = query.where(tuple_(at, number) > tuple_(literal(instant, Instant), literal(last)))
    found = (await reading.session.exec(query.order_by(at, number).limit(limit + 1))).all()
    return part(found, limit, lambda line: _key(line.at, line.id))


def _key(at: datetime, number: int) -> str:
    return f"{at.isoformat()} {number}"


def _position(cursor: str) -> tuple[datetime, int]:
    """The time and number of a line in a cursor. Raises `InvalidInput` for a key that `_key` does not make."""
    key = after_key(cursor)
    instant, _, last = key.partition(" ")
    try:
        moment, number = datetime.fromisoformat(instant), int(last)
    except ValueError:
        raise InvalidInput("The cursor is not one of ours.") from None
    if moment.tzinfo != UTC or not FIRST_MOMENT.year <= moment.year <= LAST_MOMENT.year or not 0 < number < 2**63:
        raise InvalidInput("The cursor is not one of ours.")
    if _key(moment, number) != key:
        raise InvalidInput("The cursor is not one of ours.")
    return moment, number


def shown_line(line: LoggedDecision) -> LineView:
    """The view of a line."""
    lists = {"scopes": line.scopes.split(), "fields": line.fields_.split()}
    members = line.model_dump(exclude={"fields_", "scopes", "permit", "resource_type", "school"})
    return LineView(**members, **lists, decision=line.permit, type=line.resource_type)


async def _count(session: AsyncSession, brin: str, period: tuple[datetime, datetime]) -> Sequence[Any]:
    """The lines about a school by grant, answer, reason and scopes: their number (`times`) and the `last` instant."""
    columns = (
        LoggedDecision.grant_id,
        LoggedDecision.permit,
        LoggedDecision.reason,
        LoggedDecision.scopes,
    )
    times, last = func.count().label("times"), func.max(LoggedDecision.at).label("last")
    query = select(*columns, times, last).where(LoggedDecision.school == brin, _within(period)).group_by(*columns)  # type: ignore[call-overload]
    return await read_rows(session, query)


def _use(grant: Any, rows: Sequence[Any]) -> GrantUse:
    permitted = [row for row in rows if row.permit]
    refused = Counter[str]()
    for row in rows:
        if not row.permit:
            refused[row.reason] += row.times
    scopes_asked = (row.scopes.split() for row in rows if row.reason == Reason.SCOPE_NOT_GRANTED)
    beyond = {name for names in scopes_asked for name in names} - set(grant.scopes)
    return GrantUse(
        grant_id=grant.grant_id,
        client_id=grant.client_id,
        location=grant.location,
        status=grant.status,
        permitted=sum(row.times for row in permitted),
        last_permitted_at=max((row.last for row in permitted), default=None),
        never_used=not permitted,
        refused=dict(sorted(refused.items())),
        beyond=sorted(beyond),
    )
