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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, NamedTuple, TypeVar

from api.snapshot.source import EVERYTHING, Drafted, FactSource, Reading
from api.store.outage import StoreBehind, StoreUnreachable
from api.store.timing import STATEMENT_SECONDS
from models.decision.decision_log import Line
from models.decision.snapshot import Snapshot

log = logging.getLogger("privacy_manager.current")

Answer = TypeVar("Answer")

#: Turns of the loop that a read waits at most, so that no stream of arrivals holds it up.
MOST_TURNS: Final = 8
#: Lines that are stored by one statement, unless one request has more: it must not hold up others for long.
MOST_LINES: Final = 2_000
#: Requests for which two statements are not worth more than one, where lines ride along.
FEWEST_AT_ONCE: Final = 8


class Current(NamedTuple):
    """The facts, and the store's time at which they were seen to be current."""

    snapshot: Snapshot
    now: datetime


class Logged(NamedTuple, Generic[Answer]):
    """What was decided, and the lines that must be stored before anybody is told.

    `until` is the first instant at which it may be otherwise though no fact changes; None where it holds for its
    instant alone.
    """

    answer: Answer
    lines: Sequence[Line]
    until: datetime | None = None


@dataclass(slots=True, eq=False)
class _Waiter:
    answered: asyncio.Future[Any]
    decide: Callable[[Snapshot, datetime], Logged[Any]]
    #: From when it is decided on.
    logged: Logged[Any] | None = None

    @property
    def lines(self) -> Sequence[Line]:
        return self.logged.lines if self.logged is not None else ()

    @property
    def until(self) -> datetime | None:
        return self.logged.until if self.logged is not None else None


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
        self._waiting: list[_Waiter] = []
        #: For how many the last read was.
        self._last = 0
        #: The store's time as it was last read.
        self._seen_at: datetime | None = None
        #: Those whose lines have yet to be stored, as they are.
        self._decided: list[_Waiter] = []
        #: Requests that were denied for want of the store, and so have no line, in the life of this process.
        self.unlogged = 0
        self._reader: asyncio.Task[None] | None = None
        self._storer: asyncio.Task[None] | None = None

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
        waiter = _Waiter(loop.create_future(), decide)
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
        for task in (self._reader, self._storer):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._fail(self._waiting + self._decided, StoreUnreachable("this process stops"))
        self._waiting, self._decided = [], []
        await self._drop()

    async def _serve(self) -> None:
        """Reads and stores for whoever waits, until nobody does."""
        try:
            while self._waiting:
                await self._answer(await self._next())
                if self._decided and self._source.lines_ride_along:
                    await self._store()
                elif self._decided and self._storer is None:
                    self._storer = asyncio.create_task(self._store())
        finally:
            self._reader = None

    async def _store(self) -> None:
        """Stores the lines of what is decided, until all are, and answers."""
        try:
            while self._decided:
                decided = self._next_decided(len(self._decided))
                try:
                    if lines := _lines_of(decided):
                        await self._source.store(lines, self._deadline)
                except asyncio.CancelledError:
                    self._fail(decided, StoreUnreachable("this process stops"))
                    raise
                except Exception as error:
                    log.warning("the store did not store: %r", error)
                    self._fail(decided, StoreUnreachable(repr(error)))
                    if self._source.lines_ride_along:
                        await self._drop()
                _tell(decided)
        finally:
            self._storer = None

    async def _next(self) -> list[_Waiter]:
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

    def _next_decided(self, many: int) -> list[_Waiter]:
        """So many of those whose lines are to be stored, or as many as have not too many lines together."""
        lines = 0
        for number, each in enumerate(self._decided[:many]):
            lines += len(each.lines)
            if lines > MOST_LINES and number:
                many = number
                break
        taken, self._decided = self._decided[:many], self._decided[many:]
        # Who was denied in the meantime gets no line that may say otherwise.
        return [each for each in taken if not each.answered.done()]

    async def _answer(self, waiting: list[_Waiter]) -> None:
        """One read for all of them, with the lines of what is decided on it."""
        drafted = self._drafted(waiting)
        try:
            reading = await self._read(_draft_of(drafted, self._snapshot, self._seen_at))
            if reading.stored:
                _tell(drafted)
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

    def _drafted(self, waiting: list[_Waiter]) -> list[_Waiter]:
        """Those who are decided on what is in memory, as far as that may turn out to be so still."""
        if self._snapshot is None or self._seen_at is None or not self._rides:
            return []
        drafted: list[_Waiter] = []
        lines = 0
        for waiter in waiting:
            if _decided_on(waiter, self._snapshot, self._seen_at) and waiter.until is not None:
                lines += len(waiter.lines)
                if drafted and lines > MOST_LINES:
                    break
                drafted.append(waiter)
        return drafted

    def _decide(self, waiter: _Waiter, current: Current) -> None:
        """Decides on what was read just now, unless it is answered by then."""
        if _decided_on(waiter, *current):
            if self._logged and waiter.lines:
                self._decided.append(waiter)
            else:
                _tell([waiter])

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

    def _give_up(self, batch: list[_Waiter]) -> None:
        self._fail(batch, StoreUnreachable("no answer within the deadline"))
        # Where nobody has begun to read for them yet, the next to arrive is the first again, and sets its own deadline.
        batch.clear()

    def _fail(self, unanswered: list[_Waiter], error: Exception) -> None:
        failed = [each.answered for each in unanswered if not each.answered.done()]
        for answered in failed:
            answered.set_exception(error)
        self.unlogged += len(failed)
        if failed and self._logged:
            log.warning("denied without a line: %d requests, %d in all: %s", len(failed), self.unlogged, error)


def _decided_on(waiter: _Waiter, snapshot: Snapshot, now: datetime) -> bool:
    """Decides for one who waits still. What cannot be decided fails for itself alone."""
    if waiter.answered.done():
        return False
    try:
        waiter.logged = waiter.decide(snapshot, now)
    except Exception as error:
        waiter.answered.set_exception(error)
        return False
    return True


def _draft_of(drafted: Sequence[_Waiter], snapshot: Snapshot | None, seen_at: datetime | None) -> Drafted | None:
    if not drafted or snapshot is None or seen_at is None:
        return None
    until = min(waiter.until for waiter in drafted if waiter.until is not None)
    return Drafted(_lines_of(drafted), snapshot.revision, snapshot.mark, seen_at, until)


def _lines_of(decided: Sequence[_Waiter]) -> list[Line]:
    return [line for each in decided for line in each.lines]


def _tell(decided: Sequence[_Waiter]) -> None:
    for each in decided:
        if each.logged is not None and not each.answered.done():
            each.answered.set_result(each.logged.answer)
