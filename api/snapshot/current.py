"""The current snapshot: requests share reads of the revision, and none is answered by a read that began before it.

A request that arrives during a read waits for the next one, because that read may have begun before a revocation that
the request must already see. All requests waiting at that moment share the next read.

Each decision makes lines in the decision log, which are on disk before it is answered. Where possible they are stored
by the read itself: the decision is made on the snapshot in memory, and one statement reads revision and time and stores
the lines if, and only if, that snapshot is still current and no instant has passed at which the answer changes.
Otherwise nothing is stored: the changes are read, the decision is made again, and its lines are stored by a statement
of their own. On SQLite, where reads never wait and writes do, lines are always stored separately.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple

from api.snapshot.line_store import LineStore
from api.snapshot.patience import Deadline
from api.snapshot.pending_decision import Answer, Logged, PendingDecision, draft_decisions
from api.snapshot.source import EVERYTHING, DraftedLines, FactSource, Reading
from api.store.outage import StoreBehind, StoreUnreachable
from api.store.timing import STATEMENT_SECONDS
from models.decision.snapshot import Snapshot

log = logging.getLogger("privacy_manager.current")

#: Iterations of the event loop that a read is delayed at most, however many requests keep arriving.
MOST_ITERATIONS: Final = 8
#: Fewer requests than this are not split into two statements.
FEWEST_AT_ONCE: Final = 8


class Current(NamedTuple):
    """The facts, and the store's time at which they were current."""

    snapshot: Snapshot
    now: datetime


