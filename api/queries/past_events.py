"""Many events at once, for whoever builds on them what was true: plain values in small parts, never rows of the ORM.

A log may hold thousands about one school. The event loop must not be held up by them: what they say is read as text,
and becomes objects (`events_of`) in the thread where it is built on.
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

#: Events that are read at once: more would hold up decisions.
PART: Final = 250

_PLAIN: Final = [inspect(Event).columns[name] for name in PastEvent._fields if name != "state"]
#: In the order of `PastEvent`; the state as the text that is stored.
_COLUMNS: Final = (*_PLAIN, cast(inspect(Event).columns["state"], Text))

_OF_SCHOOLS: Final = ", ".join(f"'{kind}'" for kind in sorted(SCHOOLS))
#: The store takes the lists apart: one import lists thousands, of which one school is wanted.
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
    """The events that fulfil these conditions, in order of their numbers; `events_of` makes them what they are."""
    query = plain_select(*_COLUMNS).where(*where).order_by(col(Event.number))
    return await read_rows(session, query if most is None else query.limit(most))


async def read_rows(session: AsyncSession, query: Executable) -> list[Row[Any]]:
    """All rows, which come in parts, so that others have their turn in between."""
    found = await (await session.connection()).stream(query)
    return [row async for part in found.partitions(PART) for row in part]


async def read_school(session: AsyncSession, brin: str, last: int, *more: int) -> list[PastEvent]:
    """The entries up to `last` that list this school or a location of it, each as if it listed nothing else.

    Where `last` itself lists schools it is one of them, and so are those of the numbers `more`, as if they listed none.
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
    """The events of rows that were read; to be called where nothing waits."""
    for row in rows:
        yield PastEvent._make((*row[:-1], json.loads(row[-1])))


def in_order(*events: Iterable[PastEvent]) -> list[PastEvent]:
    """All of these in order of their numbers, each once."""
    return [event for _, event in sorted({event.number: event for some in events for event in some}.items())]
