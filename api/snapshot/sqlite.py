"""Facts read from an SQLite file, and lines of decisions stored beside the reads."""

import asyncio
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import compress
from typing import Final
from urllib.parse import quote

from api.snapshot.decision_lines import STORE_ON_SQLITE, as_json
from api.snapshot.fact_rows import CHANGED, CHANGED_GRANTS, ROWS_AT_ONCE, WHAT_CHANGED, GrantPacker, changes_of
from api.snapshot.source import DraftedLines, Reading
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
    """Facts from an SQLite file. `PRAGMA data_version` shows within microseconds whether another connection wrote."""

    # Reads never wait; storing a line waits for other writers.
    reads_store_lines = False

    def __init__(self, path: str, queue: WriteQueue, clock: Clock | None) -> None:
        self._path = path
        self._clock = clock or (lambda: datetime.now(UTC))
        self._connection: sqlite3.Connection | None = None
        self._lines = SqliteLines(path, queue)
        self._data_version = -1
        self._revision, self._mark = -1, ""
        #: Identity of the open file: another file at the same path is another store.
        self._file = (0, 0)

    async def connect(self) -> None:
        """Does nothing: opening a file is immediate, and each read checks that it is the same file."""

    async def read(self, within: float, draft: DraftedLines | None = None) -> Reading:
        # Never waits, so that nothing can exceed `within`.
        connection = self._connected()
        # Read before the revision: a commit in between changes the version at the next read.
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
            # The connection must not be closed while the thread still reads from it.
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
            parameters = (since,)
            changes = connection.execute(_on_sqlite(WHAT_CHANGED), parameters).fetchone()
            # The transaction's snapshot is fixed from here on, before the clock is read.
            now = self._clock()
            revision, mark, _, mark_before, *changed = changes
            rows = {
                name: connection.execute(_on_sqlite(CHANGED[name]), parameters).fetchall()
                for name in compress(CHANGED, changed)
            }
            grants = GrantPacker()
            cursor = connection.execute(_on_sqlite(CHANGED_GRANTS), parameters)
            while batch := cursor.fetchmany(ROWS_AT_ONCE):
                grants.add(batch)
        finally:
            connection.execute("ROLLBACK")
        return changes_of(Reading(revision, now, mark), mark_before or "", rows, grants)

    def _connected(self) -> sqlite3.Connection:
        identity = file_identity(self._path)
        if self._connection is not None and self._file == identity:
            return self._connection
        # Opened read-write, since a reader of a WAL writes to its index; never created here.
        connection = sqlite3.connect(
            f"file:{quote(self._path)}?mode=rw", uri=True, isolation_level=None, check_same_thread=False, timeout=0.1
        )
        connection.execute("PRAGMA query_only=ON")
        self._connection, self._file, self._data_version = connection, identity, -1
        return connection


def _on_sqlite(query: str) -> str:
    """The query in SQLite's dialect, which has no clock of its own."""
    return query.replace("$1", "?1").replace("clock_timestamp()", "NULL")


class SqliteLines:
    """Stores lines in an SQLite file, over a dedicated connection in a thread: waits for the disk block no one else."""

    def __init__(self, path: str, queue: WriteQueue) -> None:
        self._path = path
        self._queue = queue
        self._connection: sqlite3.Connection | None = None
        #: The connection must not be closed while the thread still writes to it.
        self._exclusive = asyncio.Lock()
        #: Identity of the open file: another file at the same path is another store.
        self._file = (0, 0)

    async def store(self, lines: Sequence[Line], within: float) -> None:
        """Stores the lines. Raises after about `within` seconds of waiting for the lock."""
        stored = [line._replace(at=line.at.astimezone(UTC).strftime(SQLITE_INSTANT)) for line in lines]  # type: ignore[arg-type]
        arguments = (as_json(stored),)
        async with self._exclusive, self._queue.turn(within, ahead=True):
            connection = self._connected(within)
            storing = asyncio.ensure_future(asyncio.to_thread(connection.execute, STORE_ON_SQLITE, arguments))
            try:
                await asyncio.shield(storing)
            except asyncio.CancelledError:
                await asyncio.gather(storing, return_exceptions=True)
                raise

    async def drop(self) -> None:
        """Discards the connection; the next call makes another."""
        async with self._exclusive:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def _connected(self, within: float) -> sqlite3.Connection:
        identity = file_identity(self._path)
        if self._connection is not None and self._file == identity:
            return self._connection
        # Never created here. Waits for the lock as long as a decision can wait.
        address = f"file:{quote(self._path)}?mode=rw"
        connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=within)
        connection.execute("PRAGMA synchronous=FULL")
        self._connection, self._file = connection, identity
        return connection
