"""Who delivers what: a lane is taken for a while, its first message is delivered, and what came of it is noted.

    take() -> Taken -> first() -> Work -> (it is sent) -> note() or, where the subscription ends by it, disable()

A process that dies in between lets the lane go by itself, once the time for which it was taken is over: its message is
then sent again, under the same id. Nothing here holds a transaction while anything is sent, or the revision's lock.
"""

import secrets
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, insert, literal_column, tuple_, update
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.security.sealing import webhook_secret
from api.store import outbox
from api.store.events import SYSTEM, record
from api.store.store import Store
from models.consents.webhooks import (
    FAILING_FOR,
    TAKEN_FOR,
    MessageState,
    Outcome,
    SubscriptionState,
    WebhookAttempt,
    WebhookLane,
    WebhookMessage,
    WebhookSubscription,
    WhyDisabled,
    wait_after,
)
from models.log.events import Event
from models.vocabulary.event_kinds import EventKind


@dataclass(frozen=True, slots=True)
class Taken:
    """A lane that this process has, for a while."""

    client_id: str
    subscription_id: str
    lane: str
    claim: str
    #: How often its first message was tried before.
    attempts: int


@dataclass(frozen=True, slots=True)
class Work:
    """A message that is to be sent now, and all that is needed for it."""

    taken: Taken
    event: Event
    url: str
    #: Those that sign, the newest first.
    secrets: tuple[str, ...] = field(repr=False)
    now: datetime


@dataclass(frozen=True, slots=True)
class Result:
    """What came of sending it."""

    outcome: Outcome
    milliseconds: int
    status_code: int | None = None
    #: For how long the receiver asked to be left alone.
    retry_after: timedelta | None = None


@dataclass(slots=True)
class Room:
    """How many lanes a process may take: `most` in all, and `of_one` of one connection.

    So a slow receiver waits for itself, with however many subscriptions.
    """

    most: int
    of_one: int
    #: How many lanes of each connection are under way.
    under_way: Counter[str]
    #: The connections in the order in which they had their last turn.
    turns: dict[str, None]

    def shared(self, due: Sequence[tuple[str, str]]) -> Counter[tuple[str, str]]:
        """How many lanes each of these may have, which are connections and their subscriptions, those that have waited
        longest first. Who has not had a turn for longest comes first, and each has one before any has two."""
        lists: dict[str, list[tuple[str, str]]] = {}
        for client_id, subscription_id in due:
            lists.setdefault(client_id, []).append((client_id, subscription_id))
        order = {client_id: number for number, client_id in enumerate(self.turns, start=1)}
        waiting = sorted(lists, key=lambda client_id: order.get(client_id, 0))
        shared: Counter[tuple[str, str]] = Counter()
        for turn in range(self.of_one):
            for client_id in waiting:
                if shared.total() < self.most and turn + self.under_way[client_id] < self.of_one:
                    shared[lists[client_id][turn % len(lists[client_id])]] += 1
                    self.turns.pop(client_id, None)
                    self.turns[client_id] = None
        return shared


async def take(store: Store, room: Room, *, again: bool) -> list[Taken]:
    """Takes lanes whose time has come: with `again`, of those whose message was tried before, else of the others.

    Raises `StoreUnreachable`.
    """
    if room.most <= 0:
        return []
    async with store.reading() as session:
        chosen = await _chosen(session, room, await store.now(session), again=again)
    if not chosen:
        return []
    names = col(WebhookLane.subscription_id), col(WebhookLane.lane)
    lane, claim = tuple_(*names), secrets.token_hex(16)
    async with store.marking() as session:
        now = await store.now(session)
        # Who else takes some of them at this moment has them, and nobody waits for anybody.
        free = select(*names).where(lane.in_(chosen), _due(now, again=again)).with_for_update(skip_locked=True)
        taken = update(WebhookLane).where(lane.in_(free)).values(claim=claim, next_at=now + TAKEN_FOR)
        connection = await session.connection()
        got = await connection.execute(taken.returning(*names, col(WebhookLane.attempts)))
        return [Taken(chosen[row[0], row[1]], row[0], row[1], claim, row[2]) for row in got]


async def _chosen(session: AsyncSession, room: Room, now: datetime, *, again: bool) -> dict[tuple[str, str], str]:
    """Lanes to take, each with its connection: of each subscription one look in an index, however much waits for it."""
    known = WebhookSubscription
    own = WebhookLane.subscription_id == col(known.subscription_id)
    first_due = select(func.min(WebhookLane.next_at)).where(own, _tried(again=again)).scalar_subquery()
    query = select(known.client_id, known.subscription_id).where(known.state == SubscriptionState.ACTIVE)
    due = (await session.exec(query.where(first_due <= now).order_by(first_due))).all()
    chosen: dict[tuple[str, str], str] = {}
    for (client_id, subscription_id), many in room.shared(due).items():
        lanes = select(WebhookLane.lane).where(WebhookLane.subscription_id == subscription_id, _due(now, again=again))
        for lane in await session.exec(lanes.order_by(col(WebhookLane.next_at)).limit(many)):
            chosen[subscription_id, lane] = client_id
    return chosen


def _due(now: datetime, *, again: bool) -> ColumnElement[bool]:
    return (col(WebhookLane.next_at) <= now) & _tried(again=again)


def _tried(*, again: bool) -> ColumnElement[bool]:
    # With the number as it is: the index of each is known by it.
    return literal_column("webhook_lanes.attempts > 0" if again else "webhook_lanes.attempts = 0")


