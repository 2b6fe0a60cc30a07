"""How the lines of the decision log are stored: one statement for all that wait, on the disk when it returns."""

import asyncio
import itertools
import secrets
import sqlite3
from collections.abc import Sequence
from datetime import UTC
from typing import Final
from urllib.parse import quote

import msgspec

from api.store.json_rows import values
from api.store.store import file_identity
from api.store.write_queue import WriteQueue
from models.decision.decision_log import Line
from models.vocabulary.instants import SQLITE_INSTANT

_FIELDS: Final = ("id", *Line._fields)
_COLUMNS: Final = ", ".join(_FIELDS)
_KINDS: Final = {"id": "bigint", "at": "timestamptz", "revision": "integer", "permit": "boolean"}
_ON_SQLITE: Final = ", ".join(f"json_extract(value, '$[{number}]')" for number in range(len(_FIELDS)))
_INSERT: Final = f"INSERT INTO decision_log ({_COLUMNS}) SELECT"


def _stored(at: str | None = None) -> str:
    """Stores the lines of $1 on PostgreSQL, each with its own time, or with this one."""
    stored = dict(zip(_FIELDS, values(_KINDS.get(name, "text") for name in _FIELDS), strict=True))
    if at is not None:
        stored["at"] = at
    return f"{_INSERT} {', '.join(stored.values())} FROM jsonb_array_elements($1::jsonb) AS line"


STORE_ON_POSTGRESQL: Final = _stored()
_SEEN: Final = (
    "SELECT revision, mark, coalesce($6::timestamptz, clock_timestamp()) AS at FROM consent_revision WHERE id = 1"
)
#: Reads, and stores the lines of $1 if revision $2 with mark $3 is the store's still, and the time is from $4 on and
#: before $5. The time is told once: what is compared is what is stored, and what is answered. $6 is a clock of tests.
READ_AND_STORE: Final = " ".join(
    (
        f"WITH seen AS MATERIALIZED ({_SEEN}),",
        f"stored AS ({_stored('seen.at')}, seen",
        "WHERE revision = $2 AND mark = $3 AND $4 <= at AND at < $5 RETURNING 1)",
        "SELECT revision, mark, at, EXISTS (SELECT FROM stored) FROM seen",
    )
)
#: One step for all lines: each step lets go of Python's lock, and must get it back.
STORE_ON_SQLITE: Final = f"{_INSERT} {_ON_SQLITE} FROM json_each(?)"
#: A commit that doesn't wait for the disk would lose lines whose answers have left.
DURABLE: Final = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)


#: From a number by chance, so that no two processes give the same; below 2^53, as a JSON number must be.
_NUMBERS: Final = itertools.count(1 + secrets.randbits(52))


def as_json(lines: Sequence[Line]) -> str:
    """An array of the lines, each an array of its number and its values."""
    return msgspec.json.encode([(next(_NUMBERS), *line) for line in lines]).decode()


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
