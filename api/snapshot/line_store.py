"""The lines of what is decided are stored by statements of their own, where they could not ride along with a read."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from api.snapshot.pending_decision import MOST_LINES, PendingDecision, lines_of
from api.snapshot.source import FactSource
from api.store.outage import StoreUnreachable

log = logging.getLogger("privacy_manager.current")

Fail = Callable[[list[PendingDecision], Exception], None]


class LineStore:
    """Stores the lines of many requests at once, and answers those requests once their lines are on the disk.

    `fail` denies requests whose lines could not be stored within `deadline` seconds; `drop` lets go of the connection.
    """

    def __init__(self, source: FactSource, deadline: float, fail: Fail, drop: Callable[[], Awaitable[None]]) -> None:
        self._source = source
        self._deadline = deadline
        self._fail = fail
        self._drop = drop
        self._decided: list[PendingDecision] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, decided: PendingDecision) -> None:
        """Its lines are stored by the next statements."""
        self._decided.append(decided)

    def start(self) -> None:
        """Stores beside the reads, where a read never waits and storing does."""
        if self._decided and self._task is None:
            self._task = asyncio.create_task(self.store())

    async def store(self) -> None:
        """Stores the lines of what is decided, until all are stored, and answers."""
        try:
            while self._decided:
                await self._store(self._next())
        finally:
            self._task = None

    async def aclose(self) -> list[PendingDecision]:
        """Stops storing; the requests whose lines are not stored."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        unstored, self._decided = self._decided, []
        return unstored

    async def _store(self, decided: list[PendingDecision]) -> None:
        try:
            if lines := lines_of(decided):
                await self._source.store(lines, self._deadline)
        except asyncio.CancelledError:
            self._fail(decided, StoreUnreachable("this process stops"))
            raise
        except Exception as error:
            log.warning("the store did not store: %r", error)
            self._fail(decided, StoreUnreachable(repr(error)))
            if self._source.lines_ride_along:
                await self._drop()
        for each in decided:
            each.tell()

    def _next(self) -> list[PendingDecision]:
        """As many as have at most `MOST_LINES` lines together, and at least one; without those that were denied."""
        lines, many = 0, len(self._decided)
        for number, each in enumerate(self._decided):
            lines += len(each.lines)
            if lines > MOST_LINES and number:
                many = number
                break
        taken, self._decided = self._decided[:many], self._decided[many:]
        # A request that was denied in the meantime gets no line that may say otherwise.
        return [each for each in taken if not each.answered.done()]
