"""Where the facts for decisions come from: the revision, the clock and the changed rows, read past the ORM.

The lines of what was decided ride along with the read of the revision. One connection per process, on which nothing
else is done. Every method may raise anything; whoever calls it takes any exception for an unreachable store.
"""

import asyncio
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import compress
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import quote

import asyncpg
import msgspec

from api.snapshot.decision_lines import DURABLE, READ_AND_STORE, STORE_ON_POSTGRESQL, SqliteLines, as_json
from api.store.store import STATEMENT_SECONDS, Clock, Store, file_identity
from api.store.write_queue import WriteQueue
from models.decision.decision_log import Line
from models.decision.packed_grants import Draft, Granted, Row, number_of, put
from models.decision.snapshot import (
    AgreementFacts,
    Changes,
    ConnectionFacts,
    GroundRuleFacts,
    LocationFacts,
    SchoolFacts,
)
from models.vocabulary.instants import instant_of

#: Decisions do not wait for a connection: who makes it tries again soon.
CONNECT_SECONDS: Final = 1
EVERYTHING: Final = -1

REVISION: Final = "SELECT revision, mark FROM consent_revision WHERE id = 1"
REVISION_AND_TIME: Final = "SELECT revision, mark, clock_timestamp() FROM consent_revision WHERE id = 1"
#: The rows that changed after revision $1, by the names that `Changes` gives them.
CHANGED: Final[Mapping[str, str]] = {
    "schools": "SELECT brin, board_number, gone_at IS NOT NULL FROM schools WHERE revision > $1",
    "locations": "SELECT code, gone_at IS NOT NULL FROM locations WHERE revision > $1",
    "connections": (
        # A change of a partner that its decisions rest on gives each of its connections that revision too.
        "SELECT c.client_id, c.required_scopes, c.optional_scopes, c.purposes,"
        " c.stage = 'live' AND c.stopped_at IS NULL AND p.stopped_at IS NULL"
        " FROM connections c JOIN partners p ON p.kvk_number = c.kvk_number WHERE c.revision > $1"
    ),
    "ground_rules": (
        "SELECT ground_rule_id, client_id, rule, valid_from, valid_until, ended FROM ground_rules WHERE revision > $1"
    ),
    "agreements": (
        "SELECT agreement_id, client_id, board_number, scopes, purposes, valid_from, valid_until,"
        " registered_at_revision, ended FROM agreements WHERE revision > $1"
    ),
}
#: Where things are now, the mark of revision $1, and whether there are rows to read since, in the order of `CHANGED`.
WHAT_CHANGED: Final = (
    "SELECT revision, mark, clock_timestamp(), (SELECT mark FROM events WHERE revision = $1 LIMIT 1),"
    " EXISTS (SELECT 1 FROM schools WHERE revision > $1),"
    " EXISTS (SELECT 1 FROM locations WHERE revision > $1),"
    " EXISTS (SELECT 1 FROM connections WHERE revision > $1),"
    " EXISTS (SELECT 1 FROM ground_rules WHERE revision > $1),"
    " EXISTS (SELECT 1 FROM agreements WHERE revision > $1)"
    " FROM consent_revision WHERE id = 1"
)
#: In the order of `GrantFacts`. There may be millions: they are read and packed a batch at a time.
CHANGED_GRANTS: Final = (
    "SELECT grant_id, client_id, brin, location, scopes, purposes, status, valid_from, valid_until,"
    " suspended_until, reconfirm_by, granted_at_revision FROM grants WHERE revision > $1"
)
ROWS_AT_ONCE: Final = 2_000
STEP_SECONDS: Final = 1.0


class Reading(NamedTuple):
    """What one read of the store says: its revision, its time, and the revision's mark; whether it stored the lines."""

    revision: int
    now: datetime
    mark: str = ""
    stored: bool = False


