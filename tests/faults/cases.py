"""What befalls a replica or its store, as blocks within which it lasts."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from tests.faults.replicas import Replica, Site, send_signal
from tests.faults.tcp_proxy import DECISIONS, LISTENING

Fault = Callable[[Site, Replica, random.Random], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Case:
    """A fault, for how many seconds it lasts at most once the asking began, and how often it comes among others."""

    name: str
    fault: Fault
    lasts: float = 0.0
    weight: float = 1.0
    #: Which replica it befalls; None for any.
    victim: int | None = None
    narrows: bool = False
    brings_new_data: bool = False


@asynccontextmanager
async def nothing(_site: Site, _victim: Replica, _chance: random.Random) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def paused(_site: Site, victim: Replica, _chance: random.Random) -> AsyncIterator[None]:
    """The process stands still, with the requests that come in its socket."""
    victim.pause()
    try:
        yield
    finally:
        victim.resume()


@asynccontextmanager
async def connection_cut(_site: Site, victim: Replica, chance: random.Random) -> AsyncIterator[None]:
    async def cutting() -> None:
        while True:
            victim.proxy.cut(DECISIONS if chance.random() < 0.5 else None)
            await asyncio.sleep(chance.uniform(0.0, 0.03))

    task = asyncio.create_task(cutting())
    try:
        yield
    finally:
        await _ended(task)


@asynccontextmanager
async def connection_stalled(_site: Site, victim: Replica, _chance: random.Random) -> AsyncIterator[None]:
    victim.proxy.stall()
    try:
        yield
    finally:
        victim.proxy.restore()


@asynccontextmanager
async def connection_swallowed(_site: Site, victim: Replica, _chance: random.Random) -> AsyncIterator[None]:
    victim.proxy.swallow()
    try:
        yield
    finally:
        victim.proxy.restore()


@asynccontextmanager
async def line_slow(_site: Site, victim: Replica, chance: random.Random) -> AsyncIterator[None]:
    victim.proxy.delay(chance.uniform(0.005, 0.15))
    try:
        yield
    finally:
        victim.proxy.restore()


@asynccontextmanager
async def reload_broken_off(_site: Site, victim: Replica, chance: random.Random) -> AsyncIterator[None]:
    """The rows that changed come half-way, and no further."""
    victim.proxy.cut_after(chance.randrange(100, 3000))
    try:
        yield
    finally:
        victim.proxy.restore()


@asynccontextmanager
async def long_reload_broken_off(_site: Site, victim: Replica, chance: random.Random) -> AsyncIterator[None]:
    """Its decisions cannot be read while much changes; then all of that comes at once, and breaks off, and again."""

    async def breaking() -> None:
        await asyncio.sleep(chance.uniform(0.1, 0.4))
        victim.proxy.restore()
        while True:
            victim.proxy.cut_after(chance.randrange(100, 12_000))
            await asyncio.sleep(chance.uniform(0.02, 0.1))

    victim.proxy.stall(DECISIONS)
    task = asyncio.create_task(breaking())
    try:
        yield
    finally:
        await _ended(task)
        victim.proxy.restore()


@asynccontextmanager
async def decisions_stalled(_site: Site, victim: Replica, _chance: random.Random) -> AsyncIterator[None]:
    """The replica can write, and cannot read what it decides by."""
    victim.proxy.stall(DECISIONS)
    try:
        yield
    finally:
        victim.proxy.restore()


@asynccontextmanager
async def not_listening(_site: Site, victim: Replica, _chance: random.Random) -> AsyncIterator[None]:
    """The connection that it would be told of changes on is stalled, where it has one."""
    victim.proxy.stall(LISTENING)
    try:
        yield
    finally:
        victim.proxy.restore()


@asynccontextmanager
async def backend_paused(_site: Site, victim: Replica, _chance: random.Random) -> AsyncIterator[None]:
    """The process of PostgreSQL that its decisions are read by stands still."""
    pids = victim.proxy.backends_of_decisions()
    send_signal(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        send_signal(pids, signal.SIGCONT)


@asynccontextmanager
async def postgresql_killed(site: Site, _victim: Replica, chance: random.Random) -> AsyncIterator[None]:
    async def killing() -> None:
        await asyncio.sleep(chance.uniform(0.0, 0.05))
        await asyncio.to_thread(site.postgresql.kill)
        await asyncio.to_thread(site.postgresql.start)

    task = asyncio.create_task(killing())
    try:
        yield
    finally:
        await task


@asynccontextmanager
async def notification_lost(site: Site, _victim: Replica, _chance: random.Random) -> AsyncIterator[None]:
    """Nobody who listens is told of the change."""
    await site.database.execute("ALTER TABLE consent_revision DISABLE TRIGGER USER")
    try:
        yield
    finally:
        await site.database.execute("ALTER TABLE consent_revision ENABLE TRIGGER USER")


@asynccontextmanager
async def a_worker_hangs(_site: Site, victim: Replica, _chance: random.Random) -> AsyncIterator[None]:
    victim.pause(workers=1)
    try:
        yield
    finally:
        victim.resume()


@asynccontextmanager
async def the_last_worker_hangs_too(_site: Site, victim: Replica, chance: random.Random) -> AsyncIterator[None]:
    victim.pause(workers=1)
    await asyncio.sleep(chance.uniform(0.0, 0.05))
    victim.pause()
    try:
        yield
    finally:
        victim.resume()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


#: The replica with more workers than one.
POOL: Final = 2

CASES: Final = (
    Case("no fault", nothing, weight=30),
    Case("a replica paused", paused, lasts=0.5, weight=6),
    Case("its connections cut", connection_cut, lasts=0.3, weight=6),
    Case("its connections stalled", connection_stalled, lasts=0.5, weight=6),
    Case("only its decisions stalled", decisions_stalled, lasts=0.4, weight=4),
    Case("its connections swallowed", connection_swallowed, lasts=0.3, weight=4),
    Case("its line slow", line_slow, lasts=0.3, weight=4),
    Case("its backend paused", backend_paused, lasts=0.4, weight=4),
    Case("PostgreSQL killed and restarted", postgresql_killed, lasts=0.3, weight=1),
    Case("a notification lost", notification_lost, weight=6),
    Case("it hears no notifications", not_listening, lasts=0.2, weight=2),
    Case("a reload broken off", reload_broken_off, lasts=0.3, weight=4),
    Case("a long reload broken off", long_reload_broken_off, lasts=0.6, weight=4),
    Case("a worker hangs", a_worker_hangs, lasts=0.5, weight=4, victim=POOL),
    Case("the last worker hangs too", the_last_worker_hangs_too, lasts=0.5, weight=4, victim=POOL),
    Case("a narrower grant", nothing, weight=4, narrows=True),
    Case("a narrower grant, its line cut", connection_cut, lasts=0.2, weight=2, narrows=True),
    Case("new data after it", connection_stalled, lasts=0.4, weight=4, brings_new_data=True),
)

#: Those that a cache which only listens is shown to leak in.
UNPROTECTED: Final = (
    Case("no fault", nothing, weight=4),
    Case("a notification lost", notification_lost),
    Case("it hears no notifications", not_listening, lasts=0.2),
)
