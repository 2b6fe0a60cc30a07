"""A connection to a file that cannot be used, or that nobody waits for any more, is closed, and its thread ends."""

import asyncio
import contextlib
import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from api.store.store import Store


async def settled_threads() -> int:
    """How many threads there are, once those that end have ended."""
    for _ in range(50):
        await asyncio.sleep(0.01)
    return threading.active_count()


async def test_a_file_that_is_no_store_leaves_no_connection_behind(tmp_path: Path) -> None:
    (tmp_path / "none.db").write_bytes(b"This is no database, but long enough to be looked at as one." * 100)
    store = Store(f"sqlite+aiosqlite:///{tmp_path / 'none.db'}")
    before = await settled_threads()
    for _ in range(5):
        with pytest.raises(Exception, match="not a database"):
            async with store.reading() as session:
                await (await session.connection()).execute(text("SELECT 1"))
    assert await settled_threads() == before
    await store.aclose()


async def test_who_no_longer_waits_for_a_connection_leaves_none_behind(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    store = Store(f"sqlite+aiosqlite:///{tmp_path / 'empty.db'}")

    async def read() -> None:
        async with store.reading() as session:
            await (await session.connection()).execute(text("SELECT 1"))

    before = await settled_threads()
    for number in range(60):
        reading = asyncio.create_task(read())
        for _ in range(number % 30):
            await asyncio.sleep(0)
        await asyncio.sleep(0.0002 * (number % 5))
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
    await store.aclose()
    assert await settled_threads() == before