class CurrentSnapshot:
    """Provides the current snapshot. `deadline` is in seconds from a request's arrival.

    `on_lost` is called each time that the store did not answer. Without `logged`, no lines are stored.
    """

    def __init__(
        self,
        source: FactSource,
        deadline: float,
        on_lost: Callable[[], None] = lambda: None,
        *,
        logged: bool = True,
    ) -> None:
        self._source = source
        self._deadline = deadline
        self._on_lost = on_lost
        self._logged = logged
        self._reads_store_lines = logged and source.reads_store_lines
        self._snapshot: Snapshot | None = None
        #: The reason, set for good once the store's history no longer contains the snapshot's.
        self._behind: str | None = None
        self._waiting: list[PendingDecision] = []
        #: Number of requests of the last read.
        self._last_batch = 0
        #: The store's time at the last read.
        self._seen_at: datetime | None = None
        self._lines = LineStore(source, deadline, self._fail, self._drop)
        #: Requests denied because the store was unreachable, and so not logged, since the process started.
        self.unlogged = 0
        self._reader: asyncio.Task[None] | None = None

    @property
    def revision(self) -> int:
        """The last revision seen; 0 before the first."""
        return self._snapshot.revision if self._snapshot is not None else 0

    async def get(self) -> Current:
        """The facts by a read that starts after this call.

        Raises `StoreUnreachable` without an answer within the deadline, and `StoreBehind` when the store's history is
        not the one that this process has seen.
        """
        return await self._enqueue(lambda snapshot, now: Logged(Current(snapshot, now), ()))

    async def decide(self, decide: Callable[[Snapshot, datetime], Logged[Answer]]) -> Answer:
        """The answer of `decide` on the facts by a read that starts after this call, once its lines are on disk.

        `decide` must not wait. Raises as `get` does, also when the lines are not stored within the deadline, and
        whatever `decide` raises.
        """
        return await self._enqueue(decide)

    async def _enqueue(self, decide: Callable[[Snapshot, datetime], Logged[Answer]]) -> Answer:
        loop = asyncio.get_running_loop()
        pending = PendingDecision(loop.create_future(), decide)
        if not self._waiting:
            Deadline(self._deadline, partial(self._time_out, self._waiting))
        self._waiting.append(pending)
        if self._reader is None:
            self._reader = loop.create_task(self._serve())
        answer: Answer = await pending.answered
        return answer

    def require_follows(self, revision: int) -> None:
        """Raises `StoreBehind` unless a write at `revision` comes after everything seen by this process."""
        self._require_same_history(revision > self.revision, revision - 1)

    async def load(self) -> None:
        """Loads all facts before the first request. Raises whatever the store raises."""
        try:
            self._snapshot = Snapshot().after(await self._source.changes(EVERYTHING))
        except BaseException:
            await self._drop()
            raise

    async def aclose(self) -> None:
        """Stops reading. Requests that still wait get `StoreUnreachable`."""
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        self._fail(self._waiting + await self._lines.aclose(), StoreUnreachable("this process stops"))
        self._waiting = []
        await self._drop()

    async def _serve(self) -> None:
        """Reads and stores until no request waits."""
        try:
            while self._waiting:
                await self._answer(await self._next())
                if self._source.reads_store_lines:
                    await self._lines.store()
                else:
                    self._lines.start()
        finally:
            self._reader = None

    async def _next(self) -> list[PendingDecision]:
        """The requests of the next read: all that wait or, where the read stores lines, half of the active ones.

        While the lines of one half are written to disk, the other half is answered and asks again, so that there is
        work during each wait for the disk. Requests of the last read are expected to return and are counted, which
        keeps the halves equal. A small batch is not sent ahead of them: a read for few costs as much.
        """
        returning = self._last_batch if len(self._waiting) >= max(FEWEST_AT_ONCE, self._last_batch // 2) else 0
        if not (self._reads_store_lines and returning):
            await self._gather()
        waiting, self._waiting = self._waiting, []
        limit = max(FEWEST_AT_ONCE, (len(waiting) + returning) // 2)
        if self._reads_store_lines and len(waiting) > limit:
            self._waiting, waiting = waiting[limit:], waiting[:limit]
            Deadline(self._deadline, partial(self._time_out, self._waiting))
        self._last_batch = len(waiting)
        return waiting

    async def _gather(self) -> None:
        """Lets requests join the read that is about to begin, until an iteration of the loop brings no more."""
        gathered = 0
        for _ in range(MOST_ITERATIONS):
            if gathered == len(self._waiting):
                return
            gathered = len(self._waiting)
            await asyncio.sleep(0)

    async def _answer(self, waiting: list[PendingDecision]) -> None:
        """Performs one read for all of them, which stores the lines of decisions made on the snapshot in memory."""
        drafted, draft = self._draft(waiting)
        try:
            reading = await self._read(draft)
            if reading.stored:
                for each in drafted:
                    each.answer()
            current = await self._current_after(reading)
        except StoreBehind as behind:
            self._fail(waiting, behind)
        except asyncio.CancelledError:
            self._fail(waiting, StoreUnreachable("this process stops"))
            raise
        except Exception as error:
            log.warning("the store did not answer: %r", error)
            self._fail(waiting, StoreUnreachable(repr(error)))
            await self._drop()
        else:
            for pending in waiting:
                self._decide(pending, current)

    def _draft(self, waiting: list[PendingDecision]) -> tuple[list[PendingDecision], DraftedLines | None]:
        """The decisions made on the snapshot in memory, where a read can store their lines."""
        if self._snapshot is None or self._seen_at is None or not self._reads_store_lines:
            return [], None
        return draft_decisions(waiting, self._snapshot, self._seen_at)

    def _decide(self, pending: PendingDecision, current: Current) -> None:
        """Decides on the facts just read, unless the request was answered meanwhile."""
        if pending.decide_on(*current):
            if self._logged and pending.lines:
                self._lines.add(pending)
            else:
                pending.answer()

    async def _read(self, draft: DraftedLines | None) -> Reading:
        # The deadline interrupts neither connecting nor catching up: waiting requests are denied in time, and the next
        # ones find it done. Interrupted, whatever takes longer than the deadline would start over for ever.
        self._require_same_history(True, self.revision)
        await self._source.connect()
        reading = await self._source.read(self._deadline, draft)
        seen = self._snapshot
        if seen is not None:
            same = reading.mark == seen.mark if reading.revision == seen.revision else reading.revision > seen.revision
            self._require_same_history(same, reading.revision)
        self._seen_at = reading.now
        return reading

    async def _current_after(self, reading: Reading) -> Current:
        snapshot = self._snapshot
        if snapshot is not None and reading.revision == snapshot.revision:
            return Current(snapshot, reading.now)
        return await self._catch_up(snapshot, reading)

    async def _catch_up(self, snapshot: Snapshot | None, reading: Reading) -> Current:
        async with asyncio.timeout(STATEMENT_SECONDS):
            changes = await self._source.changes(EVERYTHING if snapshot is None else snapshot.revision)
        if snapshot is not None:
            follows = changes.revision >= snapshot.revision and changes.mark_before == snapshot.mark
            self._require_same_history(follows, changes.revision)
        self._snapshot = (snapshot or Snapshot()).after(changes)
        # The time of reading the changes counts: at an earlier time, grants made since would not have begun, and facts
        # ended since would still hold beside facts that they never coexisted with.
        return Current(self._snapshot, changes.seen_at or reading.now)

    def _require_same_history(self, same: bool, revision: int) -> None:
        """Raises `StoreBehind`, from then on always, when the store's history lacks what this process has seen.

        A revocation may be missing. The store reaching the same revision again proves nothing: it may have done so by
        other changes.
        """
        if not same and self._behind is None:
            self._behind = f"the store is at revision {revision}, this process has seen {self.revision}"
        if self._behind is not None:
            # A new exception each time, since a reused one would grow by a traceback with each raise.
            raise StoreBehind(self._behind)

    async def _drop(self) -> None:
        self._on_lost()
        try:
            await self._source.drop()
        except Exception:
            log.exception("the connection could not be let go of")

    def _time_out(self, batch: list[PendingDecision]) -> None:
        self._fail(batch, StoreUnreachable("no answer within the deadline"))
        # If no read has begun for this batch, the next arrival finds it empty and sets a deadline of its own.
        batch.clear()

    def _fail(self, unanswered: list[PendingDecision], error: Exception) -> None:
        failed = [each.answered for each in unanswered if not each.answered.done()]
        for answered in failed:
            answered.set_exception(error)
        self.unlogged += len(failed)
        if failed and self._logged:
            log.warning("denied without a line: %d requests, %d in all: %s", len(failed), self.unlogged, error)
