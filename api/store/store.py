"""The store: opens transactions, and is the only place that commits.

A read sees one instant. A write first locks the row that counts revisions, so that writes are serialised, read current
data, and commit in the order of their revisions. SQLite or PostgreSQL.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Executable, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DataError, DBAPIError, DisconnectionError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlmodel.ext.asyncio.session import AsyncSession

from api.security.sealing import SEALING, Sealing
from api.store.engines import PooledConnections, is_statement_error, postgresql_engine, sqlite_engine
from api.store.outage import StoreUnreachable
from api.store.sqlite_wal import WriteAheadLog
from api.store.timing import LOCK_WAIT_SECONDS, Clock
from api.store.unit_of_work import Write
from api.store.write_queue import WriteQueue


class Store:
    """Opens read and write transactions on the database at `url`.

    Stores of one process on the same SQLite file must share one `queue`.
    """

    def __init__(self, url: str, clock: Clock | None = None, queue: WriteQueue | None = None) -> None:
        self.url: URL = make_url(url)
        self.clock = clock
        #: Seals actors and reasons. Without it, only the system itself can act.
        self.sealing: Sealing | None = None
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._connections = PooledConnections()
        self.engine = sqlite_engine(self.url) if self.is_sqlite else postgresql_engine(self.url, self._connections)
        #: Queue of writers to a file. PostgreSQL has one for all processes.
        self.queue = queue or WriteQueue()
        self._write_ahead_log = WriteAheadLog(self.engine, self.queue) if self.is_sqlite else None

    def invalidate_connections(self) -> None:
        """Called when the store did not answer: present connections are not reused."""
        self._connections.generation += 1

    def sever(self) -> None:
        """Terminates all connections, which also ends what waits on them."""
        self._connections.sever(newest=True)

    async def aclose(self) -> None:
        if self._write_ahead_log is not None:
            await self._write_ahead_log.aclose()
        # Connections that may hang are terminated without waiting for their close.
        self._connections.sever(newest=False)
        await self.engine.dispose()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A read-only session that sees one instant. Raises `StoreUnreachable`."""
        with _unreachable_when_down():
            async with AsyncSession(self.engine, expire_on_commit=False, autoflush=False) as session:
                session.info[SEALING] = self.sealing
                if not self.is_sqlite:
                    await session.connection(
                        execution_options={"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
                    )
                yield session

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Write]:
        """A transaction with the next revision. It commits if it recorded an event, and else changes nothing.

        Raises `StoreUnreachable`.
        """
        with _unreachable_when_down():
            async with self._in_turn():
                async with AsyncSession(self.engine, expire_on_commit=False) as session:
                    session.info[SEALING] = self.sealing
                    write = await self._begin(session)
                    yield write
                    if write.events:
                        await write.append()
                        await _commit(session)
                if write.destroys and self._write_ahead_log is not None:
                    await self._write_ahead_log.truncate()

    async def deleting(self, statement: Callable[[datetime], Executable]) -> int:
        """Deletes rows by a statement as of now; returns their number. Takes no revision, since it is no change.

        Raises `StoreUnreachable`.
        """
        with _unreachable_when_down():
            async with self._in_turn(), AsyncSession(self.engine) as session:
                connection = await session.connection()
                deleted = await connection.execute(statement(await self.now(session)))
                await _commit(session)
                return deleted.rowcount

    @asynccontextmanager
    async def marking(self) -> AsyncIterator[AsyncSession]:
        """A transaction for bookkeeping, which is no change: it takes no revision, and locks only the rows it writes.

        On SQLite its first statement must be a write: data read before could be outdated by then. Raises
        `StoreUnreachable`.
        """
        with _unreachable_when_down():
            async with self._in_turn(), AsyncSession(self.engine, expire_on_commit=False) as session:
                session.info[SEALING] = self.sealing
                if not self.is_sqlite:
                    # A stalled transaction with a row lock would block the write that needs it, and all others with it.
                    await (await session.connection()).execute(_SHORT_IDLE_TIMEOUT)
                yield session
                await _commit(session)

    @asynccontextmanager
    async def _in_turn(self) -> AsyncIterator[None]:
        """Serialises writers on SQLite. Raises `StoreUnreachable` when its turn does not come in time."""
        async with AsyncExitStack() as stack:
            if self.is_sqlite:
                try:
                    await stack.enter_async_context(self.queue.turn(LOCK_WAIT_SECONDS))
                except TimeoutError:
                    raise StoreUnreachable("others write") from None
            yield

    async def truncate_write_ahead_log(self) -> None:
        """Truncates SQLite's write-ahead log after an erasure: now, or in the background once readers allow it.

        PostgreSQL recycles its own.
        """
        if self._write_ahead_log is not None:
            async with self._in_turn():
                await self._write_ahead_log.truncate()

    async def now(self, session: AsyncSession) -> datetime:
        """The store's time, as the transaction of `session` sees it."""
        if self.clock is not None or self.is_sqlite:
            return self._moment(None)
        connection = await session.connection()
        return self._moment((await connection.execute(text("SELECT clock_timestamp()"))).scalar_one())

    async def _begin(self, session: AsyncSession) -> Write:
        connection = await session.connection()
        row = await connection.execute(_LOCK_ON_SQLITE if self.is_sqlite else _LOCK)
        revision, events, now, peaks, erasures, *subscribed = row.one()
        if self.sealing is not None:
            self.sealing.hold_until(erasures)
        return Write(session, revision, self._moment(now), events, bytes(peaks), has_subscriptions=all(subscribed))

    def _moment(self, store_time: datetime | None) -> datetime:
        """The time that the store returned, or that of the injected clock."""
        if self.clock is not None:
            return self.clock()
        return datetime.now(UTC) if store_time is None else store_time.astimezone(UTC)

    async def adopt(self, origin: str, sealed_with: str) -> tuple[str, str]:
        """Records which keys the store's evidence is kept with, unless recorded before. Returns those on record."""
        with _unreachable_when_down():
            async with self._in_turn(), AsyncSession(self.engine) as session:
                connection = await session.connection()
                keys = (await connection.execute(_READ_KEYS)).one()
                if not keys.origin:
                    await connection.execute(_RECORD_KEYS, {"origin": origin, "sealed_with": sealed_with})
                    keys = (await connection.execute(_READ_KEYS)).one()
                    await _commit(session)
                return keys.origin, keys.sealed_with


