"""SQLAlchemy's engines on both kinds of store, and which of their connections can still be trusted."""

import weakref
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from api.store.sqlite_files import file_identity
from api.store.timing import CONNECT_SECONDS, LOCK_WAIT_SECONDS, STATEMENT_SECONDS


def is_about_the_statement(error: BaseException) -> bool:
    """Whether PostgreSQL refused what it was told, by its SQLSTATE: data, integrity, no such thing. It is not away."""
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    return isinstance(state, str) and state[:2] in ("22", "23", "42")


def is_of_a_standby(error: BaseException) -> bool:
    """Whether a connection failed because there is a standby at the store's address, and no primary."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, asyncpg.TargetServerAttributeNotMatched):
        seen = seen.__cause__ or getattr(seen, "orig", None)
    return seen is not None


def sqlite_engine(url: URL) -> AsyncEngine:
    path = str(url.database)
    # Never made here: a file that is gone must not come back empty.
    address = url.set(database=f"file:{quote(path)}", query={**url.query, "mode": "rw", "uri": "true"})
    engine = create_async_engine(
        address,
        hide_parameters=True,
        pool_timeout=LOCK_WAIT_SECONDS,
        connect_args={"timeout": LOCK_WAIT_SECONDS},
    )

    def remember_file(connection: Any, record: Any) -> None:
        record.info["file"] = file_identity(path)
        _configure_sqlite(connection)

    def require_same_file(_connection: Any, record: Any, _proxy: Any) -> None:
        if record.info["file"] != file_identity(path):
            raise DisconnectionError("the SQLite file was replaced")

    event.listen(engine.sync_engine, "connect", remember_file)
    event.listen(engine.sync_engine, "checkout", require_same_file)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any) -> None:
    # The driver's own idea of transactions leaves reads outside of them; BEGIN is ours to send.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


#: Ends what was cut here and may not know it there, where it would hold its locks until its time is up.
_END_LEFT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = ANY($1) AND pid <> pg_backend_pid()"
    " AND application_name = current_setting('application_name') AND usename = current_user"
)


class PooledConnections:
    """PostgreSQL's connections of one pool, each of which may hang without a word since the store was last away.

    To ask such a connection whether it still works would hang as well: it is judged by when it was made.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._made: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        #: The processes of PostgreSQL that served what was cut here.
        self._left: set[int] = set()

    def note(self, connection: Any, _record: Any) -> None:
        if self._left:
            self._end_left(connection)
        self._made[connection.driver_connection] = self.generation

    def require_sound(self, connection: Any, _record: Any, _proxy: Any) -> None:
        driver = connection.driver_connection
        if driver.is_closed() or self._made.get(driver) != self.generation:
            # At once: the pool would take leave of it, and wait for an answer.
            self._cut(driver)
            raise DisconnectionError("the connection is of before the store was away")

    def sever(self, *, newest: bool) -> None:
        for driver, generation in list(self._made.items()):
            if newest or generation != self.generation:
                self._cut(driver)

    def _cut(self, driver: Any) -> None:
        if not driver.is_closed():
            self._left.add(driver.get_server_pid())
            driver.terminate()

    def _end_left(self, connection: Any) -> None:
        left = set(self._left)
        cursor = connection.cursor()
        cursor.execute(_END_LEFT, (list(left),))
        cursor.close()
        connection.rollback()
        self._left -= left


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
    event.listen(engine.sync_engine, "connect", connections.note)
    event.listen(engine.sync_engine, "checkout", connections.require_sound)
    return engine


def make_file(url: URL) -> None:
    """Makes the SQLite file and its folder where there are none, for nobody else to read."""
    if url.get_backend_name() == "sqlite" and url.database:
        path = Path(url.database)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
