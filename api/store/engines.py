"""SQLAlchemy engines for both kinds of store, and the checks of their pooled connections."""

import weakref
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import event
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from api.store.outage import StoreUnreachable
from api.store.sqlite_files import file_identity
from api.store.timing import CONNECT_SECONDS, LOCK_WAIT_SECONDS, STATEMENT_SECONDS


def is_statement_error(error: BaseException) -> bool:
    """Whether PostgreSQL rejected the statement, by SQLSTATE class: data, integrity, syntax. It is reachable."""
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    return isinstance(state, str) and state[:2] in ("22", "23", "42")


def is_standby_error(error: BaseException) -> bool:
    """Whether connecting failed because the store's address leads to a standby, and no primary."""
    import asyncpg

    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, asyncpg.TargetServerAttributeNotMatched):
        cause = cause.__cause__ or getattr(cause, "orig", None)
    return cause is not None


def outage_errors() -> tuple[type[Exception], ...]:
    """The exceptions of an outage: those of the ORM, and those of the driver that facts are read with past it."""
    import asyncpg

    return OSError, DBAPIError, StoreUnreachable, asyncpg.PostgresError, asyncpg.InterfaceError


def sqlite_engine(url: URL) -> AsyncEngine:
    path = str(url.database)
    # Never created here: a deleted file must not come back empty.
    address = url.set(database=f"file:{quote(path)}", query={**url.query, "mode": "rw", "uri": "true"})
    engine = create_async_engine(
        address,
        hide_parameters=True,
        pool_timeout=LOCK_WAIT_SECONDS,
        connect_args={"timeout": LOCK_WAIT_SECONDS},
    )

    def remember_file(connection: Any, record: Any) -> None:
        try:
            record.info["file"] = file_identity(path)
            _configure_sqlite(connection)
        except BaseException:
            # The pool forgets a connection whose preparation fails, or is cancelled: its thread would stay.
            connection.close()
            raise

    def require_same_file(_connection: Any, record: Any, _proxy: Any) -> None:
        if record.info["file"] != file_identity(path):
            raise DisconnectionError("the SQLite file was replaced")

    event.listen(engine.sync_engine, "connect", remember_file)
    event.listen(engine.sync_engine, "checkout", require_same_file)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any) -> None:
    # The driver's own transaction handling would leave reads outside of transactions; we send BEGIN ourselves.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


#: Ends server processes of connections cut here, which would otherwise hold their locks until a timeout.
_TERMINATE_CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = ANY($1) AND pid <> pg_backend_pid()"
    " AND application_name = current_setting('application_name') AND usename = current_user"
)


class PooledConnections:
    """PostgreSQL's pooled connections, any of which may hang silently once the store was unreachable.

    Pinging such a connection would hang as well: connections are judged by their generation.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._generations: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        #: Server process ids of the connections cut here.
        self._cut_pids: set[int] = set()

    def track(self, connection: Any, _record: Any) -> None:
        if self._cut_pids:
            self._terminate_cut(connection)
        self._generations[connection.driver_connection] = self.generation

    def require_current_generation(self, connection: Any, _record: Any, _proxy: Any) -> None:
        driver = connection.driver_connection
        if driver.is_closed() or self._generations.get(driver) != self.generation:
            # Terminated at once: closed by the pool, it would wait for an answer.
            self._cut(driver)
            raise DisconnectionError("the connection is of before the store was away")

    def sever(self, *, newest: bool) -> None:
        for driver, generation in list(self._generations.items()):
            if newest or generation != self.generation:
                self._cut(driver)

    def _cut(self, driver: Any) -> None:
        if not driver.is_closed():
            self._cut_pids.add(driver.get_server_pid())
            driver.terminate()

    def _terminate_cut(self, connection: Any) -> None:
        pids = set(self._cut_pids)
        cursor = connection.cursor()
        cursor.execute(_TERMINATE_CUT, (list(pids),))
        cursor.close()
        connection.rollback()
        self._cut_pids -= pids


def postgresql_engine(url: URL, connections: PooledConnections) -> AsyncEngine:
    engine = create_async_engine(
        url,
        hide_parameters=True,
        pool_timeout=LOCK_WAIT_SECONDS,
        connect_args={
            "target_session_attrs": "primary",
            "timeout": CONNECT_SECONDS,
            "command_timeout": STATEMENT_SECONDS,
            "server_settings": {
                "application_name": "privacy-manager",
                "lock_timeout": f"{LOCK_WAIT_SECONDS}s",
                "idle_in_transaction_session_timeout": f"{STATEMENT_SECONDS}s",
            },
        },
    )
    event.listen(engine.sync_engine, "connect", connections.track)
    event.listen(engine.sync_engine, "checkout", connections.require_current_generation)
    return engine


def make_file(url: URL) -> None:
    """Creates the SQLite file and its folder if missing, readable by the owner only."""
    if url.get_backend_name() == "sqlite" and url.database:
        path = Path(url.database)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
