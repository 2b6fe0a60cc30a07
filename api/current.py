"""The snapshot as of this request: many requests share one read of the revision, and none is answered by an older one.

A request that arrives while a read is under way waits for the next one, because that read may have begun before a
revocation that the request must already see. Requests that wait at the same moment share the next read.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple

from api.facts import EVERYTHING, FactSource, Reading
from api.store import STATEMENT_SECONDS, StoreBehind, StoreUnreachable
from models.snapshot import Snapshot

log = logging.getLogger("privacy_manager.current")

#: Turns of the loop that a read waits at most, so that no stream of arrivals holds it up.
MOST_TURNS: Final = 8


class Current(NamedTuple):
    """The facts, and the store's time at which they were seen to be current."""

    snapshot: Snapshot
    now: datetime


class CurrentSnapshot:
    """Hands out the snapshot as of now; `deadline` is in seconds from a request's arrival.

    `on_lost` is called each time that the store did not answer.
    """

    def __init__(self, source: FactSource, deadline: float, on_lost: Callable[[], None] = lambda: None) -> None:
        self._source = source
        self._deadline = deadline
        self._on_lost = on_lost
        self._snapshot: Snapshot | None = None
        #: Why, set for good once the store's history is not the one that the snapshot was made of.
        self._behind: str | None = None
        self._waiting: list[asyncio.Future[Current]] = []
        self._reader: asyncio.Task[None] | None = None

    @property
    def revision(self) -> int:
        """The last revision seen; 0 before the first."""
        return self._snapshot.revision if self._snapshot is not None else 0

    async def get(self) -> Current:
        """The facts by a read that starts after this call.

        Raises `StoreUnreachable` when there is no answer within the deadline, and `StoreBehind` when the store's
        history is not the one that this process has seen.
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Current] = loop.create_future()
        if not self._waiting:
            loop.call_later(self._deadline, _give_up, self._waiting)
        self._waiting.append(waiter)
        if self._reader is None:
            self._reader = loop.create_task(self._serve())
        return await waiter

    def require_follows(self, revision: int) -> None:
        """Raises `StoreBehind` unless a write that takes `revision` comes after everything that was seen here."""
        self._require_same_history(revision > self.revision, revision - 1)

    async def load(self) -> None:
        """Loads everything before the first request. Raises what the store raises."""
        try:
            self._snapshot = Snapshot().after(await self._source.changes(EVERYTHING))
        except BaseException:
            await self._drop()
            raise

    async def aclose(self) -> None:
        """Stops reading; whoever still waits gets `StoreUnreachable`."""
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        waiting, self._waiting = self._waiting, []
        _fail(waiting, StoreUnreachable("this process stops"))
        await self._drop()

    async def _serve(self) -> None:
        """Reads for whoever waits, until nobody does."""
        try:
            while self._waiting:
                await self._gather()
                batch, self._waiting = self._waiting, []
                await self._answer(batch)
        finally:
            self._reader = None

    async def _gather(self) -> None:
        """Lets those share the read who arrive as it would begin: until a turn of the loop brings nobody more."""
        gathered = 0
        for _ in range(MOST_TURNS):
            if gathered == len(self._waiting):
                return
            gathered = len(self._waiting)
            await asyncio.sleep(0)

    async def _answer(self, batch: list[asyncio.Future[Current]]) -> None:
        try:
            current = await self._read()
        except StoreBehind as behind:
            _fail(batch, behind)
        except asyncio.CancelledError:
            _fail(batch, StoreUnreachable("this process stops"))
            raise
        except Exception as error:
            log.warning("the store did not answer: %r", error)
            _fail(batch, StoreUnreachable(repr(error)))
            await self._drop()
        else:
            for waiter in batch:
                if not waiter.done():
                    waiter.set_result(current)

    async def _read(self) -> Current:
        # Neither connecting nor catching up is cut short by the deadline: those who wait are denied in time, and the
        # next find it done. Cut short, what takes longer than the deadline would begin again for ever.
        self._require_same_history(True, self.revision)
        await self._source.connect()
        reading = await self._source.read(self._deadline)
        snapshot = self._snapshot
        if snapshot is not None and reading.revision == snapshot.revision:
            self._require_same_history(reading.mark == snapshot.mark, reading.revision)
            return Current(snapshot, reading.now)
        self._require_same_history(reading.revision > self.revision or snapshot is None, reading.revision)
        return await self._caught_up(snapshot, reading)

    async def _caught_up(self, snapshot: Snapshot | None, reading: Reading) -> Current:
        async with asyncio.timeout(STATEMENT_SECONDS):
            changes = await self._source.changes(EVERYTHING if snapshot is None else snapshot.revision)
        if snapshot is not None:
            follows = changes.revision >= snapshot.revision and changes.mark_before == snapshot.mark
            self._require_same_history(follows, changes.revision)
        self._snapshot = (snapshot or Snapshot()).after(changes)
        # By the clock of when they were read: by an earlier one, what was granted since would not have begun, and what
        # ended since would still hold, together with facts that it never held with.
        return Current(self._snapshot, changes.seen_at or reading.now)

    def _require_same_history(self, same: bool, revision: int) -> None:
        """Raises `StoreBehind`, from then on always, when what was seen here is not in the store's history.

        A revocation may be missing. That the store reaches the same number again proves nothing: it may have got
        there by other changes than the ones known here.
        """
        if not same and self._behind is None:
            self._behind = f"the store is at revision {revision}, this process has seen {self.revision}"
        if self._behind is not None:
            # A new one each time: one that is raised for ever grows by a traceback each time.
            raise StoreBehind(self._behind)

    async def _drop(self) -> None:
        self._on_lost()
        try:
            await self._source.drop()
        except Exception:
            log.exception("the connection could not be let go of")


def _give_up(batch: list[asyncio.Future[Current]]) -> None:
    _fail(batch, StoreUnreachable("no answer within the deadline"))
    # Where nobody has begun to read for them yet, the next to arrive is the first again, and sets its own deadline.
    batch.clear()


def _fail(batch: list[asyncio.Future[Current]], error: Exception) -> None:
    for waiter in batch:
        if not waiter.done():
            waiter.set_exception(error)
