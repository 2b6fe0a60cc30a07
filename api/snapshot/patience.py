"""Deadlines for the store that a late event loop does not use up.

Where something held up the loop, what the store has answered meanwhile is not yet read, and a timer that is due says
nothing about the store: it gets once more what it lost. Taken for a store that is away, a busy moment would deny
everybody, and cut their connections. Who was held up for longer than a second, as by a machine that stood still,
gets nothing more: an answer of that age permits nothing.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Final

#: Seconds by which a timer may be late before the loop counts as held up.
LATE_SECONDS: Final = 0.02
#: Seconds by which it may be late at most.
MOST_LATE_SECONDS: Final = 1.0


class Deadline:
    """Calls `expire` after so many seconds; a little later where the loop was held up at their end."""

    __slots__ = ("_due", "_expire", "_handle", "_loop", "_seconds")

    def __init__(self, seconds: float, expire: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._expire = expire
        self._due: float | None = self._loop.time() + seconds
        self._handle = self._loop.call_later(seconds, self._look)

    def cancel(self) -> None:
        self._handle.cancel()

    def _look(self) -> None:
        late = 0.0 if self._due is None else self._loop.time() - self._due
        if LATE_SECONDS < late <= MOST_LATE_SECONDS:
            self._due = None
            self._handle = self._loop.call_later(min(self._seconds, late), self._look)
        else:
            self._expire()


class Patience:
    """A block that raises `TimeoutError` where it takes longer, as `asyncio.timeout` does, but for a late loop."""

    __slots__ = ("_deadline", "_seconds", "_timeout")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        self._deadline = Deadline(self._seconds, self._give_up)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadline.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def _give_up(self) -> None:
        self._timeout.reschedule(asyncio.get_running_loop().time())
