"""The snapshot as of this request: many requests share one read of the revision, and none is answered by an older one.

A request that arrives while a read is under way waits for the next one, because that read may have begun before a
revocation that the request must already see. Requests that wait at the same moment share the next read.

What is decided on a read becomes lines of the decision log, which ride along with the read after it: that one statement
stores them and reads for those who have arrived meanwhile, and once it is on the disk they are answered. Where a read
never waits and storing does, as in a file, lines are stored beside the reads.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, NamedTuple, TypeVar

from api.facts import EVERYTHING, FactSource, Reading
from api.store import STATEMENT_SECONDS, StoreBehind, StoreUnreachable
from models.decision_log import Line
from models.snapshot import Snapshot

log = logging.getLogger("privacy_manager.current")

Answer = TypeVar("Answer")

#: Turns of the loop that a read waits at most, so that no stream of arrivals holds it up.
MOST_TURNS: Final = 8
#: Lines that are stored by one statement, unless one request has more: it must not hold up others for long.
MOST_LINES: Final = 2_000
#: So many at least are stored in two halves, where that keeps the process at work.
WORTH_DIVIDING: Final = 8


class Current(NamedTuple):
    """The facts, and the store's time at which they were seen to be current."""

    snapshot: Snapshot
    now: datetime


class Logged(NamedTuple, Generic[Answer]):
    """What was decided, and the lines that must be stored before anybody is told."""

    answer: Answer
    lines: Sequence[Line]


@dataclass(slots=True, eq=False)
class _Waiter:
    answered: asyncio.Future[Any]
    decide: Callable[[Snapshot, datetime], Logged[Any]]
    #: From when it is decided on.
    logged: Logged[Any] | None = None

    @property
    def lines(self) -> Sequence[Line]:
        return self.logged.lines if self.logged is not None else ()


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
        self._snapshot: Snapshot | None = None
        #: Why, set for good once the store's history is not the one that the snapshot was made of.
        self._behind: str | None = None
        self._waiting: list[_Waiter] = []
        #: Those whose lines the next statement stores.
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
            while self._waiting or self._riding:
                if not self._riding:
                    await self._gather()
                waiting, self._waiting = self._waiting, []
                await self._answer(waiting, self._next_riding(alone=not waiting))
                if self._decided and not self._riding and self._storer is None:
                    self._storer = asyncio.create_task(self._store())
        finally:
            self._reader = None

    @property
    def _riding(self) -> bool:
        """Whether somebody's lines wait for the next read."""
        return bool(self._decided) and self._source.lines_ride_along

    async def _store(self) -> None:
        """Stores beside the reads, until everything is stored."""
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
                    self._fail(decided, StoreUnreachable(repr(error)))
                _tell(decided)
        finally:
            self._storer = None

    async def _gather(self) -> None:
        """Lets those share the read who arrive as it would begin: until a turn of the loop brings nobody more."""
        gathered = -1
        for _ in range(MOST_TURNS):
            if gathered == len(self._waiting):
                return
            gathered = len(self._waiting)
            await asyncio.sleep(0)

    def _next_riding(self, *, alone: bool) -> list[_Waiter]:
        """Those whose lines ride along with the next read, which they make `alone` when it is for nobody else.

        Then half of them: while the others' lines are stored they are answered and ask again, and from then on there
        is always something to do while the disk is waited for.
        """
        if not self._riding:
            return []
        many = len(self._decided)
        return self._next_decided(many // 2 if alone and many >= WORTH_DIVIDING else many)

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

    async def _answer(self, waiting: list[_Waiter], decided: list[_Waiter]) -> None:
        """One statement for all of them: the decided are answered, the waiting are decided on what it read."""
        try:
            reading = await self._read(_lines_of(decided))
            _tell(decided)
            current = await self._as_of(reading)
        except StoreBehind as behind:
            self._fail(waiting + decided, behind)
        except asyncio.CancelledError:
            self._fail(waiting + decided, StoreUnreachable("this process stops"))
            raise
        except Exception as error:
            log.warning("the store did not answer: %r", error)
            self._fail(waiting + decided, StoreUnreachable(repr(error)))
            await self._drop()
        else:
            for waiter in waiting:
                self._decide(waiter, current)

    def _decide(self, waiter: _Waiter, current: Current) -> None:
        if waiter.answered.done():
            return
        try:
            waiter.logged = waiter.decide(*current)
        except Exception as error:
            waiter.answered.set_exception(error)
            return
        if self._logged and waiter.lines:
            self._decided.append(waiter)
        else:
            _tell([waiter])

    async def _read(self, lines: Sequence[Line]) -> Reading:
        # Neither connecting nor catching up is cut short by the deadline: those who wait are denied in time, and the
        # next find it done. Cut short, what takes longer than the deadline would begin again for ever.
        self._require_same_history(True, self.revision)
        await self._source.connect()
        reading = await self._source.read(self._deadline, lines)
        seen = self._snapshot
        if seen is not None:
            same = reading.mark == seen.mark if reading.revision == seen.revision else reading.revision > seen.revision
            self._require_same_history(same, reading.revision)
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


def _lines_of(decided: Sequence[_Waiter]) -> list[Line]:
    return [line for each in decided for line in each.lines]


def _tell(decided: Sequence[_Waiter]) -> None:
    for each in decided:
        if each.logged is not None and not each.answered.done():
            each.answered.set_result(each.logged.answer)
