"""What every test may ask for: a store, or a world on one. It runs on PostgreSQL.

A test in which a store is in question is marked `both_stores` and runs on SQLite too (`test_house.py` says which tests
must be); when proving (`tests/effort.py`), all do. A world has a connection that may be granted, as `World.register`
makes it, unless the test is marked `empty_world`, or `furnished` with what is to be there instead.
"""

import gc
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy.engine import make_url

from api.store.store import Store
from tests.effort import PROVE, PROVING, SEED

# What the tests of every operation share, and those of histories, in several modules: a fixture is found here.
from tests.worlds.scenes import key, ours, scenes, standing_store, theirs  # noqa: F401
from tests.worlds.stores import (  # noqa: F401
    POSTGRESQL,
    SQLITE,
    Databases,
    Furnish,
    Furniture,
    Templates,
    connection,
    databases,
    postgresql_server,
    postgresql_stores,
    schools,
    share_statements,
    sqlite_stores,
    sqlite_template,
    templates,
)
from tests.worlds.world import World, world_on

for name in [name for name in os.environ if name.startswith("PRIVACY_MANAGER_")]:
    del os.environ[name]

#: The fixtures of which a test gets one for each kind of store that it runs on, and how long each is kept.
OF_A_STORE = {"store_url": "function", "standing_store": "module", "kind_of_store": "module"}

_used: Counter[str] = Counter()
_versions: dict[str, str] = {}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test on the stores that it is to run on, unless it says that itself."""
    said = {name for mark in metafunc.definition.iter_markers("parametrize") for name in _names(mark.args[0])}
    on_both = PROVING or metafunc.definition.get_closest_marker("both_stores") is not None
    for fixture, scope in OF_A_STORE.items():
        if fixture in metafunc.fixturenames and fixture not in said:
            kinds = [SQLITE, POSTGRESQL] if on_both else [POSTGRESQL]
            metafunc.parametrize(fixture, kinds, indirect=True, scope=scope)  # type: ignore[arg-type]


def _names(parameters: str | Sequence[str]) -> list[str]:
    return parameters.split(",") if isinstance(parameters, str) else list(parameters)


def pytest_configure() -> None:
    share_statements()


def pytest_collection_finish() -> None:
    """As `serve` does: what was imported stays, and the garbage collector need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@pytest.fixture
def furnish(request: pytest.FixtureRequest) -> Furnish:
    """What brought into the test's world what is there when the test begins."""
    for mark in request.node.iter_markers():
        if mark.name == "furnished":
            return cast(Furnish, mark.kwargs["by"])
        if mark.name == "empty_world":
            return schools
    return connection


@pytest.fixture
def furniture() -> list[Furniture]:
    """What the test's world was made of, once it is made."""
    return []


@pytest.fixture
def store_url(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    templates: Templates,  # noqa: F811
    furnish: Furnish,
    furniture: list[Furniture],
) -> Iterator[str]:
    """The address of a store of this test alone, at the head of the migrations. It is empty where the test asks for no
    world.
    """
    _used[request.param] += 1
    if request.param == POSTGRESQL:
        server: Databases = request.getfixturevalue("databases")
        _versions[POSTGRESQL] = server.version
    if "world" in request.fixturenames:
        url, made = templates.furnished(request.param, furnish, tmp_path)
        furniture.append(made)
    else:
        url = templates.empty(request.param, tmp_path)
    yield url
    if request.param == POSTGRESQL:
        server.drop(str(make_url(url).database))


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    opened = Store(store_url)
    yield opened
    await opened.aclose()


@pytest.fixture
async def world(store_url: str, tmp_path: Path, furniture: list[Furniture]) -> AsyncIterator[World]:
    (found,) = furniture
    async with world_on(store_url, tmp_path, populated=True) as made:
        made.clock.now, made.found = found.now, deepcopy(found.found)
        yield made


@pytest.fixture(scope="module")
def kind_of_store(request: pytest.FixtureRequest) -> str:
    """The kind of the stores that a module makes itself."""
    kind: str = request.param
    return kind


def pytest_report_header() -> str:
    return f"proves: {PROVE or 'a tenth'} (PROVE_SEED={SEED})"


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
        names = {SQLITE: "SQLite", POSTGRESQL: f"PostgreSQL {_versions.get(POSTGRESQL, '')}"}
        used = ", ".join(f"{names[name].strip()} ({count} tests)" for name, count in sorted(_used.items()))
        terminalreporter.section("stores used")
        terminalreporter.write_line(used)
