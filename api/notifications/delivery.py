"""Delivers webhooks, in the process that serves or in processes of their own (`privacy-manager deliver`).

Each delivery is a task with a leased lane, which sends the lane's first message and records the result. The number of
tasks is limited; at least half of them are for first attempts, so that the retries of receivers that are away, of which
there may be many, delay no other message.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from random import SystemRandom
from typing import TYPE_CHECKING, Final

from sqlalchemy import Executable, delete, or_, tuple_
from sqlmodel import col, select

from api.notifications import delivery_queue
from api.notifications.delivery_queue import Capacity, LeasedLane
from api.notifications.targets import Targets
from api.security.evidence_keys import EvidenceKeys
from api.security.sealing import Sealing
from api.settings import Settings
from api.store.jobs import about_every, drain, repeat
from api.store.outage import StoreUnreachable
from api.store.store import Store
from api.store.timing import Clock
from api.store.write_queue import WriteQueue
from models.consents.webhooks import KEPT_FOR, MessageState, WebhookAttempt, WebhookMessage, WebhookSubscription

if TYPE_CHECKING:
    from api.notifications.sender import Sender

log = logging.getLogger("privacy_manager.delivering")


@dataclass(frozen=True, slots=True)
class Pace:
    """The number of messages in flight, and the seconds of pause before the queue is polled for more."""

    at_once: int
    pause: float = 0.02


#: The pace of a process that serves: decisions come first, and each message costs it some milliseconds. It sends
#: eight messages a second at most, however many wait and however soon they fail.
BESIDE: Final = Pace(at_once=4, pause=0.5)
#: Seconds between two polls of the queue.
INTERVAL_SECONDS: Final = 0.5
#: Deliveries that use a connection to the store at once, beside the poll's: no more than the pool keeps open.
_STORE_CONNECTIONS: Final = 4
#: The system's random numbers: this job does not disturb seeded ones of a test in the same process.
_RANDOM: Final = SystemRandom()
#: Seconds between two clean-ups, and rows that one statement of them deletes.
CLEANUP_SECONDS: Final = 300.0
BATCH: Final = 2_000


class Delivery:
    """Leases lanes and delivers their messages, at its pace, while `run` runs."""

    def __init__(self, store: Store, sender: "Sender", pace: Pace, interval: float = INTERVAL_SECONDS) -> None:
        self._store = store
        self._sender = sender
        self._at_once = pace.at_once
        self._pause = pace.pause
        self._interval = interval
        self._storing = asyncio.Semaphore(_STORE_CONNECTIONS)
        self._recently_served: dict[str, None] = {}
        self._under_way: dict[asyncio.Task[None], tuple[LeasedLane, bool]] = {}

    async def run(self) -> None:
        """Delivers until it is cancelled; then it releases its lanes, so that another process delivers them at once."""
        try:
            await repeat(self._start_due, self._wait, log, "no message could be taken", at_once=True)
        finally:
            await self._stop()

    async def _start_due(self) -> None:
        """Starts a task for each due lane, first attempts before retries, within the capacity."""
        for retries in (False, True):
            for each in await delivery_queue.lease_lanes(self._store, self._capacity(retries=retries), retries=retries):
                task = asyncio.create_task(self._deliver(each))
                self._under_way[task] = each, retries
                task.add_done_callback(self._under_way.__delitem__)

    def _capacity(self, *, retries: bool) -> Capacity:
        """The free capacity: one connection has at most a quarter of all tasks, and retries at most a half."""
        most = self._at_once - len(self._under_way)
        if retries:
            tried = sum(1 for _, before in self._under_way.values() if before)
            most = min(most, max(1, self._at_once // 2) - tried)
        under_way = Counter(leased.client_id for leased, _ in self._under_way.values())
        return Capacity(most, max(1, self._at_once // 4), under_way, self._recently_served)

    async def _wait(self) -> None:
        """Waits until a task has ended, after which its lane may be due again, or until the next poll."""
        if not self._under_way:
            return await asyncio.sleep(self._interval)
        await asyncio.wait(list(self._under_way), timeout=self._interval, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(self._pause)

    async def _deliver(self, leased: LeasedLane) -> None:
        """Reads, sends and records one message; disables its subscription where the result calls for that."""
        try:
            async with self._storing:
                outgoing = await delivery_queue.first_message(self._store, leased)
            if outgoing is None:
                return
            result = await self._sender.send(outgoing)
            async with self._storing:
                disable_reason = await delivery_queue.record_result(self._store, outgoing, result, _RANDOM.random())
                if disable_reason is not None and await delivery_queue.disable(
                    self._store, leased.subscription_id, disable_reason
                ):
                    log.warning("webhook subscription %s is disabled: %s", leased.subscription_id, disable_reason)
        except StoreUnreachable as error:
            # The lane's lease runs out, and the message is sent again.
            log.warning("the store did not answer: %s", error)
        except Exception:
            log.exception("a message of webhook subscription %s failed", leased.subscription_id)

    async def _stop(self) -> None:
        left = [leased for leased, _ in self._under_way.values()]
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(StoreUnreachable):
            await delivery_queue.release(self._store, left)


async def delete_old(store: Store) -> int:
    """Deletes messages and attempts older than `KEPT_FOR`, up to `BATCH` of each; returns how many.

    Waiting messages are kept, unless their subscription was removed. Raises `StoreUnreachable`.
    """
    return await store.deleting(_old_attempts) + await store.deleting(_old_messages)


def _old_attempts(now: datetime) -> Executable:
    number, at = col(WebhookAttempt.id), col(WebhookAttempt.at)
    old = select(number).where(at < now - KEPT_FOR).order_by(at).limit(BATCH)
    return delete(WebhookAttempt).where(number.in_(old))


def _old_messages(now: datetime) -> Executable:
    name = tuple_(col(WebhookMessage.subscription_id), col(WebhookMessage.number))
    at, state = col(WebhookMessage.at), col(WebhookMessage.state)
    known = select(WebhookSubscription.subscription_id)
    over = or_(state != MessageState.WAITING, col(WebhookMessage.subscription_id).not_in(known))
    old = select(*name).where(at < now - KEPT_FOR, over).order_by(at).limit(BATCH)
    return delete(WebhookMessage).where(name.in_(old))


async def run_cleanup_job(store: Store, interval: float = CLEANUP_SECONDS) -> None:
    """Deletes all old messages and attempts about every `interval` seconds, for as long as the process runs."""
    # The pause of 0.1 s between two batches is for SQLite, where decisions wait for the same lock.
    turn = partial(drain, partial(delete_old, store), BATCH, 0.1)
    await repeat(turn, about_every(interval), log, "what was delivered could not be looked after")


@asynccontextmanager
async def delivering(
    settings: Settings,
    keys: EvidenceKeys,
    pace: Pace,
    clock: Clock | None = None,
    queue: WriteQueue | None = None,
) -> AsyncIterator[None]:
    """Delivers while the block runs, on store connections of its own; `queue` is the serving process's write queue."""
    from api.notifications.sender import Sender

    store = Store(settings.store_url, clock, queue)
    store.sealing = Sealing(keys)
    targets = Targets(loopback=settings.sends_to_loopback)
    # In a thread, since `Sender` reads the trusted certificate authorities from files.
    sender = await asyncio.to_thread(Sender, targets)
    delivery = Delivery(store, sender, pace)
    tasks = [asyncio.create_task(delivery.run()), asyncio.create_task(run_cleanup_job(store))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        targets.close()
        await store.aclose()
