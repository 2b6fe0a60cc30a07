"""Bulk reads of events, to rebuild past states: plain values in batches, never rows of the ORM.

A log may hold thousands of events of one school, which must not block the event loop: their states are read as text,
and parsed (`events_of`) in the thread that uses them.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from sqlalchemy import Executable, Row, Text, cast, inspect, text
from sqlalchemy import select as plain_select
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from models.log.events import Event, PastEvent
from models.vocabulary.event_kinds import PARTNERS, SCHOOLS

#: Events per batch; larger ones would delay decisions.
PART: Final = 250

_PLAIN: Final = [inspect(Event).columns[name] for name in PastEvent._fields if name != "state"]
#: Columns in the order of `PastEvent`; the state as stored text.
_COLUMNS: Final = (*_PLAIN, cast(inspect(Event).columns["state"], Text))

_OF_SCHOOLS: Final = ", ".join(f"'{kind}'" for kind in sorted(SCHOOLS))
#: The store filters the lists: one import lists thousands of schools, of which one is wanted.
_LISTED_ON_SQLITE: Final = text(
    f"""
    SELECT number, 'schools', value FROM events, json_each(state, '$.listed.schools')
    WHERE kind IN ({_OF_SCHOOLS}) AND number <= :last AND json_extract(value, '$[0]') = :brin
    UNION ALL
    SELECT number, 'locations', value FROM events, json_each(state, '$.listed.locations')
    WHERE kind IN ({_OF_SCHOOLS}) AND number <= :last AND substr(json_extract(value, '$[0]'), 1, 4) = :brin
    """  # noqa: S608 - kinds of ours
)
_LISTED: Final = text(
    f"""
    SELECT number, 'schools', value::text FROM events, json_array_elements(state #> '{{listed,schools}}') AS value
    WHERE kind IN ({_OF_SCHOOLS}) AND number <= :last AND value ->> 0 = :brin
    UNION ALL
    SELECT number, 'locations', value::text FROM events, json_array_elements(state #> '{{listed,locations}}') AS value
    WHERE kind IN ({_OF_SCHOOLS}) AND number <= :last AND substr(value ->> 0, 1, 4) = :brin
    """  # noqa: S608 - kinds of ours
)

EventRow = Row[Any]


async def read_events(session: AsyncSession, *where: Any, most: int | None = None) -> list[EventRow]:
    """The events that satisfy these conditions, in order of number; `events_of` parses them."""
    query = plain_select(*_COLUMNS).where(*where).order_by(col(Event.number))
    return await read_rows(session, query if most is None else query.limit(most))


async def read_rows(session: AsyncSession, query: Executable) -> list[Row[Any]]:
    """All rows, read in batches so that other tasks run in between."""
    found = await (await session.connection()).stream(query)
    return [row async for part in found.partitions(PART) for row in part]


async def read_school(session: AsyncSession, brin: str, last: int, *more: int) -> list[PastEvent]:
    """The entries up to `last` that list this school or its locations, reduced to these.

    Entries `last` (if it lists schools) and `more` are included even when they list none of them.
    """
    connection = await session.connection()
    listed: dict[int, dict[str, list[Any]]] = {number: {} for number in (last, *more)}
    query = _LISTED_ON_SQLITE if connection.dialect.name == "sqlite" else _LISTED
    for number, what, item in await connection.execute(query, {"brin": brin, "last": last}):
        listed.setdefault(number, {}).setdefault(what, []).append(json.loads(item))
    numbers = sorted(listed)
    found: list[PastEvent] = []
    for begin in range(0, len(numbers), PART):
        some = col(Event.number).in_(numbers[begin : begin + PART]), col(Event.kind).in_(SCHOOLS)
        rows = await connection.execute(plain_select(*_PLAIN).where(*some).order_by(col(Event.number)))
        found += [PastEvent._make((*row, {"listed": listed[row.number]})) for row in rows]
    return found


async def read_partners(session: AsyncSession, kvk_numbers: Iterable[str], last: int) -> list[PastEvent]:
    """The entries up to `last` about these partners."""
    named = col(Event.state)["kvkNumber"].as_string().in_(sorted(kvk_numbers))
    rows = await read_events(session, col(Event.number) <= last, col(Event.kind).in_(PARTNERS), named)
    return list(events_of(rows))


def events_of(rows: Iterable[EventRow]) -> Iterator[PastEvent]:
    """Parses rows into events; call it where blocking is allowed."""
    for row in rows:
        yield PastEvent._make((*row[:-1], json.loads(row[-1])))


def in_order(*events: Iterable[PastEvent]) -> list[PastEvent]:
    """All events in order of number, without duplicates."""
    return [event for _, event in sorted({event.number: event for some in events for event in some}.items())]
