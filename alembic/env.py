"""Runs the migrations on the store that the caller names, else on the store of the settings: all of them, or none."""

import asyncio

from sqlalchemy import Connection, event, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from alembic import context
from models.tables import METADATA

#: Whoever migrates a PostgreSQL holds this advisory lock, so that processes that start at once follow one another.
LOCK = 0x70726976


def run(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def connect_and_run(url: str) -> None:
    engine = create_async_engine(url, poolclass=NullPool)
    if engine.dialect.name == "sqlite":
        # The driver's own idea of transactions leaves the schema out of them, and the lock until the first change.
        event.listen(engine.sync_engine, "connect", lambda raw, _: setattr(raw, "isolation_level", None))
        event.listen(engine.sync_engine, "begin", lambda begun: begun.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        async with engine.begin() as connection:
            await connection.run_sync(run)
    finally:
        await engine.dispose()


def configured_url() -> str:
    # Only when alembic is called by hand: a caller of the project names the store, and no environment matters.
    from api.settings import Settings

    return Settings().store_url


asyncio.run(connect_and_run(context.config.attributes.get("url") or configured_url()))
