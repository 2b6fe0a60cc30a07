"""The outbox: messages to webhook subscriptions, written in the transaction of the change that they report.

A message holds only the number of its event, whose content is in the log. On PostgreSQL the statement that appends the
events also writes the messages; on SQLite it takes two statements more, or one if no subscription is concerned.
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
from models.consents.webhooks import OF_PARTNER, SENT_KINDS, MessageState, WebhookLane, WebhookMessage
from models.log.events import Event
from models.vocabulary.event_kinds import EventKind


def has_messages(events: Iterable[Event]) -> bool:
    """Whether any of these events is of a kind that subscriptions get."""
    return any(event.kind in SENT_KINDS for event in events)


def _kinds(kinds: Iterable[EventKind]) -> str:
    return ", ".join(f"'{kind}'" for kind in sorted(kinds))


def _concerned_sql(events: str, wanted_kind: str, kvk_number: str) -> str:
    """SQL for the pairs of event (of `events`, with their columns) and subscription that it concerns."""
    wanted = f"s.state = 'active' AND (s.types IS NULL OR {wanted_kind})"
    return (
        "SELECT s.subscription_id, e.number, coalesce(e.brin, '') AS lane, e.at"  # noqa: S608 - of constants alone
        f" FROM {events} AS e JOIN webhook_subscriptions AS s ON s.client_id = e.client_id"
        f" WHERE e.kind IN ({_kinds(SENT_KINDS - OF_PARTNER)}) AND {wanted}"
        " UNION ALL SELECT s.subscription_id, e.number, '', e.at"
        f" FROM {events} AS e JOIN connections AS c ON c.kvk_number = {kvk_number}"
        " JOIN webhook_subscriptions AS s ON s.client_id = c.client_id"
        f" WHERE e.kind IN ({_kinds(OF_PARTNER)}) AND {wanted}"
    )


_MESSAGES: Final = "INSERT INTO webhook_messages (subscription_id, number, lane, state, at)"
_LANES: Final = (
    "INSERT INTO webhook_lanes (subscription_id, lane, waiting, attempts, next_at, claim)"
    " SELECT subscription_id, lane, count(*), 0, min(at), '' FROM {concerned} AS concerned WHERE true"
    " GROUP BY subscription_id, lane ORDER BY subscription_id, lane"
    " ON CONFLICT (subscription_id, lane) DO UPDATE SET waiting = webhook_lanes.waiting + excluded.waiting"
)

#: Parts of a PostgreSQL statement in which `events` are the appended events with all columns.
MESSAGE_INSERTS: Final = ", ".join(
    (
        "concerned AS ("
        + _concerned_sql(
            "events",
            "EXISTS (SELECT FROM json_array_elements_text(s.types) AS wanted(kind) WHERE wanted.kind = e.kind)",
            "e.state->>'kvkNumber'",
        )
        + ")",
        f"messages AS ({_MESSAGES} SELECT subscription_id, number, lane, 'waiting', at FROM concerned)",  # noqa: S608
        f"lanes AS ({_LANES.format(concerned='concerned')})",
    )
)

_APPENDED: Final = "(SELECT * FROM events WHERE number BETWEEN :first AND :last)"
_ON_SQLITE: Final = _concerned_sql(
    _APPENDED,
    "EXISTS (SELECT 1 FROM json_each(s.types) AS wanted WHERE wanted.value = e.kind)",
    "json_extract(e.state, '$.kvkNumber')",
)
_LANES_ON_SQLITE: Final = text(_LANES.format(concerned=f"({_ON_SQLITE})"))
_MESSAGES_ON_SQLITE: Final = text(
    f"{_MESSAGES} SELECT subscription_id, number, lane, 'waiting', at FROM ({_ON_SQLITE}) AS concerned"  # noqa: S608
)


async def write_messages_on_sqlite(connection: AsyncConnection, events: Sequence[Event]) -> None:
    """Writes the messages of events that were just appended."""
    between = {"first": events[0].number, "last": events[-1].number}
    if (await connection.execute(_LANES_ON_SQLITE, between)).rowcount:
        await connection.execute(_MESSAGES_ON_SQLITE, between)


async def write_message(session: AsyncSession, subscription_id: str, number: int, lane: str, now: datetime) -> None:
    """Writes the message of one event to one subscription."""
    session.add(WebhookMessage(subscription_id=subscription_id, number=number, lane=lane, at=now))
    await _add_waiting(session, subscription_id, lane, 1, now)


async def requeue_dead_letters(
    session: AsyncSession, subscription_id: str, numbers: Sequence[int] | None, limit: int, now: datetime
) -> int:
    """Queues dead letters again: those with these numbers or the oldest, at most `most`. Returns how many."""
    chosen = select(WebhookMessage).where(
        WebhookMessage.subscription_id == subscription_id, WebhookMessage.state == MessageState.DEAD
    )
    if numbers is not None:
        chosen = chosen.where(col(WebhookMessage.number).in_(numbers))
    messages = (await session.exec(chosen.order_by(col(WebhookMessage.number)).limit(limit))).all()
    for lane, count in sorted(Counter(each.lane for each in messages).items()):
        await _add_waiting(session, subscription_id, lane, count, now)
    for each in messages:
        each.state = MessageState.WAITING
        session.add(each)
    return len(messages)


_ADD_WAITING: Final = text(
    "INSERT INTO webhook_lanes (subscription_id, lane, waiting, attempts, next_at, claim)"
    " VALUES (:subscription_id, :lane, :more, 0, :now, '')"
    " ON CONFLICT (subscription_id, lane) DO UPDATE SET waiting = webhook_lanes.waiting + excluded.waiting"
).bindparams(bindparam("now", type_=Instant()))


async def _add_waiting(session: AsyncSession, subscription_id: str, lane: str, count: int, now: datetime) -> None:
    """Adds to the number of messages waiting in a lane."""
    connection = await session.connection()
    values = {"subscription_id": subscription_id, "lane": lane, "more": count, "now": now}
    await connection.execute(_ADD_WAITING, values)


async def pause(session: AsyncSession, subscription_id: str) -> None:
    """Stops deliveries to this subscription. Those under way are made, but count as if they were not."""
    await _set_lanes(session, subscription_id, None)


async def resume(session: AsyncSession, subscription_id: str, now: datetime) -> None:
    """Makes waiting messages deliverable again, with their attempts reset."""
    await _set_lanes(session, subscription_id, now)


async def _set_lanes(session: AsyncSession, subscription_id: str, next_at: datetime | None) -> None:
    values = {"next_at": next_at, "claim": "", "attempts": 0}
    connection = await session.connection()
    await connection.execute(
        update(WebhookLane).where(col(WebhookLane.subscription_id) == subscription_id).values(values)
    )


async def drop(session: AsyncSession, subscription_id: str) -> None:
    """Deletes the lanes of a removed subscription, so that nothing is sent. Messages are deleted when they are old."""
    connection = await session.connection()
    await connection.execute(delete(WebhookLane).where(col(WebhookLane.subscription_id) == subscription_id))
