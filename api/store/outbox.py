"""The outbox: what a change has to tell is noted in the change's own transaction, for each subscription it concerns.

A message says no more than which event it is of: what it says is in the log. On PostgreSQL the notes ride along with
the statement that appends the events; on SQLite they are two statements more, or one where none is concerned.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, delete, text, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.columns import Instant
from models.consents.webhooks import OF_PARTNER, TOLD, MessageState, WebhookLane, WebhookMessage
from models.log.events import Event
from models.vocabulary.event_kinds import EventKind


def are_told(events: Iterable[Event]) -> bool:
    """Whether any of these is of a kind that subscriptions are told of."""
    return any(event.kind in TOLD for event in events)


def _kinds(kinds: Iterable[EventKind]) -> str:
    return ", ".join(f"'{kind}'" for kind in sorted(kinds))


def _concerned(events: str, wants: str, kvk_number: str) -> str:
    """Which event (of `events`, with their columns) concerns which subscription."""
    wanted = f"s.state = 'active' AND (s.types IS NULL OR {wants})"
    return (
        "SELECT s.subscription_id, e.number, coalesce(e.brin, '') AS lane, e.at"  # noqa: S608 - of constants alone
        f" FROM {events} AS e JOIN webhook_subscriptions AS s ON s.client_id = e.client_id"
        f" WHERE e.kind IN ({_kinds(TOLD - OF_PARTNER)}) AND {wanted}"
        " UNION ALL SELECT s.subscription_id, e.number, '', e.at"
        f" FROM {events} AS e JOIN connections AS c ON c.kvk_number = {kvk_number}"
        " JOIN webhook_subscriptions AS s ON s.client_id = c.client_id"
        f" WHERE e.kind IN ({_kinds(OF_PARTNER)}) AND {wanted}"
    )


_MESSAGES: Final = "INSERT INTO webhook_messages (subscription_id, number, lane, state, at)"
_LANES: Final = (
    "INSERT INTO webhook_lanes (subscription_id, lane, waiting, attempts, next_at, claim)"
    " SELECT subscription_id, lane, count(*), 0, min(at), '' FROM {noted} AS noted WHERE true"
    " GROUP BY subscription_id, lane ORDER BY subscription_id, lane"
    " ON CONFLICT (subscription_id, lane) DO UPDATE SET waiting = webhook_lanes.waiting + excluded.waiting"
)

#: For a statement of PostgreSQL's in which `events` are those that it appends, returned whole.
NOTED: Final = ", ".join(
    (
        "concerned AS ("
        + _concerned(
            "events",
            "EXISTS (SELECT FROM json_array_elements_text(s.types) AS wanted(kind) WHERE wanted.kind = e.kind)",
            "e.state->>'kvkNumber'",
        )
        + ")",
        f"messages AS ({_MESSAGES} SELECT subscription_id, number, lane, 'waiting', at FROM concerned)",  # noqa: S608
        f"lanes AS ({_LANES.format(noted='concerned')})",
    )
)

_APPENDED: Final = "(SELECT * FROM events WHERE number BETWEEN :first AND :last)"
_ON_SQLITE: Final = _concerned(
    _APPENDED,
    "EXISTS (SELECT 1 FROM json_each(s.types) AS wanted WHERE wanted.value = e.kind)",
    "json_extract(e.state, '$.kvkNumber')",
)
_LANES_ON_SQLITE: Final = text(_LANES.format(noted=f"({_ON_SQLITE})"))
_MESSAGES_ON_SQLITE: Final = text(
    f"{_MESSAGES} SELECT subscription_id, number, lane, 'waiting', at FROM ({_ON_SQLITE}) AS concerned"  # noqa: S608
)


async def note_on_sqlite(connection: AsyncConnection, events: Sequence[Event]) -> None:
    """Notes what events that were just appended have to tell."""
    between = {"first": events[0].number, "last": events[-1].number}
    if (await connection.execute(_LANES_ON_SQLITE, between)).rowcount:
        await connection.execute(_MESSAGES_ON_SQLITE, between)


async def note(session: AsyncSession, subscription_id: str, number: int, lane: str, now: datetime) -> None:
    """Notes that this one subscription is to be told of the event with this number."""
    session.add(WebhookMessage(subscription_id=subscription_id, number=number, lane=lane, at=now))
    await _wait(session, subscription_id, lane, 1, now)


async def put_back(
    session: AsyncSession, subscription_id: str, numbers: Sequence[int] | None, most: int, now: datetime
) -> int:
    """Dead letters wait again: those with these numbers, or the oldest; at most so many. Returns how many."""
    chosen = select(WebhookMessage).where(
        WebhookMessage.subscription_id == subscription_id, WebhookMessage.state == MessageState.DEAD
    )
    if numbers is not None:
        chosen = chosen.where(col(WebhookMessage.number).in_(numbers))
    found = (await session.exec(chosen.order_by(col(WebhookMessage.number)).limit(most))).all()
    for lane, more in sorted(Counter(each.lane for each in found).items()):
        await _wait(session, subscription_id, lane, more, now)
    for each in found:
        each.state = MessageState.WAITING
        session.add(each)
    return len(found)


_WAIT: Final = text(
    "INSERT INTO webhook_lanes (subscription_id, lane, waiting, attempts, next_at, claim)"
    " VALUES (:subscription_id, :lane, :more, 0, :now, '')"
    " ON CONFLICT (subscription_id, lane) DO UPDATE SET waiting = webhook_lanes.waiting + excluded.waiting"
).bindparams(bindparam("now", type_=Instant()))


async def _wait(session: AsyncSession, subscription_id: str, lane: str, more: int, now: datetime) -> None:
    """So many messages more wait in this lane."""
    connection = await session.connection()
    values = {"subscription_id": subscription_id, "lane": lane, "more": more, "now": now}
    await connection.execute(_WAIT, values)


async def pause(session: AsyncSession, subscription_id: str) -> None:
    """Nothing of this subscription is delivered any more. What is under way is, but counts as if it were not."""
    await _set(session, subscription_id, None)


async def resume(session: AsyncSession, subscription_id: str, now: datetime) -> None:
    """What waits is delivered from now on, as if it had not been tried."""
    await _set(session, subscription_id, now)


async def _set(session: AsyncSession, subscription_id: str, next_at: datetime | None) -> None:
    values = {"next_at": next_at, "claim": "", "attempts": 0}
    connection = await session.connection()
    await connection.execute(
        update(WebhookLane).where(col(WebhookLane.subscription_id) == subscription_id).values(values)
    )


async def drop(session: AsyncSession, subscription_id: str) -> None:
    """What waits for this subscription, which is removed, is never sent. The messages go when they are old."""
    connection = await session.connection()
    await connection.execute(delete(WebhookLane).where(col(WebhookLane.subscription_id) == subscription_id))
