"""Routes of the changes between two instants: all changes for operators, a school's own for the school."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Query, Response
from pydantic import Field
from sqlalchemy import ColumnElement
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.contract.shared_parameters import shared_as
from api.queries.past_events import PART, EventRow, events_of, in_order, read_events
from api.web.callers import Operator, SchoolAdmin
from api.web.long_answers import json_answer, json_of
from api.web.paging import Cursor, Limit, after_number, part
from api.web.read_request import Reading, ReadRequest
from api.web.schemas import Moment, Page, Wire
from models.log.events import Event, PastEvent
from models.log.log_entries import entry_of
from models.past.differences import Change, ChangeFilter, ObjectKind, compared, object_key
from models.vocabulary.identifiers import Brin, ClientId
from models.vocabulary.refusals import InvalidInput

router = APIRouter(tags=["evidence"])

Since = Annotated[
    Moment | None,
    Query(description="From then on; without it, from the beginning.", json_schema_extra=shared_as("ChangedSince")),
]
Until = Annotated[
    Moment | None, Query(description="Before then; without it, up to now.", json_schema_extra=shared_as("ChangedUntil"))
]
OfConnection = Annotated[ClientId | None, Query(alias="clientId", json_schema_extra=shared_as("OfConnection"))]


class ChangeView(Wire):
    """An entry of the log, with how the thing that it is about stood before and after it.

    `before` is null for what is new, and for what is about no one thing, as an import of schools.
    """

    number: int
    revision: int
    at: Moment
    event: str
    school: str | None
    client_id: str | None
    grant_id: str | None
    before: Annotated[dict[str, Any] | None, Field(description="The state of the same thing until then.")]
    after: Annotated[dict[str, Any], Field(description="The state as the change left it.")]


@router.get("/v1/changes", operation_id="listChanges", response_model=Page[ChangeView])
async def list_changes(
    caller: Operator,
    reading: Reading,
    since: Since = None,
    until: Until = None,
    school: Annotated[Brin | None, Query()] = None,
    client_id: OfConnection = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """What changed between two instants, in order."""
    wanted = ChangeFilter(since, until, school, client_id)
    return await _listed(reading, wanted, limit, cursor)


@router.get("/v1/schools/{brin}/changes", operation_id="listChangesOfSchool", response_model=Page[ChangeView])
async def list_changes_of_school(
    caller: SchoolAdmin,
    brin: Brin,
    reading: Reading,
    since: Since = None,
    until: Until = None,
    client_id: OfConnection = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """What changed between two instants about the school itself, in order: its grants, and its keys."""
    return await _listed(reading, ChangeFilter(since, until, brin, client_id), limit, cursor)


async def _listed(reading: ReadRequest, wanted: ChangeFilter, limit: int, cursor: str | None) -> Response:
    changes, following = await changes_of(reading.session, wanted, limit, cursor)
    page = Page[ChangeView](items=[], next=following)
    return json_answer(await asyncio.to_thread(json_of, page, items=map(shown, changes)))


def require_in_order(wanted: ChangeFilter) -> None:
    """Raises `InvalidInput` for a period that ends before it begins."""
    if wanted.since is not None and wanted.until is not None and wanted.since > wanted.until:
        raise InvalidInput("since must not be later than until.")


async def changes_of(
    session: AsyncSession, wanted: ChangeFilter, limit: int, cursor: str | None
) -> tuple[list[Change], str | None]:
    """At most `limit` changes after the cursor, and the next cursor. Raises `InvalidInput`."""
    require_in_order(wanted)
    conditions = col(Event.number) > after_number(cursor), *_selected(wanted)
    rows, following = part(await read_events(session, *conditions, most=limit + 1), limit, lambda row: str(row.number))
    found = await asyncio.to_thread(lambda: list(events_of(rows)))
    before = await _events_before(session, found)
    return await asyncio.to_thread(_compared, found, before), following


def _compared(found: Sequence[PastEvent], before: Sequence[EventRow]) -> list[Change]:
    """The changes of the found events, each with the state of its object before it, taken from the `before` events."""
    numbers = {event.number for event in found}
    entries = map(entry_of, in_order(events_of(before), found))
    return [change for change in compared(entries) if change.entry["number"] in numbers]


def shown(change: Change) -> ChangeView:
    """The view of a change."""
    entry = change.entry
    named = {name: entry[name] for name in ("number", "revision", "at", "clientId", "grantId")}
    more = {"event": entry["kind"], "school": entry["brin"], "before": change.before, "after": entry["state"]}
    return ChangeView.model_validate({**named, **more})


def _selected(wanted: ChangeFilter) -> Iterator[ColumnElement[bool]]:
    """The SQL conditions that select the same events as `ChangeFilter.matches`."""
    if wanted.since is not None:
        yield col(Event.at) >= wanted.since
    if wanted.until is not None:
        yield col(Event.at) < wanted.until
    if wanted.school is not None:
        yield col(Event.brin) == wanted.school
    if wanted.client_id is not None:
        yield col(Event.client_id) == wanted.client_id


#: By the member that identifies an object: an indexed column with the same value in all events of one object.
_INDEXED_COLUMN: Final = {
    "grantId": "grant_id",
    "schoolkey": "brin",
    "clientId": "client_id",
    "requestId": "client_id",
    "deletionOf": "client_id",
    "referenceId": "client_id",
    "groundRuleId": "client_id",
    "agreementId": "client_id",
    "incidentId": "client_id",
    "subscriptionId": "client_id",
}


async def _events_before(session: AsyncSession, events: Sequence[PastEvent]) -> list[EventRow]:
    """The events that `_compared` needs beside `events`: for each of their objects the last event before them, and the
    events in between that were not selected."""
    by_kind: dict[ObjectKind, list[PastEvent]] = {}
    for event in events:
        if (found := object_key(entry_of(event))) is not None:
            by_kind.setdefault(found[0], []).append(event)
    number, numbers = col(Event.number), set[int]()
    for kind, about in by_kind.items():
        same = col(Event.kind).in_(kind.kinds), *_about_same_object(kind, about)
        last = select(func.max(Event.number)).where(number < events[0].number, *same)
        numbers.update(await session.exec(last.group_by(col(Event.brin), _name_of(kind))))
        numbers.update(await session.exec(select(Event.number).where(number.between(*_range_of(events)), *same)))
    missing = sorted(numbers - {event.number for event in events})
    parts = [missing[begin : begin + PART] for begin in range(0, len(missing), PART)]
    return [row for chunk in parts for row in await read_events(session, number.in_(chunk))]


def _range_of(events: Sequence[PastEvent]) -> tuple[int, int]:
    return events[0].number, events[-1].number


def _about_same_object(kind: ObjectKind, about: Sequence[PastEvent]) -> Iterator[ColumnElement[bool]]:
    name = _INDEXED_COLUMN.get(kind.member)
    if name is not None:
        yield col(getattr(Event, name)).in_({getattr(each, name) for each in about} - {None})
    if name != "grant_id":
        yield _name_of(kind).in_({each.state[kind.member] for each in about})


def _name_of(kind: ObjectKind) -> ColumnElement[str]:
    """The expression of an object's identifier in an event: the column of the same meaning, else the state's member."""
    if _INDEXED_COLUMN.get(kind.member) == "grant_id":
        return cast(ColumnElement[str], col(Event.grant_id))
    named: ColumnElement[str] = col(Event.state)[kind.member].as_string()
    return named
