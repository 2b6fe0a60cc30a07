"""The facts in an SQLite file, and the lines of decisions that are stored beside their reads."""

import asyncio
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import compress
from typing import Final
from urllib.parse import quote

from api.snapshot.decision_lines import STORE_ON_SQLITE, as_json
from api.snapshot.fact_rows import CHANGED, CHANGED_GRANTS, ROWS_AT_ONCE, WHAT_CHANGED, GrantsRead, changes_of
from api.snapshot.source import Drafted, Reading
from api.store.sqlite_files import file_identity
from api.store.timing import Clock
from api.store.write_queue import WriteQueue
from models.decision.decision_log import Line
from models.decision.snapshot import (
    Changes,
)
from models.vocabulary.instants import SQLITE_INSTANT

REVISION: Final = "SELECT revision, mark FROM consent_revision WHERE id = 1"


class SqliteFacts:
    """The facts in an SQLite file. `PRAGMA data_version` tells in microseconds whether anyone else wrote to it."""

    # A read never waits; a line waits for whoever writes just now.
    lines_ride_along = False

    def __init__(self, path: str, queue: WriteQueue, clock: Clock | None) -> None:
        self._path = path
        self._clock = clock or (lambda: datetime.now(UTC))
        self._connection: sqlite3.Connection | None = None
        self._lines = SqliteLines(path, queue)
        self._data_version = -1
        self._revision, self._mark = -1, ""
        #: Which file is open: another one at the same path is another store.
        self._file = (0, 0)

    async def connect(self) -> None:
        """Nothing: opening a file takes no time, and each read looks whether it is still the same."""

    async def read(self, within: float, draft: Drafted | None = None) -> Reading:
        # It never waits: there is nothing that could last longer than `within`.
        connection = self._connected()
        # Before the revision is read: what is committed in between shows as a new version next time.
        (data_version,) = connection.execute("PRAGMA data_version").fetchone()
        if data_version != self._data_version:
            self._revision, self._mark = connection.execute(REVISION).fetchone()
            self._data_version = data_version
        return Reading(self._revision, self._clock(), self._mark)

    async def store(self, lines: Sequence[Line], within: float) -> None:
        await self._lines.store(lines, within)

    async def changes(self, since: int) -> Changes:
        connection = self._connected()
        loading = asyncio.ensure_future(asyncio.to_thread(self._changes, connection, since))
        try:
            return await asyncio.shield(loading)
        except asyncio.CancelledError:
            # The connection may not be closed under the thread that still reads from it.
            connection.interrupt()
            await asyncio.gather(loading, return_exceptions=True)
            raise

    async def drop(self) -> None:
        await self._lines.drop()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _changes(self, connection: sqlite3.Connection, since: int) -> Changes:
        connection.execute("BEGIN")
        try:
            since_then = (since,)
            found = connection.execute(_on_sqlite(WHAT_CHANGED), since_then).fetchone()
            # What is read from here on was there before the clock is read.
            now = self._clock()
            revision, mark, _, mark_before, *changed = found
            rows = {
                name: connection.execute(_on_sqlite(CHANGED[name]), since_then).fetchall()
                for name in compress(CHANGED, changed)
            }
            grants = GrantsRead()
            cursor = connection.execute(_on_sqlite(CHANGED_GRANTS), since_then)
            while some := cursor.fetchmany(ROWS_AT_ONCE):
                grants.add(some)
        finally:
            connection.execute("ROLLBACK")
        return changes_of(Reading(revision, now, mark), mark_before or "", rows, grants)

    def _connected(self) -> sqlite3.Connection:
        found = file_identity(self._path)
        if self._connection is not None and self._file == found:
            return self._connection
        # Opened for reading and writing, since a reader of a WAL must write to its index; it is never created here.
        connection = sqlite3.connect(
            f"file:{quote(self._path)}?mode=rw", uri=True, isolation_level=None, check_same_thread=False, timeout=0.1
        )
        connection.execute("PRAGMA query_only=ON")
        self._connection, self._file, self._data_version = connection, found, -1
        return connection


def _on_sqlite(query: str) -> str:
    """The query as SQLite says it, which has no clock of its own."""
    return query.replace("$1", "?1").replace("clock_timestamp()", "NULL")


class SqliteLines:
    """Lines in an SQLite file, over a connection of its own, in a thread: the disk holds up nobody else."""

    def __init__(self, path: str, queue: WriteQueue) -> None:
        self._path = path
        self._queue = queue
        self._connection: sqlite3.Connection | None = None
        #: The connection may not be closed under the thread that still writes to it.
        self._alone = asyncio.Lock()
        #: Which file is open: another one at the same path is another store.
        self._file = (0, 0)

    async def store(self, lines: Sequence[Line], within: float) -> None:
        """Stores the lines. Raises after about `within` seconds, when somebody holds the lock for as long."""
        fixed = [line._replace(at=line.at.astimezone(UTC).strftime(SQLITE_INSTANT)) for line in lines]  # type: ignore[arg-type]
        arguments = (as_json(fixed),)
        async with self._alone, self._queue.turn(within, ahead=True):
            connection = self._connected(within)
            storing = asyncio.ensure_future(asyncio.to_thread(connection.execute, STORE_ON_SQLITE, arguments))
            try:
                await asyncio.shield(storing)
            except asyncio.CancelledError:
                await asyncio.gather(storing, return_exceptions=True)
                raise

    async def drop(self) -> None:
        """Lets go of the connection; the next call makes another."""
        async with self._alone:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def _connected(self, within: float) -> sqlite3.Connection:
        found = file_identity(self._path)
        if self._connection is not None and self._file == found:
            return self._connection
        # Never created here. Others may hold the lock for as long as a decision can wait.
        address = f"file:{quote(self._path)}?mode=rw"
        connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=within)
        connection.execute("PRAGMA synchronous=FULL")
        self._connection, self._file = connection, found
        return connection
