"""What is asked about: a store with a life, and an export of one."""

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.history.history_commands import Desk, by_clock
from tests.worlds.world import World, world_on
from tests.worlds.world_evidence import keys_of


@pytest.fixture
def desk(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    by_clock(monkeypatch, world.clock)
    return Desk(world, tmp_path / "export.jsonl")


@pytest.fixture(scope="module")
def kept(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, str]:
    """An export of a grant that was revoked, a later one of the same log, and the log's key."""
    folder = tmp_path_factory.mktemp("kept")
    shutil.copy(sqlite_template, folder / "privacy-manager.db")

    async def living() -> tuple[bytes, bytes, str]:
        async with world_on(f"sqlite+aiosqlite:///{folder / 'privacy-manager.db'}", folder) as world:
            desk = Desk(world, folder / "export.jsonl")
            await world.register()
            given = await world.granted()
            world.clock.advance(hours=1)
            await world.step(given["grantId"], "revoke")
            world.clock.advance(hours=1)
            await desk.write()
            first = desk.export.read_bytes()
            await world.granted()
            await desk.write()
            return first, desk.export.read_bytes(), str(keys_of(world).verifiers[0])

    return asyncio.run(living())


@pytest.fixture
def export(kept: tuple[bytes, bytes, str], tmp_path: Path) -> Path:
    """A copy of that export, to be tampered with."""
    path = tmp_path / "export.jsonl"
    path.write_bytes(kept[0])
    return path


@pytest.fixture
def log_key(kept: tuple[bytes, bytes, str]) -> str:
    return kept[2]
