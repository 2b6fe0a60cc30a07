"""As many empty stores as a test asks for, one after another: for histories that are made up."""

import asyncio
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.engine import make_url

Stores = Callable[[], str]


@pytest.fixture
def sqlite_stores(sqlite_template: Path, tmp_path: Path) -> Stores:
    def make() -> str:
        path = tmp_path / f"{uuid.uuid4().hex}.db"
        shutil.copy(sqlite_template, path)
        return f"sqlite+aiosqlite:///{path}"

    return make


@pytest.fixture
def postgresql_stores(postgresql_server: str, postgresql_template: str) -> Iterator[Stores]:
    made: list[str] = []

    async def administer(*statements: str) -> None:
        connection = await asyncpg.connect(postgresql_server.replace("+asyncpg", ""))
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    def make() -> str:
        name = f"history_{uuid.uuid4().hex}"
        asyncio.run(administer(f"CREATE DATABASE {name} TEMPLATE {postgresql_template}"))
        made.append(name)
        return make_url(postgresql_server).set(database=name).render_as_string(hide_password=False)

    yield make
    asyncio.run(administer(*(f"DROP DATABASE {name} WITH (FORCE)" for name in made)))
