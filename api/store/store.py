"""The store: where transactions are opened, and the one place that commits.

A read sees one instant. A write first takes the lock on the row that counts the revisions, so that writes follow one
another, what they then read is current, and the order of revisions is the order of commits. SQLite or PostgreSQL.
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
from api.store.engines import PooledConnections, is_about_the_statement, postgresql_engine, sqlite_engine
from api.store.outage import StoreUnreachable
from api.store.sqlite_wal import WriteAheadLog
from api.store.timing import LOCK_WAIT_SECONDS, Clock
from api.store.unit_of_work import Write
from api.store.write_queue import WriteQueue


class Store:
    """Opens read and write transactions on the database behind `url`.

    On an SQLite file that another store of this process writes to as well, `queue` is that of the other.
    """

    def __init__(self, url: str, clock: Clock | None = None, queue: WriteQueue | None = None) -> None:
        self.url: URL = make_url(url)
        self.clock = clock
        #: Seals who acted and why. Until it is given, only the system itself can act.
        self.sealing: Sealing | None = None
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._connections = PooledConnections()
        self.engine = sqlite_engine(self.url) if self.is_sqlite else postgresql_engine(self.url, self._connections)
        #: Of who writes to a file. PostgreSQL has one for all processes.
        self.queue = queue or WriteQueue()
        self._ahead = WriteAheadLog(self.engine, self.queue) if self.is_sqlite else None

    def distrust(self) -> None:
        """The store did not answer: what is connected to it now is not used again."""
        self._connections.generation += 1

    def sever(self) -> None:
        """Cuts what is connected, and so ends what waits on it."""
        self._connections.sever(newest=True)

    async def aclose(self) -> None:
        if self._ahead is not None:
            await self._ahead.aclose()
        # Of those that may hang nobody takes leave.
        self._connections.sever(newest=False)
        await self.engine.dispose()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A session that sees one instant and changes nothing. Raises `StoreUnreachable`."""
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
        """A transaction that holds the next revision. It commits when it recorded an event, and else changes nothing.

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
                if write.forgets and self._ahead is not None:
                    await self._ahead.empty()

    async def deleting(self, statement: Callable[[datetime], Executable]) -> int:
        """Deletes what this statement says as of now, and says how many rows. It is no change, and takes no revision.

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
        """A transaction that notes what is no change: it takes no revision, and no lock but on the rows that it writes.

        On SQLite its first statement must be one that writes: what it read before may be old by then. Raises
        `StoreUnreachable`.
        """
        with _unreachable_when_down():
            async with self._in_turn(), AsyncSession(self.engine, expire_on_commit=False) as session:
                session.info[SEALING] = self.sealing
                if not self.is_sqlite:
                    # Who stalls with a row in hand would hold up the write that needs it, and with it all others.
                    await (await session.connection()).execute(_STALLS_BRIEFLY)
                yield session
                await _commit(session)

    @asynccontextmanager
    async def _in_turn(self) -> AsyncIterator[None]:
        """On SQLite one writes at a time. Raises `StoreUnreachable` when it is not one's turn in time."""
        async with AsyncExitStack() as held:
            if self.is_sqlite:
                try:
                    await held.enter_async_context(self.queue.turn(LOCK_WAIT_SECONDS))
                except TimeoutError:
                    raise StoreUnreachable("others write") from None
            yield

    async def leave_nothing_behind(self) -> None:
        """What was written before a row was destroyed goes from SQLite's write-ahead log too: now, or in the background
        as soon as nobody reads what was there before. PostgreSQL recycles its own.
        """
        if self._ahead is not None:
            async with self._in_turn():
                await self._ahead.empty()

    async def now(self, session: AsyncSession) -> datetime:
        """The store's time, as the transaction of `session` sees it."""
        if self.clock is not None or self.is_sqlite:
            return self._moment(None)
        connection = await session.connection()
        return self._moment((await connection.execute(text("SELECT clock_timestamp()"))).scalar_one())

    async def _begin(self, session: AsyncSession) -> Write:
        connection = await session.connection()
        taken = await connection.execute(_TAKE_ON_SQLITE if self.is_sqlite else _TAKE)
        revision, events, now, peaks, erasures, *anybody = taken.one()
        if self.sealing is not None:
            self.sealing.hold_until(erasures)
        return Write(session, revision, self._moment(now), events, bytes(peaks), tells=all(anybody))

    def _moment(self, said: datetime | None) -> datetime:
        """The time that the store said, as the clock behind it has it."""
        if self.clock is not None:
            return self.clock()
        return datetime.now(UTC) if said is None else said.astimezone(UTC)

    async def adopt(self, origin: str, sealed_with: str) -> tuple[str, str]:
        """Notes whose keys the store's evidence is kept with, if that was not noted yet; says whose it is now."""
        with _unreachable_when_down():
            async with self._in_turn(), AsyncSession(self.engine) as session:
                connection = await session.connection()
                found = (await connection.execute(_ADOPTED)).one()
                if not found.origin:
                    await connection.execute(_ADOPT, {"origin": origin, "sealed_with": sealed_with})
                    found = (await connection.execute(_ADOPTED)).one()
                    await _commit(session)
                return found.origin, found.sealed_with


_STALLS_BRIEFLY: Final = text("SET LOCAL idle_in_transaction_session_timeout = '2s'")
#: For a row that changes whenever it is let go, PostgreSQL keeps no order; for this lock it does, whatever the process.
#: It has a number that nobody else in a database comes upon. The time is told once both are held: nothing that was
#: written before it is later.
_TAKE: Final = text(
    "UPDATE consent_revision SET revision = revision + 1"
    " WHERE id = (SELECT 1 FROM pg_advisory_xact_lock(7203911530442871556))"
    " RETURNING revision, events, clock_timestamp(), peaks, erasures"
)
_TAKE_ON_SQLITE: Final = text(
    "UPDATE consent_revision SET revision = revision + 1 WHERE id = 1"
    # The last tells whether there is anybody to tell: where there is nobody, a write is a statement shorter.
    " RETURNING revision, events, NULL, peaks, erasures, EXISTS (SELECT 1 FROM webhook_subscriptions)"
)


_ADOPT: Final = text(
    "UPDATE consent_revision SET origin = :origin, sealed_with = :sealed_with WHERE id = 1 AND origin = ''"
)
_ADOPTED: Final = text("SELECT origin, sealed_with FROM consent_revision WHERE id = 1")


async def _commit(session: AsyncSession) -> None:
    connection = await session.connection()
    try:
        await session.commit()
    except BaseException:
        # SQLAlchemy takes the transaction for ended. In SQLite it is still open: its lock would outlive the request.
        await connection.invalidate()
        raise


@contextmanager
def _unreachable_when_down() -> Iterator[None]:
    try:
        yield
    except (IntegrityError, DataError, ProgrammingError):
        raise
    except (DBAPIError, DisconnectionError, PoolTimeout, OSError) as error:
        if is_about_the_statement(error):
            raise
        # The driver's own words: SQLAlchemy's hold the statement.
        raise StoreUnreachable(str(getattr(error, "orig", None) or error)) from error
