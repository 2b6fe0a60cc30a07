"""Delivers webhooks: in the process that serves, or in one of its own (`privacy-manager deliver`), or in many at once.

Each message is a task: it has a lane, sends that lane's first message, and notes what came of it. At most so many run
at once; a part of them is kept for messages that were not tried before, so that receivers that are away, of which
there may be many, hold up nobody else.
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
from typing import Final

from sqlalchemy import Executable, delete, or_, tuple_
from sqlmodel import col, select

from api.notifications import delivery_queue
from api.notifications.delivery_queue import Room, Taken
from api.notifications.sender import Sender
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

log = logging.getLogger("privacy_manager.delivering")


@dataclass(frozen=True, slots=True)
class Pace:
    """How many messages are sent at once, and how many seconds there are between two looks for more."""

    at_once: int
    breath: float = 0.02


#: Of a process of its own.
AT_ONCE: Final = 32
#: Of a process that serves: its first duty are decisions, and each message costs it some milliseconds. It sends
#: eight a second at most, however many wait and however soon they fail.
BESIDE: Final = Pace(at_once=4, breath=0.5)
#: Between two looks whether anything is due.
INTERVAL_SECONDS: Final = 0.5
#: So many have a connection to the store at once, beside the one that looks what is due: no more than are kept open.
_STORING: Final = 4
#: Of the system, as in `api.history.retention_job`.
_RANDOM: Final = SystemRandom()
#: Between two looks for what is old, and how much of it goes at once.
TIDY_SECONDS: Final = 300.0
BATCH: Final = 2_000


class Delivery:
    """Takes lanes and sends their messages, at this pace, for as long as `run` does."""

    def __init__(self, store: Store, sender: Sender, pace: Pace, interval: float = INTERVAL_SECONDS) -> None:
        self._store = store
        self._sender = sender
        self._at_once = pace.at_once
        self._breath = pace.breath
        self._interval = interval
        self._storing = asyncio.Semaphore(_STORING)
        self._turns: dict[str, None] = {}
        self._under_way: dict[asyncio.Task[None], tuple[Taken, bool]] = {}

    async def run(self) -> None:
        """Delivers until it is cancelled. Then what was not sent is let go, for whoever comes next."""
        try:
            await repeat(self._take, self._wait, log, "no message could be taken", at_once=True)
        finally:
            await self._stop()

    async def _take(self) -> None:
        """Begins what is due, as far as there is room."""
        for again in (False, True):
            for each in await delivery_queue.take(self._store, self._room(again=again), again=again):
                task = asyncio.create_task(self._deliver(each))
                self._under_way[task] = each, again
                task.add_done_callback(self._under_way.__delitem__)

    def _room(self, *, again: bool) -> Room:
        """One connection has a quarter at most; what was tried before has half, and what was not the rest at least."""
        most = self._at_once - len(self._under_way)
        if again:
            tried = sum(1 for _, before in self._under_way.values() if before)
            most = min(most, max(1, self._at_once // 2) - tried)
        under_way = Counter(taken.client_id for taken, _ in self._under_way.values())
        return Room(most, max(1, self._at_once // 4), under_way, self._turns)

    async def _wait(self) -> None:
        """Until a message is dealt with, after which another one may be due, or until it is time to look again."""
        if not self._under_way:
            return await asyncio.sleep(self._interval)
        await asyncio.wait(list(self._under_way), timeout=self._interval, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(self._breath)

    async def _deliver(self, taken: Taken) -> None:
        """One message: what it is, sent, and noted."""
        try:
            async with self._storing:
                work = await delivery_queue.first(self._store, taken)
            if work is None:
                return
            result = await self._sender.send(work)
            async with self._storing:
                ends = await delivery_queue.note(self._store, work, result, _RANDOM.random())
                if ends is not None and await delivery_queue.disable(self._store, taken.subscription_id, ends):
                    log.warning("webhook subscription %s is disabled: %s", taken.subscription_id, ends)
        except StoreUnreachable as error:
            # The lane goes free by itself, and the message is sent again.
            log.warning("the store did not answer: %s", error)
        except Exception:
            log.exception("a message of webhook subscription %s failed", taken.subscription_id)

    async def _stop(self) -> None:
        left = [taken for taken, _ in self._under_way.values()]
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(StoreUnreachable):
            await delivery_queue.release(self._store, left)


async def tidy(store: Store) -> int:
    """Deletes what is older than `KEPT_FOR`, up to `BATCH` messages and as many attempts; returns how many.

    What still waits is kept, unless its subscription was removed. Raises `StoreUnreachable`.
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


async def keep_tidy(store: Store, interval: float = TIDY_SECONDS) -> None:
    """Does so about every `interval` seconds, for as long as the process runs."""
    # On SQLite decisions wait for the same lock.
    turn = partial(drain, partial(tidy, store), BATCH, 0.1)
    await repeat(turn, about_every(interval), log, "what was delivered could not be looked after")


@asynccontextmanager
async def delivering(
    settings: Settings,
    keys: EvidenceKeys,
    pace: Pace,
    clock: Clock | None = None,
    queue: WriteQueue | None = None,
) -> AsyncIterator[None]:
    """Delivers for as long as the block lasts, on connections of its own to the store, in the `queue` of who serves."""
    store = Store(settings.store_url, clock, queue)
    store.sealing = Sealing(keys)
    targets = Targets(loopback=settings.sends_to_loopback)
    # Which authorities are trusted is read from files.
    sender = await asyncio.to_thread(Sender, targets)
    delivery = Delivery(store, sender, pace)
    tasks = [asyncio.create_task(delivery.run()), asyncio.create_task(keep_tidy(store))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        targets.close()
        await store.aclose()
