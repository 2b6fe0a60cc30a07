"""The snapshot as of this request: many requests share one read of the revision, and none is answered by an older one.

A request that arrives while a read is under way waits for the next one, because that read may have begun before a
revocation that the request must already see. Requests that wait at the same moment share the next read.
"""

import asyncio
import contextlib
import logging
from datetime import datetime
from typing import NamedTuple

from api.facts import EVERYTHING, FactSource
from api.store import STATEMENT_SECONDS, StoreBehind, StoreUnreachable
from models.snapshot import Snapshot

log = logging.getLogger("privacy_manager.current")


class Current(NamedTuple):
    """The facts, and the store's time at which they were seen to be current."""

    snapshot: Snapshot
    now: datetime


class CurrentSnapshot:
    """Hands out the snapshot as of now; `deadline` is in seconds from a request's arrival."""

    def __init__(self, source: FactSource, deadline: float) -> None:
        self._source = source
        self._deadline = deadline
        self._snapshot: Snapshot | None = None
        self._waiting: list[asyncio.Future[Current]] = []
        self._reader: asyncio.Task[None] | None = None

    @property
    def revision(self) -> int:
        """The last revision seen; 0 before the first."""
        return self._snapshot.revision if self._snapshot is not None else 0

    async def get(self) -> Current:
        """The facts by a read that starts after this call.

        Raises `StoreUnreachable` when there is no answer within the deadline, and `StoreBehind` when the store's
        revision is behind what this process has seen.
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Current] = loop.create_future()
        if not self._waiting:
            loop.call_later(self._deadline, _give_up, self._waiting)
        self._waiting.append(waiter)
        if self._reader is None:
            self._reader = loop.create_task(self._serve())
        return await waiter

    async def load(self) -> None:
        """Loads everything before the first request. Raises what the store raises."""
        self._snapshot = Snapshot().after(await self._source.changes(EVERYTHING))

    async def aclose(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        await self._source.drop()

    async def _serve(self) -> None:
        """Reads for whoever waits, until nobody does."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._answer(batch)
        finally:
            self._reader = None

    async def _answer(self, batch: list[asyncio.Future[Current]]) -> None:
        try:
            current = await self._read()
        except StoreBehind as behind:
            _fail(batch, behind)
        except Exception as error:
            log.warning("the store did not answer: %r", error)
            await self._source.drop()
            _fail(batch, StoreUnreachable(repr(error)))
        else:
            for waiter in batch:
                if not waiter.done():
                    waiter.set_result(current)

    async def _read(self) -> Current:
        async with asyncio.timeout(self._deadline):
            reading = await self._source.read()
        snapshot = self._snapshot
        if snapshot is None or reading.revision != snapshot.revision:
            snapshot = await self._caught_up(snapshot, reading.revision)
        return Current(snapshot, reading.now)

    async def _caught_up(self, snapshot: Snapshot | None, revision: int) -> Snapshot:
        if snapshot is None:
            snapshot, since = Snapshot(), EVERYTHING
        else:
            since = snapshot.revision
        if revision < since:
            raise StoreBehind(f"the store is at revision {revision}, this process has seen {since}")
        # Not cut short by the deadline: those who wait are denied in time, and the next find it done.
        async with asyncio.timeout(STATEMENT_SECONDS):
            self._snapshot = snapshot.after(await self._source.changes(since))
        return self._snapshot


def _give_up(batch: list[asyncio.Future[Current]]) -> None:
    _fail(batch, StoreUnreachable("no answer within the deadline"))


def _fail(batch: list[asyncio.Future[Current]], error: Exception) -> None:
    for waiter in batch:
        if not waiter.done():
            waiter.set_exception(error)