class Drafted(NamedTuple):
    """Lines of what was decided on this revision, and what it holds from (inclusive) and until (exclusive)."""

    lines: Sequence[Line]
    revision: int
    mark: str
    since: datetime
    until: datetime


class FactSource(Protocol):
    #: Whether a draft may come with a read. Otherwise lines are stored beside the reads.
    lines_ride_along: bool

    async def connect(self) -> None:
        """Makes the connection, where there is none that works. That may take longer than a decision can wait."""

    async def read(self, within: float, draft: Drafted | None = None) -> Reading:
        """The revision and the time, by a read that starts now. Raises `TimeoutError` after about `within` seconds.

        A draft that holds as of this read is stored, with its time; its lines are on the disk when this returns.
        """

    async def store(self, lines: Sequence[Line], within: float) -> None:
        """Stores the lines; they are on the disk when it returns. Raises after about `within` seconds."""

    async def changes(self, since: int) -> Changes:
        """Every fact that changed after `since`, all seen at one instant; `EVERYTHING` for all there is."""

    async def drop(self) -> None:
        """Lets go of the connection, whatever state it is in; the next call makes another."""


def source_for(store: Store) -> FactSource:
    if store.is_sqlite:
        return SqliteFacts(str(store.url.database), store.queue, store.clock)
    # As SQLAlchemy would connect: what the address may say there, it may say here too.
    _, arguments = store.engine.dialect.create_connect_args(store.url)
    return PostgresqlFacts(arguments, store.clock)


