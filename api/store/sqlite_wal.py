"""Truncates SQLite's write-ahead log after an erasure, so that no erased bytes stay in it.

An older reader prevents that. Nothing waits for it: truncating is retried in the background.
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

#: Delay between two attempts: first, and at most.
FIRST_DELAY_SECONDS: Final = 0.05
LONGEST_DELAY_SECONDS: Final = 5.0
#: First warning that erased bytes are still there; each next one after twice as long.
WARN_AFTER_SECONDS: Final = 60.0


class WriteAheadLog:
    """The write-ahead log of the SQLite file behind `engine`."""

    def __init__(self, engine: AsyncEngine, queue: WriteQueue) -> None:
        self._engine = engine
        self._queue = queue
        self._retry_task: asyncio.Task[None] | None = None
        #: Whether bytes may be in it that were written since the last attempt began, or that it left.
        self._pending = False

    @property
    def is_waiting(self) -> bool:
        """Whether truncating is still retried."""
        return self._retry_task is not None and not self._retry_task.done()

    async def truncate(self) -> None:
        """Truncates it now or, if a reader prevents that, in the background. Neither waits nor raises.

        The caller must have the turn to write.
        """
        if await self._try_truncate():
            return
        self._pending = True
        if not self.is_waiting:
            self._retry_task = asyncio.create_task(self._retry())

    async def aclose(self) -> None:
        """Stops retrying; the next process that serves the store truncates it."""
        if self._retry_task is not None:
            self._retry_task.cancel()
            await asyncio.gather(self._retry_task, return_exceptions=True)

    async def _retry(self) -> None:
        loop = asyncio.get_running_loop()
        began, delay, warn_after = loop.time(), FIRST_DELAY_SECONDS, WARN_AFTER_SECONDS
        while self._pending:
            self._pending = False
            with contextlib.suppress(TimeoutError):
                async with self._queue.turn(LONGEST_DELAY_SECONDS):
                    if await self._try_truncate():
                        continue
            self._pending = True
            if loop.time() - began >= warn_after:
                log.warning(
                    "what was erased is still, encrypted, in the write-ahead log: for %.0f seconds"
                    " somebody has had the store open as it was before",
                    loop.time() - began,
                )
                warn_after *= 2
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY_SECONDS)

    async def _try_truncate(self) -> bool:
        # Runs after a commit: an error here must not make that look undone.
        with contextlib.suppress(DBAPIError, DisconnectionError, PoolTimeout, OSError, sqlite3.Error):
            async with self._engine.connect() as connection:
                pooled = await connection.get_raw_connection()
                return await _truncate(pooled.driver_connection)
        return False


async def _truncate(driver: Any) -> bool:
    """Checkpoints. Returns whether everything is in the file and the log is empty."""
    (timeout,) = await (await driver.execute("PRAGMA busy_timeout")).fetchone()
    # No busy timeout: while SQLite waits for a reader here, every writer waits too.
    await driver.execute("PRAGMA busy_timeout = 0")
    try:
        busy, _, _ = await (await driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")).fetchone()
    finally:
        await driver.execute(f"PRAGMA busy_timeout = {int(timeout)}")
    return not busy
