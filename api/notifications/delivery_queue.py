"""The delivery queue: a process leases a lane, delivers the lane's first message, and records the result.

    lease_lanes() -> LeasedLane -> first_message() -> OutgoingMessage -> (sent) -> record_result() -> maybe disable()

The lease of a process that dies runs out after `TAKEN_FOR`; another one then sends the message again, by the same id.
No transaction is open while a message is sent. But for `disable`, nothing here takes the revision's lock.
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
class LeasedLane:
    """A lane of one subscription that this process has leased; `claim` is the random token of the lease."""

    client_id: str
    subscription_id: str
    lane: str
    claim: str
    #: The number of earlier attempts of the lane's first message.
    attempts: int


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message to send now: its event, the target's URL and the signing secrets."""

    leased: LeasedLane
    event: Event
    url: str
    #: The secrets that sign, the newest first.
    secrets: tuple[str, ...] = field(repr=False)
    now: datetime


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one attempt."""

    outcome: Outcome
    milliseconds: int
    status_code: int | None = None
    #: The receiver's `Retry-After`, if it sent one.
    retry_after: timedelta | None = None


@dataclass(slots=True)
class Capacity:
    """The number of lanes that a process may lease: `most` in all, and `of_one` of one connection.

    By the limit of one connection a slow receiver, with however many subscriptions, delays no other one.
    """

    most: int
    of_one: int
    #: The number of lanes of each connection that are being delivered.
    under_way: Counter[str]
    #: The connections in the order in which they were last served.
    recently_served: dict[str, None]

    def allocate(self, due: Sequence[tuple[str, str]]) -> Counter[tuple[str, str]]:
        """The number of lanes for each (connection, subscription) of `due`, which is sorted by waiting time.

        Round-robin: one lane per connection before any gets two; the least recently served connection first.
        """
        lists: dict[str, list[tuple[str, str]]] = {}
        for client_id, subscription_id in due:
            lists.setdefault(client_id, []).append((client_id, subscription_id))
        order = {client_id: number for number, client_id in enumerate(self.recently_served, start=1)}
        waiting = sorted(lists, key=lambda client_id: order.get(client_id, 0))
        allocated: Counter[tuple[str, str]] = Counter()
        for turn in range(self.of_one):
            for client_id in waiting:
                if allocated.total() < self.most and turn + self.under_way[client_id] < self.of_one:
                    allocated[lists[client_id][turn % len(lists[client_id])]] += 1
                    self.recently_served.pop(client_id, None)
                    self.recently_served[client_id] = None
        return allocated


async def lease_lanes(store: Store, capacity: Capacity, *, retries: bool) -> list[LeasedLane]:
    """Leases due lanes: with `retries` those whose first message was tried before, else the others.

    Raises `StoreUnreachable`.
    """
    if capacity.most <= 0:
        return []
    async with store.reading() as session:
        chosen = await _lanes_to_lease(session, capacity, await store.now(session), retries=retries)
    if not chosen:
        return []
    names = col(WebhookLane.subscription_id), col(WebhookLane.lane)
    lane, claim = tuple_(*names), secrets.token_hex(16)
    async with store.marking() as session:
        now = await store.now(session)
        # `SKIP LOCKED`: lanes that another process leases at this moment are its own, and neither waits.
        free = select(*names).where(lane.in_(chosen), _due(now, retries=retries)).with_for_update(skip_locked=True)
        leased = update(WebhookLane).where(lane.in_(free)).values(claim=claim, next_at=now + TAKEN_FOR)
        connection = await session.connection()
        rows = await connection.execute(leased.returning(*names, col(WebhookLane.attempts)))
        return [LeasedLane(chosen[row[0], row[1]], row[0], row[1], claim, row[2]) for row in rows]


async def _lanes_to_lease(
    session: AsyncSession, capacity: Capacity, now: datetime, *, retries: bool
) -> dict[tuple[str, str], str]:
    """The lanes to lease, each with its client id. Costs one index lookup a subscription, however much waits for it."""
    known = WebhookSubscription
    own = WebhookLane.subscription_id == col(known.subscription_id)
    first_due = select(func.min(WebhookLane.next_at)).where(own, _tried(retries=retries)).scalar_subquery()
    query = select(known.client_id, known.subscription_id).where(known.state == SubscriptionState.ACTIVE)
    due = (await session.exec(query.where(first_due <= now).order_by(first_due))).all()
    chosen: dict[tuple[str, str], str] = {}
    for (client_id, subscription_id), count in capacity.allocate(due).items():
        lanes = select(WebhookLane.lane).where(
            WebhookLane.subscription_id == subscription_id, _due(now, retries=retries)
        )
        for lane in await session.exec(lanes.order_by(col(WebhookLane.next_at)).limit(count)):
            chosen[subscription_id, lane] = client_id
    return chosen


def _due(now: datetime, *, retries: bool) -> ColumnElement[bool]:
    return (col(WebhookLane.next_at) <= now) & _tried(retries=retries)


def _tried(*, retries: bool) -> ColumnElement[bool]:
    # A literal and not a bound parameter: only by it the planner finds the partial index.
    return literal_column("webhook_lanes.attempts > 0" if retries else "webhook_lanes.attempts = 0")


async def first_message(store: Store, leased: LeasedLane) -> OutgoingMessage | None:
    """The first waiting message of a lane; None where its subscription or the messages ended meanwhile.

    Raises `StoreUnreachable`.
    """
    async with store.reading() as session:
        now = await store.now(session)
        subscription = await session.get(WebhookSubscription, leased.subscription_id)
        if subscription is None or not subscription.active:
            return None
        waiting = select(Event).join(WebhookMessage, col(WebhookMessage.number) == Event.number)
        waiting = waiting.where(
            WebhookMessage.subscription_id == leased.subscription_id,
            WebhookMessage.lane == leased.lane,
            WebhookMessage.state == MessageState.WAITING,
        )
        event = (await session.exec(waiting.order_by(col(WebhookMessage.number)).limit(1))).first()
        if event is None:
            return None
        named = subscription.subscription_id
        signing_secrets = tuple(webhook_secret(session, named, each) for each in subscription.seeds(now))
        return OutgoingMessage(leased, event, subscription.url, signing_secrets, now)


async def record_result(store: Store, outgoing: OutgoingMessage, result: Result, chance: float) -> WhyDisabled | None:
    """Records the result of an attempt, unless the lease was lost; returns why to disable the subscription, if so.

    `chance`, between 0 and 1, spreads the delay of the next attempt. Raises `StoreUnreachable`, after which the message
    is sent again.
    """
    leased, delivered = outgoing.leased, result.outcome is Outcome.DELIVERED
    attempts = leased.attempts + 1
    wait = None if delivered else wait_after(attempts, chance, result.retry_after)
    ended = delivered or wait is None
    async with store.marking() as session:
        connection = await session.connection()
        # Read before the update: on PostgreSQL it takes no lock, and SQLite is not asked for the time.
        now = await store.now(session)
        waiting = col(WebhookLane.waiting)
        values: dict[str, Any] = {"claim": "", "attempts": attempts, "next_at": now + (wait or timedelta())}
        if ended:
            values |= {"attempts": 0, "waiting": waiting - 1}
        if (await connection.execute(update(WebhookLane).where(*_own_lane(leased)).values(values))).rowcount == 0:
            return None
        if ended:
            await connection.execute(delete(WebhookLane).where(*_lane(leased), waiting <= 0))
            state = MessageState.DELIVERED if delivered else MessageState.DEAD
            message = (
                col(WebhookMessage.subscription_id) == leased.subscription_id,
                col(WebhookMessage.number) == outgoing.event.number,
            )
            await connection.execute(update(WebhookMessage).where(*message).values(state=state))
        attempt = {
            "subscription_id": leased.subscription_id,
            "number": outgoing.event.number,
            "attempt": attempts,
            "at": outgoing.now,
            "outcome": result.outcome,
            "status_code": result.status_code,
            "milliseconds": result.milliseconds,
        }
        await connection.execute(insert(WebhookAttempt).values(attempt))
        failing_since = await _failing_since(session, leased.subscription_id, now, fails=not delivered)
    if result.outcome is Outcome.GONE:
        return WhyDisabled.GONE
    return WhyDisabled.FAILING if failing_since is not None and now - failing_since >= FAILING_FOR else None


async def _failing_since(session: AsyncSession, subscription_id: str, now: datetime, *, fails: bool) -> datetime | None:
    """The instant since which every attempt failed, None while they succeed; written only when it begins or ends."""
    since = col(WebhookSubscription.failing_since)
    own = col(WebhookSubscription.subscription_id) == subscription_id
    known = (await session.exec(select(since).where(own))).first()
    if (known is not None) is not fails:
        known = now if fails else None
        await (await session.connection()).execute(update(WebhookSubscription).where(own).values(failing_since=known))
    return known


async def release(store: Store, leased: Collection[LeasedLane]) -> None:
    """Ends the leases of lanes whose messages were not sent: any process may lease them at once."""
    for each in leased:
        # One lane a transaction: two processes that hold several rows' locks could deadlock.
        async with store.marking() as session:
            now = await store.now(session)
            connection = await session.connection()
            await connection.execute(update(WebhookLane).where(*_own_lane(each)).values(claim="", next_at=now))


def _lane(leased: LeasedLane) -> tuple[ColumnElement[bool], ...]:
    return (
        col(WebhookLane.subscription_id) == leased.subscription_id,
        col(WebhookLane.lane) == leased.lane,
    )


def _own_lane(leased: LeasedLane) -> tuple[ColumnElement[bool], ...]:
    """The conditions by which the lane's row is updated only while the lease is still this process's."""
    return (*_lane(leased), col(WebhookLane.claim) == leased.claim)


async def disable(store: Store, subscription_id: str, reason: WhyDisabled) -> bool:
    """Disables a subscription, with an event that its partner and the operators see; False where it was not active.

    Raises `StoreUnreachable`.
    """
    async with store.writing() as write:
        subscription = await write.session.get(WebhookSubscription, subscription_id)
        if subscription is None or not subscription.active:
            return False
        await outbox.pause(write.session, subscription_id)
        subscription.state, subscription.disabled_reason, subscription.disabled_at = (
            SubscriptionState.DISABLED,
            reason,
            write.now,
        )
        subscription.version += 1
        subscription.revision, subscription.changed_at = write.revision, write.now
        write.session.add(subscription)
        record(write, EventKind.WEBHOOK_DISABLED, SYSTEM, log_state(subscription), client_id=subscription.client_id)
        return True


def log_state(subscription: WebhookSubscription) -> dict[str, Any]:
    """A subscription's state for the log, without its URL, which may itself be a secret."""
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