class PostgresqlFacts:
    """The facts on PostgreSQL's primary, over one connection of the driver itself."""

    lines_ride_along = True

    def __init__(self, arguments: Mapping[str, Any], clock: Clock | None) -> None:
        self._arguments = {name: value for name, value in arguments.items() if not name.startswith("prepared_")}
        self._clock = clock
        self._connection: Any = None
        self._reading: Any = None
        self._drafting: Any = None
        self._storing: Any = None

    async def connect(self) -> None:
        if self._connection is None or self._connection.is_closed():
            await self._connect()

    async def read(self, within: float, draft: Drafted | None = None) -> Reading:
        if draft is not None:
            lines, *holds = draft
            clock = None if self._clock is None else self._clock()
            # All rows: with one alone asked for, the statement would not be over when it answers.
            [(revision, mark, now, stored)] = await self._drafting.fetch(as_json(lines), *holds, clock, timeout=within)
            return Reading(revision, now, mark, stored)
        revision, mark, now = await self._reading.fetchrow(timeout=within)
        return Reading(revision, now if self._clock is None else self._clock(), mark)

    async def store(self, lines: Sequence[Line], within: float) -> None:
        await self.connect()
        await self._storing.fetch(as_json(lines), timeout=within)

    async def changes(self, since: int) -> Changes:
        await self.connect()
        connection = self._connection
        grants = GrantsRead()
        rows: dict[str, Sequence[Any]] = {}
        # By steps: however much there is to read, a line that went dead is noticed soon. What fails is not rolled back,
        # for which such a line would have to answer: whoever called lets go of the connection.
        async with asyncio.timeout(STEP_SECONDS) as step:
            transaction = connection.transaction(isolation="repeatable_read", readonly=True)
            await transaction.start()
            revision, mark, now, mark_before, *changed = await connection.fetchrow(WHAT_CHANGED, since)
            for name in compress(CHANGED, changed):
                rows[name] = await connection.fetch(CHANGED[name], since)
                _go_on(step)
            cursor = await connection.cursor(CHANGED_GRANTS, since)
            while some := await cursor.fetch(ROWS_AT_ONCE):
                grants.add(some)
                _go_on(step)
                if len(some) < ROWS_AT_ONCE:
                    break
            # Nothing was written.
            await transaction.rollback()
        reading = Reading(revision, now if self._clock is None else self._clock(), mark)
        return changes_of(reading, mark_before or "", rows, grants)

    async def drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _connect(self) -> None:
        connection = await asyncpg.connect(
            **self._arguments,
            timeout=CONNECT_SECONDS,
            command_timeout=STATEMENT_SECONDS,
            target_session_attrs="primary",
            server_settings={"application_name": "privacy-manager-decisions"},
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.execute(DURABLE)
                self._drafting = await connection.prepare(READ_AND_STORE)
                self._storing = await connection.prepare(STORE_ON_POSTGRESQL)
                self._reading = await connection.prepare(REVISION_AND_TIME)
                # A statement that is only prepared leaves its implicit transaction open, in which none can begin.
                await self._reading.fetchrow()
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection


def _go_on(step: asyncio.Timeout) -> None:
    step.reschedule(asyncio.get_running_loop().time() + STEP_SECONDS)


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


class GrantsRead:
    """Grants as rows of `CHANGED_GRANTS`, packed as they come."""

    def __init__(self) -> None:
        self._draft: Draft = {}

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        put(self._draft, _grants(rows))

    def granted(self) -> Granted:
        return Granted(self._draft)


def changes_of(
    reading: Reading, mark_before: str, rows: Mapping[str, Iterable[Sequence[Any]]], grants: GrantsRead
) -> Changes:
    """The facts that the rows of `CHANGED` and `CHANGED_GRANTS` state, whichever driver read them."""
    return Changes(
        revision=reading.revision,
        mark=reading.mark,
        mark_before=mark_before,
        seen_at=reading.now,
        schools=tuple(SchoolFacts(brin, board, bool(gone)) for brin, board, gone in rows.get("schools", ())),
        locations=tuple(LocationFacts(code, bool(gone)) for code, gone in rows.get("locations", ())),
        connections=tuple(
            ConnectionFacts(client_id, _names(required) | _names(optional), _names(purposes), bool(live))
            for client_id, required, optional, purposes, live in rows.get("connections", ())
        ),
        ground_rules=tuple(
            GroundRuleFacts(rule_id, client_id, rule, _instant(begins), _instant_or_none(ends), bool(ended))
            for rule_id, client_id, rule, begins, ends, ended in rows.get("ground_rules", ())
        ),
        agreements=tuple(_agreement(row) for row in rows.get("agreements", ())),
        grants=grants.granted(),
    )


def _agreement(row: Sequence[Any]) -> AgreementFacts:
    agreement_id, client_id, board, scopes, purposes, begins, ends, registered, ended = row
    return AgreementFacts(
        agreement_id,
        client_id,
        board,
        _names(scopes),
        _names(purposes),
        _instant(begins),
        _instant_or_none(ends),
        registered,
        bool(ended),
    )


def _grants(rows: Iterable[Sequence[Any]]) -> Iterator[Row]:
    for row in rows:
        grant_id, client_id, brin, location, scopes, purposes, status, begins, ends, suspended, reconfirm, given = row
        if isinstance(begins, str):
            begins = instant_of(begins)
            ends, suspended = ends and instant_of(ends), suspended and instant_of(suspended)
            reconfirm = reconfirm and instant_of(reconfirm)
        terms = _terms(scopes, purposes)
        yield grant_id, client_id, _shared(brin), location, terms, status, begins, ends, suspended, reconfirm, given


@lru_cache(maxsize=65_536)
def _terms(scopes: str, purposes: str) -> int:
    return number_of(_names(scopes), _names(purposes))


@lru_cache(maxsize=65_536)
def _names(text: str) -> frozenset[str]:
    """A JSON list of names as a set; the many grants that say the same share one."""
    return frozenset(map(_shared, msgspec.json.decode(text, type=list[str])))


@lru_cache(maxsize=65_536)
def _shared(text: str) -> str:
    return text


def _instant(value: datetime | str) -> datetime:
    return instant_of(value) if isinstance(value, str) else value


def _instant_or_none(value: datetime | str | None) -> datetime | None:
    return None if value is None else _instant(value)
