"""The queue of writers to an SQLite file: served in the order of their requests, after lines of decisions.

SQLite itself gives its lock to whichever writer polls at the right moment, so that one of many could wait until its
timeout. The queue orders writers of one process; between processes it is still by chance.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager


class WriteQueue:
    """Queue of all writers of this process to one file, on one event loop."""

    def __init__(self) -> None:
        self._order = asyncio.Lock()
        #: Requested by the first in the queue and by writers `ahead` of it: these wait for one write at most.
        self._file = asyncio.Lock()

    @asynccontextmanager
    async def turn(self, within: float, *, ahead: bool = False) -> AsyncIterator[None]:
        """Waits for a turn, or for one `ahead` of the queue. Raises `TimeoutError` after `within` seconds.

        Not reentrant.
        """
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(within):
                for lock in (self._file,) if ahead else (self._order, self._file):
                    await stack.enter_async_context(lock)
            yield
