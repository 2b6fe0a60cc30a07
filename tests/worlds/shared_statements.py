"""Each test has stores of its own, and all stores of a process share the statements that SQLAlchemy made for them.

A process that serves has one engine for all its life. A test has a new one, and would spend most of its time on making
SQL of statements that the test before it had made already.
"""

from typing import Any

from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import LRUCache

from api.store import engines

#: More than all operations together have.
MOST_STATEMENTS = 5_000


def share_statements() -> None:
    """From now on, engines of stores find what engines before them made. They differ in their address alone."""
    made: dict[str, LRUCache[Any, Any]] = {}

    def sharing(*arguments: Any, **options: Any) -> AsyncEngine:
        engine = create_async_engine(*arguments, **options)
        cached = made.setdefault(engine.dialect.name, LRUCache(MOST_STATEMENTS))
        engine.sync_engine._compiled_cache = cached
        return engine

    engines.create_async_engine = sharing
    for dialect in (PGDialect_asyncpg, SQLiteDialect_aiosqlite):
        # A statement is found by its dialect, too.
        dialect.__eq__ = _is_alike  # type: ignore[method-assign]
        dialect.__hash__ = _hash  # type: ignore[assignment]


def _is_alike(one: object, other: object) -> bool:
    return type(one) is type(other)


def _hash(dialect: object) -> int:
    return hash(type(dialect))
