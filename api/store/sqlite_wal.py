"""SQLite's write-ahead log: emptied when something was destroyed, so that nothing of it stays behind there.

It cannot be while an older reader is open. Nobody waits for that one: it is tried until it is done.
"""

import asyncio
import contextlib
import logging
import sqlite3
from typing import Any, Final

from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine

from api.store.write_queue import WriteQueue

log = logging.getLogger("privacy_manager.store")

#: Between two attempts: at first, and at most.
SOON_SECONDS: Final = 0.05
LATER_SECONDS: Final = 5.0
#: It is said that it lasts, after as long as this, and again each time that it has lasted twice as long.
LASTS_SECONDS: Final = 60.0


class WriteAheadLog:
    """That of the SQLite file which `engine` connects to."""

    def __init__(self, engine: AsyncEngine, queue: WriteQueue) -> None:
        self._engine = engine
        self._queue = queue
        self._trying: asyncio.Task[None] | None = None
        #: Something may be in it that was not yet there at the last attempt's beginning, or that this one left.
        self._left = False

    @property
    def is_waiting(self) -> bool:
        """Whether it is still tried."""
        return self._trying is not None and not self._trying.done()

    async def empty(self) -> None:
        """Empties it now or, where something is in the way, once that is gone. Waits for nobody, raises nothing.

        Whoever calls has the turn to write.
        """
        if await self._emptied():
            return
        self._left = True
        if not self.is_waiting:
            self._trying = asyncio.create_task(self._keep_trying())

    async def aclose(self) -> None:
        """Gives up; the next process that serves the store does it."""
        if self._trying is not None:
            self._trying.cancel()
            await asyncio.gather(self._trying, return_exceptions=True)

    async def _keep_trying(self) -> None:
        loop = asyncio.get_running_loop()
        began, pause, said_after = loop.time(), SOON_SECONDS, LASTS_SECONDS
        while self._left:
            self._left = False
            with contextlib.suppress(TimeoutError):
                async with self._queue.turn(LATER_SECONDS):
                    if await self._emptied():
                        continue
            self._left = True
            if loop.time() - began >= said_after:
                log.warning(
                    "what was erased is still, encrypted, in the write-ahead log: for %.0f seconds"
                    " somebody has had the store open as it was before",
                    loop.time() - began,
                )
                said_after *= 2
            await asyncio.sleep(pause)
            pause = min(2 * pause, LATER_SECONDS)

    async def _emptied(self) -> bool:
        # It comes after a commit: what goes wrong here must not make that look undone.
        with contextlib.suppress(DBAPIError, DisconnectionError, PoolTimeout, OSError, sqlite3.Error):
            async with self._engine.connect() as connection:
                pooled = await connection.get_raw_connection()
                return await _truncated(pooled.driver_connection)
        return False


async def _truncated(driver: Any) -> bool:
    """Whether all of it is in the file now, and nothing in the log."""
    (patience,) = await (await driver.execute("PRAGMA busy_timeout")).fetchone()
    # While SQLite waits for a reader here it keeps every writer waiting as well.
    await driver.execute("PRAGMA busy_timeout = 0")
    try:
        busy, _, _ = await (await driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")).fetchone()
    finally:
        await driver.execute(f"PRAGMA busy_timeout = {int(patience)}")
    return not busy
