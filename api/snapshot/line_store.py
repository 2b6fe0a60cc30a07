"""Stores lines of the decision log that were not stored by a read, by statements of their own."""

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
    """Stores the lines of many requests per statement, and answers the requests once their lines are on disk.

    `fail` denies requests whose lines were not stored within `deadline` seconds; `drop` discards the connection.
    """

    def __init__(self, source: FactSource, deadline: float, fail: Fail, drop: Callable[[], Awaitable[None]]) -> None:
        self._source = source
        self._deadline = deadline
        self._fail = fail
        self._drop = drop
        self._decided: list[PendingDecision] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, decided: PendingDecision) -> None:
        """Queues the lines of a decision for the next statement."""
        self._decided.append(decided)

    def start(self) -> None:
        """Starts storing beside the reads, where reads never wait and writes do."""
        if self._decided and self._task is None:
            self._task = asyncio.create_task(self.store())

    async def store(self) -> None:
        """Stores queued lines until none are left, and answers their requests."""
        try:
            while self._decided:
                await self._store(self._next())
        finally:
            self._task = None

    async def aclose(self) -> list[PendingDecision]:
        """Stops storing. Returns the requests whose lines are not stored."""
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
            if self._source.reads_store_lines:
                await self._drop()
        for each in decided:
            each.answer()

    def _next(self) -> list[PendingDecision]:
        """The next requests with at most `MOST_LINES` lines together, at least one; without those already denied."""
        lines, count = 0, len(self._decided)
        for number, each in enumerate(self._decided):
            lines += len(each.lines)
            if lines > MOST_LINES and number:
                count = number
                break
        batch, self._decided = self._decided[:count], self._decided[count:]
        # A request denied meanwhile gets no line, which could say otherwise.
        return [each for each in batch if not each.answered.done()]