_SHORT_IDLE_TIMEOUT: Final = text("SET LOCAL idle_in_transaction_session_timeout = '2s'")
#: PostgreSQL grants row locks in no order, but advisory locks in the order of requests, whatever the process. The
#: number is random, to collide with no other use. The time is read once both locks are held, so that it is later than
#: that of all earlier writes.
_LOCK: Final = text(
    "UPDATE consent_revision SET revision = revision + 1"
    " WHERE id = (SELECT 1 FROM pg_advisory_xact_lock(7203911530442871556))"
    " RETURNING revision, events, clock_timestamp(), peaks, erasures"
)
_LOCK_ON_SQLITE: Final = text(
    "UPDATE consent_revision SET revision = revision + 1 WHERE id = 1"
    # The last column says whether there are subscriptions: without any, a write needs a statement less.
    " RETURNING revision, events, NULL, peaks, erasures, EXISTS (SELECT 1 FROM webhook_subscriptions)"
)


_RECORD_KEYS: Final = text(
    "UPDATE consent_revision SET origin = :origin, sealed_with = :sealed_with WHERE id = 1 AND origin = ''"
)
_READ_KEYS: Final = text("SELECT origin, sealed_with FROM consent_revision WHERE id = 1")


async def _commit(session: AsyncSession) -> None:
    connection = await session.connection()
    try:
        await session.commit()
    except BaseException:
        # SQLAlchemy takes the transaction for ended. In SQLite it is still open and would keep its lock.
        await connection.invalidate()
        raise


@contextmanager
def _unreachable_when_down() -> Iterator[None]:
    try:
        yield
    except (IntegrityError, DataError, ProgrammingError):
        raise
    except (DBAPIError, DisconnectionError, PoolTimeout, OSError) as error:
        if is_statement_error(error):
            raise
        # The driver's message only: SQLAlchemy's contains the statement.
        raise StoreUnreachable(str(getattr(error, "orig", None) or error)) from error