async def first(store: Store, taken: Taken) -> Work | None:
    """What is to be sent of a lane; None where that was ended meanwhile. Raises `StoreUnreachable`."""
    async with store.reading() as session:
        now = await store.now(session)
        subscription = await session.get(WebhookSubscription, taken.subscription_id)
        if subscription is None or not subscription.active:
            return None
        waiting = select(Event).join(WebhookMessage, col(WebhookMessage.number) == Event.number)
        waiting = waiting.where(
            WebhookMessage.subscription_id == taken.subscription_id,
            WebhookMessage.lane == taken.lane,
            WebhookMessage.state == MessageState.WAITING,
        )
        event = (await session.exec(waiting.order_by(col(WebhookMessage.number)).limit(1))).first()
        if event is None:
            return None
        named = subscription.subscription_id
        made = tuple(webhook_secret(session, named, each) for each in subscription.seeds(now))
        return Work(taken, event, subscription.url, made, now)


async def note(store: Store, work: Work, result: Result, chance: float) -> WhyDisabled | None:
    """Notes what came of it, unless the lane was let go meanwhile; why its subscription is to be disabled, if it is.

    Raises `StoreUnreachable`, after which the message is sent again.
    """
    taken, delivered = work.taken, result.outcome is Outcome.DELIVERED
    attempts = taken.attempts + 1
    wait = None if delivered else wait_after(attempts, chance, result.retry_after)
    ended = delivered or wait is None
    async with store.marking() as session:
        connection = await session.connection()
        # Told first on PostgreSQL, where it costs no lock; SQLite is not asked.
        now = await store.now(session)
        waiting = col(WebhookLane.waiting)
        values: dict[str, Any] = {"claim": "", "attempts": attempts, "next_at": now + (wait or timedelta())}
        if ended:
            values |= {"attempts": 0, "waiting": waiting - 1}
        if (await connection.execute(update(WebhookLane).where(*_held(taken)).values(values))).rowcount == 0:
            return None
        if ended:
            await connection.execute(delete(WebhookLane).where(*_lane(taken), waiting <= 0))
            state = MessageState.DELIVERED if delivered else MessageState.DEAD
            message = (
                col(WebhookMessage.subscription_id) == taken.subscription_id,
                col(WebhookMessage.number) == work.event.number,
            )
            await connection.execute(update(WebhookMessage).where(*message).values(state=state))
        attempt = {
            "subscription_id": taken.subscription_id,
            "number": work.event.number,
            "attempt": attempts,
            "at": work.now,
            "outcome": result.outcome,
            "status_code": result.status_code,
            "milliseconds": result.milliseconds,
        }
        await connection.execute(insert(WebhookAttempt).values(attempt))
        failing_since = await _failing_since(session, taken.subscription_id, now, fails=not delivered)
    if result.outcome is Outcome.GONE:
        return WhyDisabled.GONE
    return WhyDisabled.FAILING if failing_since is not None and now - failing_since >= FAILING_FOR else None


async def _failing_since(session: AsyncSession, subscription_id: str, now: datetime, *, fails: bool) -> datetime | None:
    """Since when nothing came through. Written only when that begins or ends."""
    since = col(WebhookSubscription.failing_since)
    own = col(WebhookSubscription.subscription_id) == subscription_id
    known = (await session.exec(select(since).where(own))).first()
    if (known is not None) is not fails:
        known = now if fails else None
        await (await session.connection()).execute(update(WebhookSubscription).where(own).values(failing_since=known))
    return known


async def release(store: Store, taken: Collection[Taken]) -> None:
    """Lets lanes go whose messages were not sent: whoever comes next takes them at once."""
    for each in taken:
        # One at a time: who holds several rows may wait for who waits for them.
        async with store.marking() as session:
            now = await store.now(session)
            connection = await session.connection()
            await connection.execute(update(WebhookLane).where(*_held(each)).values(claim="", next_at=now))


def _lane(taken: Taken) -> tuple[ColumnElement[bool], ...]:
    return (
        col(WebhookLane.subscription_id) == taken.subscription_id,
        col(WebhookLane.lane) == taken.lane,
    )


def _held(taken: Taken) -> tuple[ColumnElement[bool], ...]:
    """The lane, if it is still this one's."""
    return (*_lane(taken), col(WebhookLane.claim) == taken.claim)


async def disable(store: Store, subscription_id: str, why: WhyDisabled) -> bool:
    """Ends deliveries to a subscription, as a change that its partner and the operators see; False where that was done.

    Raises `StoreUnreachable`.
    """
    async with store.writing() as write:
        found = await write.session.get(WebhookSubscription, subscription_id)
        if found is None or not found.active:
            return False
        await outbox.pause(write.session, subscription_id)
        found.state, found.disabled_reason, found.disabled_at = SubscriptionState.DISABLED, why, write.now
        found.version += 1
        found.revision, found.changed_at = write.revision, write.now
        write.session.add(found)
        record(write, EventKind.WEBHOOK_DISABLED, SYSTEM, logged(found), client_id=found.client_id)
        return True


def logged(subscription: WebhookSubscription) -> dict[str, Any]:
    """A subscription as the log holds it: its URL is not in it, since that may itself be a secret."""
    shown: dict[str, Any] = {
        "subscriptionId": subscription.subscription_id,
        "clientId": subscription.client_id,
        "urlVersion": subscription.url_version,
        "types": subscription.types,
        "state": subscription.state,
        "disabledReason": subscription.disabled_reason,
        "seed": subscription.seed,
        "formerSeed": subscription.former_seed,
        "version": subscription.version,
    }
    for name, moment in (("disabledAt", subscription.disabled_at), ("formerUntil", subscription.former_until)):
        shown[name] = moment.isoformat() if moment is not None else None
    return shown
