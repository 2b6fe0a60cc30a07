"""What changed between two instants: for operators all of it, for a school what is its own."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy import ColumnElement
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.callers import Operator, SchoolAdmin
from api.paging import Cursor, Limit, after_number, part
from api.reads import Reading
from api.wire import Moment, Page, Wire
from models.differences import Change, Thing, Wanted, compared, thing_of
from models.events import Event
from models.identifiers import Brin, ClientId
from models.log_entries import entry_of
from models.refusals import InvalidInput

router = APIRouter(tags=["evidence"])

Since = Annotated[Moment | None, Query(description="From then on; without it, from the beginning.")]
Until = Annotated[Moment | None, Query(description="Before then; without it, up to now.")]
OfConnection = Annotated[ClientId | None, Query(alias="clientId")]


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


@router.get("/v1/changes", operation_id="listChanges")
async def list_changes(
    caller: Operator,
    reading: Reading,
    since: Since = None,
    until: Until = None,
    school: Annotated[Brin | None, Query()] = None,
    client_id: OfConnection = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[ChangeView]:
    """What changed between two instants, in order."""
    wanted = Wanted(since, until, school, client_id)
    changes, following = await changes_of(reading.session, wanted, limit, cursor)
    return Page(items=[shown(change) for change in changes], next=following)


@router.get("/v1/schools/{brin}/changes", operation_id="listChangesOfSchool")
async def list_changes_of_school(
    caller: SchoolAdmin,
    brin: Brin,
    reading: Reading,
    since: Since = None,
    until: Until = None,
    client_id: OfConnection = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[ChangeView]:
    """What changed between two instants about the school itself, in order: its grants, and its keys."""
    changes, following = await changes_of(reading.session, Wanted(since, until, brin, client_id), limit, cursor)
    return Page(items=[shown(change) for change in changes], next=following)


def require_in_order(wanted: Wanted) -> None:
    """Raises `InvalidInput` for a period that ends before it begins."""
    if wanted.since is not None and wanted.until is not None and wanted.since > wanted.until:
        raise InvalidInput("since must not be later than until.")


async def changes_of(
    session: AsyncSession, wanted: Wanted, limit: int, cursor: str | None
) -> tuple[list[Change], str | None]:
    """At most `limit` changes behind the cursor, and the cursor of what follows. Raises `InvalidInput`."""
    require_in_order(wanted)
    query = select(Event).where(Event.number > after_number(cursor), *_selected(wanted)).order_by(col(Event.number))
    found, following = part((await session.exec(query.limit(limit + 1))).all(), limit, lambda event: event.number)
    numbers = {event.number for event in found}
    history = {event.number: event for event in [*await _earlier(session, found), *found]}
    entries = (entry_of(history[number]) for number in sorted(history))
    return [change for change in compared(entries) if change.entry["number"] in numbers], following


def shown(change: Change) -> ChangeView:
    """A change as it goes out."""
    entry = change.entry
    named = {name: entry[name] for name in ("number", "revision", "at", "clientId", "grantId")}
    more = {"event": entry["kind"], "school": entry["brin"], "before": change.before, "after": entry["state"]}
    return ChangeView.model_validate({**named, **more})


def _selected(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    """The same as `Wanted.has`."""
    if wanted.since is not None:
        yield col(Event.at) >= wanted.since
    if wanted.until is not None:
        yield col(Event.at) < wanted.until
    if wanted.school is not None:
        yield col(Event.brin) == wanted.school
    if wanted.client_id is not None:
        yield col(Event.client_id) == wanted.client_id


#: The column with an index that the entries of one thing have alike, where there is one.
_ALIKE: Final = {
    "grantId": "grant_id",
    "schoolkey": "brin",
    "clientId": "client_id",
    "groundRuleId": "client_id",
    "agreementId": "client_id",
    "incidentId": "client_id",
}


async def _earlier(session: AsyncSession, events: Sequence[Event]) -> list[Event]:
    """What the log told before the last of these of the things that they are about."""
    things: dict[Thing, list[Event]] = {}
    for event in events:
        if (found := thing_of(entry_of(event))) is not None:
            things.setdefault(found[0], []).append(event)
    earlier: list[Event] = []
    for thing, about in things.items():
        query = select(Event).where(col(Event.kind).in_(thing.kinds), Event.number < about[-1].number)
        earlier += await session.exec(query.where(_same(thing, about)))
    return earlier


def _same(thing: Thing, about: Sequence[Event]) -> ColumnElement[bool]:
    name = _ALIKE.get(thing.member)
    if name is not None:
        return col(getattr(Event, name)).in_({getattr(each, name) for each in about} - {None})
    named: ColumnElement[str] = col(Event.state)[thing.member].as_string()
    return named.in_({each.state[thing.member] for each in about})
