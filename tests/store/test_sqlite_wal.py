"""What was erased leaves SQLite's write-ahead log once nobody reads what was there before; no erasure waits for it."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from api.store import sqlite_wal
from tests.worlds.world import World, world_on
from tests.worlds.world_evidence import entries_of, where_it_is

pytestmark = pytest.mark.both_stores

PATIENCE: Final = 30.0


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    path = tmp_path / "privacy-manager.db"
    path.write_bytes(sqlite_template.read_bytes())
    return f"sqlite+aiosqlite:///{path}"


@contextmanager
def somebody(folder: Path) -> Iterator[Callable[[], None]]:
    """Somebody else has the store open throughout, and reads from one call of what is yielded to the next."""
    reader = sqlite3.connect(folder / "privacy-manager.db", isolation_level=None)

    def turn() -> None:
        if reader.in_transaction:
            reader.execute("COMMIT")
        else:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM events").fetchone()

    try:
        yield turn
    finally:
        reader.close()


async def revoked(world: World) -> tuple[int, bytes]:
    """A grant is revoked with a reason: the number of the entry, and the reason's bytes as they are kept."""
    await world.register()
    grant_id = (await world.granted())["grantId"]
    await world.step(grant_id, "revoke", {"reason": "Verzonnen: een ouder belde."})
    entry = (await entries_of(world))[-1]
    with sqlite3.connect(world.folder / "privacy-manager.db") as there:
        found = there.execute("SELECT text FROM sealed_texts WHERE commitment = ?", (entry["reason"],)).fetchone()
    there.close()
    return entry["number"], bytes(found[0])


async def erase(world: World, number: int) -> None:
    """Erases the reason, for which nobody who reads is waited."""
    began = time.monotonic()
    answer = await world.operate("POST", f"/v1/log/entries/{number}/reason/_erase")
    assert answer.status_code == 200
    assert time.monotonic() - began < 3, "it waited for who reads"


async def until_nowhere(world: World, wanted: bytes) -> None:
    async with asyncio.timeout(PATIENCE):
        while await where_it_is(world, wanted):  # noqa: ASYNC110 - files offer nothing to wait for
            await asyncio.sleep(0.05)


async def test_what_was_erased_while_somebody_read_goes_when_they_are_done(sqlite_url: str, tmp_path: Path) -> None:
    async with world_on(sqlite_url, tmp_path) as world:
        number, kept = await revoked(world)
        with somebody(tmp_path) as begins_or_ends_to_read:
            begins_or_ends_to_read()
            await erase(world, number)
            # Others write meanwhile, and what they write is not held up either.
            await world.granted()
            assert await where_it_is(world, kept)
        await until_nowhere(world, kept)


async def test_without_readers_it_is_gone_when_the_answer_comes(sqlite_url: str, tmp_path: Path) -> None:
    async with world_on(sqlite_url, tmp_path) as world:
        number, kept = await revoked(world)
        assert await where_it_is(world, kept)
        await erase(world, number)
        assert await where_it_is(world, kept) == []


async def test_what_a_process_left_there_the_next_one_does(sqlite_url: str, tmp_path: Path) -> None:
    with somebody(tmp_path) as begins_or_ends_to_read:
        async with world_on(sqlite_url, tmp_path) as world:
            number, kept = await revoked(world)
            begins_or_ends_to_read()
            await erase(world, number)
            assert await where_it_is(world, kept)
        async with world_on(sqlite_url, tmp_path, populated=True) as world:
            assert await where_it_is(world, kept)
            begins_or_ends_to_read()
            await until_nowhere(world, kept)


async def test_that_it_lasts_is_said(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sqlite_wal, "LASTS_SECONDS", 0.01)
    async with world_on(sqlite_url, tmp_path) as world:
        number, kept = await revoked(world)
        with somebody(tmp_path) as begins_or_ends_to_read:
            begins_or_ends_to_read()
            await erase(world, number)
            async with asyncio.timeout(PATIENCE):
                while "write-ahead log" not in caplog.text:  # noqa: ASYNC110 - as it stands
                    await asyncio.sleep(0.02)
        await until_nowhere(world, kept)
