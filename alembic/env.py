"""Runs the migrations on the store that the caller names, else on the store of the settings."""

import asyncio

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from alembic import context
from models.tables import METADATA


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def connect_and_run(url: str) -> None:
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()


def configured_url() -> str:
    # Only when alembic is called by hand: a caller of the project names the store, and no environment matters.
    from api.settings import Settings

    return Settings().store_url


asyncio.run(connect_and_run(context.config.attributes.get("url") or configured_url()))
