"""Fills stores with a world in seconds, past the ORM, in the service's own format."""

import asyncio
import sqlite3
from datetime import UTC, date, datetime
from typing import Any

import asyncpg
from sqlalchemy.engine import make_url

from api.store.migrations import migrate
from bench.world import MARK, World


def fill(url: str, world: World | None) -> None:
    """Migrates the store at `url`, and fills it with `world`: one revision, one event."""
    migrate(url)
    if world is None:
        return
    parts = make_url(url)
    if parts.get_backend_name() == "sqlite":
        _fill_sqlite(str(parts.database), world)
    else:
        asyncio.run(_fill_postgresql(driver_url(url), world))


def driver_url(url: str) -> str:
    """A PostgreSQL URL without SQLAlchemy's name of the driver."""
    return url.replace("postgresql+asyncpg://", "postgresql://")


_COUNT_ONE = (
    f"UPDATE consent_revision SET revision = 1, events = 1, mark = '{MARK}',"
    " peaks = (SELECT leaf FROM events WHERE number = 1) WHERE id = 1"
)


async def _fill_postgresql(url: str, world: World) -> None:
    connection = await asyncpg.connect(url)
    try:
        # Without checks of foreign keys, since the rows are right; indexes are built afterwards, which is faster.
        await connection.execute("SET session_replication_role = replica; SET maintenance_work_mem = '512MB'")
        found = await connection.fetch(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'grants' AND indexname <> 'grants_pkey'"
        )
        for index, _ in found:
            await connection.execute(f'DROP INDEX "{index}"')
        for table in world.tables(datetime.now(UTC)):
            await connection.copy_records_to_table(table.name, records=table.rows, columns=table.columns, timeout=1800)
        for _, definition in found:
            await connection.execute(definition, timeout=1800)
        await connection.execute(_COUNT_ONE)
        await vacuum_and_checkpoint(connection)
    finally:
        await connection.close()


async def vacuum_and_checkpoint(connection: asyncpg.Connection) -> None:
    """Vacuums and checkpoints now, so that neither happens during a measurement."""
    await connection.execute("VACUUM ANALYZE", timeout=1800)
    await connection.execute("CHECKPOINT", timeout=1800)


def _fill_sqlite(path: str, world: World) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        found = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'grants' AND sql IS NOT NULL"
        ).fetchall()
        connection.execute("BEGIN")
        for index, _ in found:
            connection.execute(f'DROP INDEX "{index}"')
        for table in world.tables(datetime.now(UTC)):
            marks = ", ".join("?" * len(table.columns))
            insert = f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({marks})"
            connection.executemany(insert, (_as_sqlite_keeps(row) for row in table.rows))
        for _, definition in found:
            connection.execute(definition)
        connection.execute(_COUNT_ONE)
        connection.execute("COMMIT")
        connection.execute("ANALYZE")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def _as_sqlite_keeps(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_kept(value) if isinstance(value, date) else value for value in row)


def _kept(value: date) -> str:
    if isinstance(value, datetime):
        # The format `SQLITE_INSTANT` of models/vocabulary/instants.py, in a third of the time.
        return f"{value.isoformat(timespec='microseconds')[:26]}Z"
    return value.isoformat()
