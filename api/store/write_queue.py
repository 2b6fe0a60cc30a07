"""Who writes to an SQLite file next: whoever asked first, and lines of decisions before all of them.

SQLite gives its lock to whoever looks at the right moment: of many that want it, one could find it taken for as long as
it may wait. Within a process nobody needs luck. Between processes it is still by chance.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager


class WriteQueue:
    """Hands out turns to all that write to one file from this process, on one loop."""

    def __init__(self) -> None:
        self._line = asyncio.Lock()
        #: Asked for by the first of the line, and by who need not stand in it: so these wait for one write at most.
        self._file = asyncio.Lock()

    @asynccontextmanager
    async def turn(self, within: float, *, ahead: bool = False) -> AsyncIterator[None]:
        """A turn, or one `ahead` of all who stand in line. Raises `TimeoutError` when it doesn't come within so many
        seconds. Who has one does not ask for another.
        """
        async with AsyncExitStack() as held:
            async with asyncio.timeout(within):
                for lock in (self._file,) if ahead else (self._line, self._file):
                    await held.enter_async_context(lock)
            yield
