"""Writes into the log as nobody may: with the triggers away that forbid it, as who owns the database could."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from api.store.store import Store

_TRIGGERS = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN ('events', 'log_nodes')"


@asynccontextmanager
async def tampering(store: Store) -> AsyncIterator[AsyncConnection]:
    """A transaction in which the log can be changed; afterwards what forbids it is back."""
    async with store.engine.begin() as connection:
        triggers = (await connection.execute(text(_TRIGGERS))).all() if store.is_sqlite else []
        for name, _ in triggers:
            await connection.execute(text(f"DROP TRIGGER {name}"))
        if not store.is_sqlite:
            await connection.execute(text("SET LOCAL session_replication_role = replica"))
        yield connection
        for _, made in triggers:
            await connection.exec_driver_sql(made)
