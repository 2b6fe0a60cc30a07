"""The snapshot as of this request: many requests share one read of the revision, and none is answered by an older one.

A request that arrives while a read is under way waits for the next one, because that read may have begun before a
revocation that the request must already see. Requests that wait at the same moment share the next read.

Decisions become lines of the decision log, which are on the disk before anyone is answered. They ride along with the
read: what is asked is decided on the facts in memory, and one statement reads the revision and the time and stores the
lines if, and only if, those facts are the store's still and no instant has come at which time changes an answer.
Otherwise nothing was stored and nothing is answered: what has changed is read, it is decided anew, and those lines are
stored by a statement of their own. Where a read never waits and storing does, as in a file, that is how it always is.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple

from api.snapshot.line_store import LineStore
from api.snapshot.pending_decision import Answer, Logged, PendingDecision, drafted
from api.snapshot.source import EVERYTHING, Drafted, FactSource, Reading
from api.store.outage import StoreBehind, StoreUnreachable
from api.store.timing import STATEMENT_SECONDS
from models.decision.snapshot import Snapshot

log = logging.getLogger("privacy_manager.current")

#: Turns of the loop that a read waits at most, so that no stream of arrivals holds it up.
MOST_TURNS: Final = 8
#: Requests for which two statements are not worth more than one, where lines ride along.
FEWEST_AT_ONCE: Final = 8


class Current(NamedTuple):
    """The facts, and the store's time at which they were seen to be current."""

    snapshot: Snapshot
    now: datetime


class CurrentSnapshot:
    """Hands out the snapshot as of now; `deadline` is in seconds from a request's arrival.

    `on_lost` is called each time that the store did not answer. Where decisions are not `logged`, no line is stored.
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
        self._rides = logged and source.lines_ride_along
        self._snapshot: Snapshot | None = None
        #: Why, set for good once the store's history is not the one that the snapshot was made of.
        self._behind: str | None = None
        self._waiting: list[PendingDecision] = []
        #: For how many the last read was.
        self._last = 0
        #: The store's time as it was last read.
        self._seen_at: datetime | None = None
        self._lines = LineStore(source, deadline, self._fail, self._drop)
        #: Requests that were denied for want of the store, and so have no line, in the life of this process.
        self.unlogged = 0
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
        return await self._answer_to(lambda snapshot, now: Logged(Current(snapshot, now), ()))

    async def decided(self, decide: Callable[[Snapshot, datetime], Logged[Answer]]) -> Answer:
        """What `decide` answers on the facts by a read that starts after this call, once its lines are on the disk.

        `decide` waits for nothing. Raises as `get` does, also when the lines are not stored within the deadline, and
        what `decide` raises.
        """
        return await self._answer_to(decide)

    async def _answer_to(self, decide: Callable[[Snapshot, datetime], Logged[Answer]]) -> Answer:
        loop = asyncio.get_running_loop()
        waiter = PendingDecision(loop.create_future(), decide)
        if not self._waiting:
            loop.call_later(self._deadline, self._give_up, self._waiting)
        self._waiting.append(waiter)
        if self._reader is None:
            self._reader = loop.create_task(self._serve())
        answer: Answer = await waiter.answered
        return answer

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
        self._fail(self._waiting + await self._lines.aclose(), StoreUnreachable("this process stops"))
        self._waiting = []
        await self._drop()

    async def _serve(self) -> None:
        """Reads and stores for whoever waits, until nobody does."""
        try:
            while self._waiting:
                await self._answer(await self._next())
                if self._source.lines_ride_along:
                    await self._lines.store()
                else:
                    self._lines.start()
        finally:
            self._reader = None

    async def _next(self) -> list[PendingDecision]:
        """Those who are read for next: all who wait, or, where lines ride along, half of all who ask.

        While the lines of one half are on their way to the disk, the other half is answered and asks again: so there is
        something to do whenever the disk is waited for. Those of the last read ask again too, and are counted with the
        others, so that the halves stay alike; few do not go before them, since a read for few costs as much.
        """
        again = self._last if len(self._waiting) >= max(FEWEST_AT_ONCE, self._last // 2) else 0
        if not (self._rides and again):
            await self._gather()
        waiting, self._waiting = self._waiting, []
        most = max(FEWEST_AT_ONCE, (len(waiting) + again) // 2)
        if self._rides and len(waiting) > most:
            self._waiting, waiting = waiting[most:], waiting[:most]
            asyncio.get_running_loop().call_later(self._deadline, self._give_up, self._waiting)
        self._last = len(waiting)
        return waiting

    async def _gather(self) -> None:
        """Lets those share the read who arrive as it would begin: until a turn of the loop brings nobody more."""
        gathered = 0
        for _ in range(MOST_TURNS):
            if gathered == len(self._waiting):
                return
            gathered = len(self._waiting)
            await asyncio.sleep(0)

    async def _answer(self, waiting: list[PendingDecision]) -> None:
        """One read for all of them, with the lines of what is decided on it."""
        those, draft = self._drafted(waiting)
        try:
            reading = await self._read(draft)
            if reading.stored:
                for each in those:
                    each.tell()
            current = await self._as_of(reading)
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
            for waiter in waiting:
                self._decide(waiter, current)

    def _drafted(self, waiting: list[PendingDecision]) -> tuple[list[PendingDecision], Drafted | None]:
        """What is decided on the facts in memory, where its lines can ride along."""
        if self._snapshot is None or self._seen_at is None or not self._rides:
            return [], None
        return drafted(waiting, self._snapshot, self._seen_at)

    def _decide(self, waiter: PendingDecision, current: Current) -> None:
        """Decides on what was read just now, unless it is answered by then."""
        if waiter.decide_on(*current):
            if self._logged and waiter.lines:
                self._lines.add(waiter)
            else:
                waiter.tell()

    async def _read(self, draft: Drafted | None) -> Reading:
        # Neither connecting nor catching up is cut short by the deadline: those who wait are denied in time, and the
        # next find it done. Cut short, what takes longer than the deadline would begin again for ever.
        self._require_same_history(True, self.revision)
        await self._source.connect()
        reading = await self._source.read(self._deadline, draft)
        seen = self._snapshot
        if seen is not None:
            same = reading.mark == seen.mark if reading.revision == seen.revision else reading.revision > seen.revision
            self._require_same_history(same, reading.revision)
        self._seen_at = reading.now
        return reading

    async def _as_of(self, reading: Reading) -> Current:
        snapshot = self._snapshot
        if snapshot is not None and reading.revision == snapshot.revision:
            return Current(snapshot, reading.now)
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

    def _give_up(self, batch: list[PendingDecision]) -> None:
        self._fail(batch, StoreUnreachable("no answer within the deadline"))
        # Where nobody has begun to read for them yet, the next to arrive is the first again, and sets its own deadline.
        batch.clear()

    def _fail(self, unanswered: list[PendingDecision], error: Exception) -> None:
        failed = [each.answered for each in unanswered if not each.answered.done()]
        for answered in failed:
            answered.set_exception(error)
        self.unlogged += len(failed)
        if failed and self._logged:
            log.warning("denied without a line: %d requests, %d in all: %s", len(failed), self.unlogged, error)
