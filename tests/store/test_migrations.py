"""The schema's history: one line, equal to the models, up and down with data, and never served half-way."""

import asyncio
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, Table, create_engine, func, insert, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from alembic import command
from api.evidence.backup_recovery import confirm, keep_checkpoint
from api.evidence.verification import log_faults
from api.security.sealing import named
from api.settings import Mode, Settings
from api.startup import NotReadyToServe, require_ready
from api.store.engines import make_file
from api.store.migrations import configuration, head, migrate
from api.store.store import Store
from models.consents.partners import Stage
from models.decision.kept_rules import GroundRuleName
from models.log.events import Event
from models.log.log_entries import leaf_of
from models.log.verification import Audit
from models.tables import METADATA, TABLES
from tests.cli.commands import run_script
from tests.effort import PROVING, share
from tests.worlds.stores import POSTGRESQL, Databases
from tests.worlds.world import OFFERED, PURPOSE, START, World, world_on
from tests.worlds.world_evidence import entries_of, keys_in, keys_of

pytestmark = pytest.mark.both_stores

#: Processes that migrate one store at once.
AT_ONCE = share(3, 2)
ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ScriptDirectory.from_config(configuration(""))
HISTORY = [script.revision for script in reversed(list(SCRIPTS.walk_revisions()))]

A_VALUE: dict[type, Any] = {
    bool: True,
    int: 1,
    float: 1.0,
    str: "1",
    bytes: b"1",
    date: date(2026, 8, 1),
    datetime: START,
    object: ["1"],
    dict: ["1"],
    list: ["1"],
}


def on(store_url: str, work: Callable[[Connection], Any]) -> Any:
    """Does this in one transaction on the store."""
    url = make_url(store_url)
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url.set(drivername="sqlite"), poolclass=NullPool)
        with engine.begin() as connection:
            return work(connection)

    async def do() -> Any:
        engine = create_async_engine(url, poolclass=NullPool)
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(work)
        finally:
            await engine.dispose()

    return asyncio.run(do())


def fill(connection: Connection) -> None:
    """Puts a row into every table that has none, whatever the schema: all keys have one value, so all of them meet."""
    for table in _tables(connection):
        if not connection.execute(select(func.count()).select_from(table)).scalar_one():
            row = {column.name: A_VALUE[column.type.python_type] for column in table.columns}
            connection.execute(insert(table).values(row))


def counted(connection: Connection) -> dict[str, int]:
    """How many rows are in each table."""
    return {
        name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one()
        for name in inspect(connection).get_table_names()
        if name != "alembic_version"
    }


@dataclass
class Revisions:
    """A store at each revision, made once from the one before it, and copied for each test."""

    folder: Path
    databases: Databases | None
    made: dict[str | None, str] = field(default_factory=dict)
    copies: list[str] = field(default_factory=list)

    def at(self, revision: str | None) -> str:
        """The address of a store of a test's own, at this revision; at none, it has no table."""
        self.copies.append(self._copy(self._template(revision)))
        return self.copies[-1]

    def _template(self, revision: str | None) -> str:
        if revision not in self.made:
            url = self._copy(self._template(previous_of(revision))) if revision is not None else self._empty()
            if revision is not None:
                command.upgrade(configuration(url), revision)
            self.made[revision] = url
        return self.made[revision]

    def _copy(self, url: str) -> str:
        database, copy = str(make_url(url).database), f"revision_{uuid.uuid4().hex}"
        if self.databases is not None:
            return self.databases.make(copy, database)
        return f"sqlite+aiosqlite:///{shutil.copy(database, self.folder / copy)}"

    def _empty(self) -> str:
        if self.databases is not None:
            return self.databases.make(f"revision_{uuid.uuid4().hex}")
        url = f"sqlite+aiosqlite:///{self.folder / 'base'}"
        make_file(make_url(url))
        return url


@pytest.fixture(scope="module")
def revisions(
    request: pytest.FixtureRequest, kind_of_store: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Revisions]:
    databases = request.getfixturevalue("databases") if kind_of_store == POSTGRESQL else None
    made = Revisions(tmp_path_factory.mktemp("revisions"), databases)
    yield made
    if databases is not None:
        for url in [*made.copies, *made.made.values()]:
            databases.drop(str(make_url(url).database))


def previous_of(revision: str) -> str | None:
    previous = SCRIPTS.get_revision(revision).down_revision
    assert previous is None or isinstance(previous, str)
    return previous


def _tables(connection: Connection) -> list[Table]:
    reflected = MetaData()
    reflected.reflect(connection)
    return [table for table in reflected.sorted_tables if table.name != "alembic_version"]


def described(connection: Connection) -> dict[str, Any]:
    """The schema as the store itself describes it."""
    inspector = inspect(connection)
    columns, primary_keys = inspector.get_multi_columns(), inspector.get_multi_pk_constraint()
    foreign_keys, indexes = inspector.get_multi_foreign_keys(), inspector.get_multi_indexes()
    checks, uniques = inspector.get_multi_check_constraints(), inspector.get_multi_unique_constraints()
    return {
        table[1]: {
            "columns": sorted(
                (column["name"], str(column["type"]), column["nullable"], column.get("default"))
                for column in columns[table]
            ),
            "primary key": primary_keys[table]["constrained_columns"],
            "foreign keys": sorted(
                (key["constrained_columns"], key["referred_table"], key["referred_columns"], str(key["options"]))
                for key in foreign_keys[table]
            ),
            "indexes": sorted(
                (index["name"], index["column_names"], index["unique"], _options(index)) for index in indexes[table]
            ),
            "checks": sorted(str(check["sqltext"]) for check in checks[table]),
            "unique": sorted(unique["column_names"] for unique in uniques[table]),
        }
        for table in columns
        if table[1] != "alembic_version"
    }


def _options(index: Mapping[str, Any]) -> list[str]:
    """What an index has that only this kind of store knows: which rows it is for."""
    return sorted(f"{name}: {value}" for name, value in index.get("dialect_options", {}).items())


def test_the_history_has_one_head() -> None:
    assert SCRIPTS.get_heads() == [head()] == HISTORY[-1:]


def test_models_and_migrations_do_not_drift(store_url: str) -> None:
    command.check(configuration(store_url))


def test_the_migrations_make_just_what_the_models_say(revisions: Revisions) -> None:
    made_by_models = revisions.at(None)
    on(made_by_models, METADATA.create_all)
    assert on(made_by_models, described) == on(revisions.at(head()), described)


async def test_the_check_for_drift_sees_a_column_that_no_migration_makes(store_url: str) -> None:
    await asyncio.to_thread(on, store_url, lambda it: it.execute(text("ALTER TABLE boards ADD COLUMN colour TEXT")))
    with pytest.raises(Exception, match="colour"):
        await asyncio.to_thread(command.check, configuration(store_url))


async def test_the_schema_goes_down_with_data_in_every_table_and_up_again_and_works(
    store_url: str, tmp_path: Path
) -> None:
    await asyncio.to_thread(on, store_url, fill)
    before = await asyncio.to_thread(on, store_url, counted)
    assert set(before) == {str(table.__tablename__) for table in TABLES}
    assert all(before.values())
    await asyncio.to_thread(migrate, store_url, "base")
    assert await asyncio.to_thread(on, store_url, counted) == {}
    await asyncio.to_thread(migrate, store_url)
    after = await asyncio.to_thread(on, store_url, counted)
    assert after == {name: int(name == "consent_revision") for name in before}
    async with world_on(store_url, tmp_path) as world:
        await world.register()
        await world.granted()
        assert await world.reason() == "granted"


async def test_a_connection_that_was_permitted_before_there_was_a_road_stays_so(store_url: str, tmp_path: Path) -> None:
    async with world_on(store_url, tmp_path) as world:
        await world.register()
        given = await world.granted()
        await _keep(world)
    await asyncio.to_thread(migrate, store_url, "0001")
    await asyncio.to_thread(migrate, store_url)
    await _confirm(store_url, tmp_path)
    async with world_on(store_url, tmp_path, populated=True) as world:
        assert await world.reason() == "granted"
        assert (await world.operate("GET", "/v1/connections/rekenrijk")).json()["stage"] == "live"
        shown = (await world.administer("GET", f"/grants/{given['grantId']}")).json()
        assert shown == {**given, "agreementId": None}


async def _keep(world: World) -> None:
    """Keeps the checkpoint outside the store now, not when its time comes."""
    await keep_checkpoint(world.store, world.folder / "known-checkpoint", keys_of(world))


async def _confirm(store_url: str, folder: Path) -> None:
    """As an operator does after a way back to before the log: what is there since is another history."""
    settings = Settings(mode=Mode.TEST, database_url=store_url, var_dir=folder)
    with pytest.raises(NotReadyToServe, match="entries"):
        await require_ready(settings)
    store = Store(store_url)
    await confirm(store, folder / "known-checkpoint", keys_in(folder))
    await store.aclose()


def _named(connection: Connection) -> list[tuple[str, str | None]]:
    return [tuple(row) for row in connection.execute(text("SELECT actor, reason FROM events ORDER BY number"))]


_ACTED = (
    "INSERT INTO events (number, revision, mark, at, kind, actor, actor_role, reason, state) VALUES"
    " (1, 1, 'm', '2026-09-01T08:00:00.000000Z', 'incident.opened', 'sjoukje', 'operator', 'lek', '{}')"
)


async def test_who_acted_before_there_was_a_log_is_sealed_and_still_told(revisions: Revisions, tmp_path: Path) -> None:
    store_url = await asyncio.to_thread(revisions.at, "0003")
    for statement in (_ACTED, "UPDATE consent_revision SET revision = 1, events = 1, mark = 'm'"):
        await asyncio.to_thread(on, store_url, partial(Connection.execute, statement=text(statement)))
    await asyncio.to_thread(migrate, store_url)
    (sealed,) = await asyncio.to_thread(on, store_url, _named)
    assert all(str(value).startswith("hmac-sha256:") for value in sealed)
    await asyncio.to_thread(migrate, store_url, "0003")
    assert await asyncio.to_thread(on, store_url, _named) == [("sjoukje", "lek")], "nothing was sealed yet"
    await asyncio.to_thread(migrate, store_url)
    async with world_on(store_url, tmp_path, populated=True) as world, world.store.reading() as session:
        first, last = await session.get_one(Event, 1), await session.get_one(Event, 2)
        assert await named(session, [first.actor, first.reason]) == {first.actor: "sjoukje", first.reason: "lek"}
        assert (last.kind, last.state) == ("texts.sealed", {"texts": 2})
        assert first.leaf == leaf_of(first)
        assert await log_faults(session, Audit()) == []
    await asyncio.to_thread(migrate, store_url, "0003")
    assert (await asyncio.to_thread(on, store_url, _named))[0][1] is None, "what is sealed stays so"


async def test_what_was_remembered_before_a_way_down_is_not_done_again_after_it(store_url: str, tmp_path: Path) -> None:
    """The older version can neither open the answer nor find it at an erasure: its body is gone, its key stays used."""
    partner = {"kvkNumber": "90000009", "name": "Uitgeverij De Negende"}
    key = {"Idempotency-Key": "een-sleutel-van-ons"}
    async with world_on(store_url, tmp_path) as world:
        assert (await world.operate("POST", "/v1/partners", partner, **key)).status_code == 201
    await asyncio.to_thread(migrate, store_url, "0010")
    query = text("SELECT fingerprint, body FROM remembered_answers")
    kept = await asyncio.to_thread(on, store_url, lambda it: [tuple(row) for row in it.execute(query)])
    assert kept == [("", "")]
    await asyncio.to_thread(migrate, store_url)
    async with world_on(store_url, tmp_path, populated=True) as world:
        before = len(await entries_of(world))
        refused = await world.operate("POST", "/v1/partners", partner, **key)
        assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "idempotency_key_reused")
        assert len(await entries_of(world)) == before


async def test_what_an_older_version_remembered_keeps_its_body_on_the_way_up(store_url: str) -> None:
    statement = text(
        "INSERT INTO remembered_answers (caller, key, fingerprint, status, body, revision, created_at)"
        " VALUES ('hmac:a', 'k', 'hmac:f', 201, 'sealed', 1, '2026-09-01T08:00:00.000000Z')"
    )
    await asyncio.to_thread(migrate, store_url, "0010")
    await asyncio.to_thread(on, store_url, lambda it: it.execute(statement))
    await asyncio.to_thread(migrate, store_url)
    query = text("SELECT fingerprint, body, names FROM remembered_answers")
    kept = await asyncio.to_thread(on, store_url, lambda it: [tuple(found) for found in it.execute(query)])
    assert kept == [("hmac:f", "sealed", None)]


DENIED_NOW: dict[str, Callable[[World], Any]] = {
    "a connection that is stopped": lambda it: it.operate(
        "POST", "/v1/connections/rekenrijk/_stop", {"reason": "Lek."}
    ),
    "a stopped partner": lambda it: it.operate("POST", "/v1/partners/90000001/_stop", {"reason": "Lek."}),
    "a connection that is only placed": lambda it: it.bring("rekenrijk", Stage.PLACED),
    "a grant that was to be confirmed": lambda it: it.agree("rekenrijk", OFFERED, [PURPOSE], retentionDays=999),
}


@pytest.mark.parametrize("case", DENIED_NOW)
async def test_what_is_denied_is_still_denied_by_a_version_that_knows_no_road(
    store_url: str, tmp_path: Path, case: str
) -> None:
    async with world_on(store_url, tmp_path) as world:
        await world.register()
        await world.granted()
        await DENIED_NOW[case](world)
        assert await world.reason() != "granted"
        await _keep(world)
    await asyncio.to_thread(migrate, store_url, "0001")
    kept, statuses = await asyncio.to_thread(on, store_url, _of_before)
    # Without all four rules, or with another status, the older version denies.
    assert kept == 0 or statuses == ["needs_reconfirmation"]
    await asyncio.to_thread(migrate, store_url)
    await _confirm(store_url, tmp_path)
    async with world_on(store_url, tmp_path, populated=True) as world:
        assert await world.reason() != "granted"
        for rule in GroundRuleName:
            await world.keep("rekenrijk", rule)
        # Not by rules alone: what had not come to live, or was stopped, takes its road again.
        assert await world.reason() != "granted"


def _of_before(connection: Connection) -> tuple[int, list[str]]:
    """How many ground rules the older version takes for kept, and how it finds the grants."""
    kept = connection.execute(text("SELECT count(*) FROM ground_rules WHERE NOT ended")).scalar_one()
    return kept, list(connection.execute(text("SELECT status FROM grants")).scalars())


@pytest.mark.parametrize("step", HISTORY)
def test_each_step_goes_up_and_down_over_data_and_up_again(revisions: Revisions, step: str) -> None:
    store_url = revisions.at(previous_of(step))
    on(store_url, fill)
    before = on(store_url, described)
    command.upgrade(configuration(store_url), step)
    on(store_url, fill)
    after = on(store_url, described)
    migrate(store_url, previous_of(step) or "base")
    assert on(store_url, described) == before
    # The steps that follow meet the data of all before them in the next test; when proving, in each of these too.
    command.upgrade(configuration(store_url), "head" if PROVING else step)
    assert on(store_url, described) == (on(revisions.at(head()), described) if PROVING else after)


def test_data_of_every_revision_goes_up_to_the_head(revisions: Revisions) -> None:
    store_url = revisions.at(None)
    for step in HISTORY:
        command.upgrade(configuration(store_url), step)
        on(store_url, fill)
    kept = on(store_url, counted)
    assert set(kept) == {str(table.__tablename__) for table in TABLES}
    assert all(kept.values()), "a step lost rows"
    assert on(store_url, described) == on(revisions.at(head()), described)


def test_a_migration_that_fails_half_way_leaves_the_store_as_it_was(store_url: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "alembic", tmp_path / "alembic")
    (tmp_path / "alembic" / "versions" / "9999_half.py").write_text(
        "import sqlalchemy as sa\n"
        "from alembic import op\n"
        f"revision, down_revision = '9999', {head()!r}\n"
        "def upgrade():\n"
        "    op.execute(\"INSERT INTO boards (number) VALUES ('99999')\")\n"
        "    op.create_table('half', sa.Column('id', sa.Integer(), primary_key=True))\n"
        "    op.execute('INSERT INTO nowhere VALUES (1)')\n",
        encoding="utf-8",
    )
    before = on(store_url, described), on(store_url, counted)
    half = configuration(store_url)
    half.set_main_option("script_location", str(tmp_path / "alembic"))
    with pytest.raises(Exception, match="nowhere"):
        command.upgrade(half, "head")
    assert (on(store_url, described), on(store_url, counted)) == before


def test_processes_that_migrate_at_once_follow_one_another(revisions: Revisions, tmp_path: Path) -> None:
    store_url = revisions.at(None)
    with ThreadPoolExecutor() as processes:
        started = [
            processes.submit(run_script, tmp_path, "migrate", MODE="test", DATABASE_URL=store_url)
            for _ in range(AT_ONCE)
        ]
        ended = [process.result() for process in started]
    assert [process.returncode for process in ended] == [0] * AT_ONCE, ended
    assert on(store_url, described) == on(revisions.at(head()), described)


def test_alembic_is_found_though_a_folder_has_its_name() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()
    for arguments in (("-m", "pytest", "--version"), ("-c", "import alembic.command")):
        done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr


NOT_AT_HEAD: dict[str, Callable[[str], None]] = {
    "at nothing": lambda url: migrate(url, "base"),
    "a revision of tomorrow": lambda url: on(
        url, lambda it: it.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    ),
}


def test_a_migration_leaves_the_search_for_modules_as_it_is(tmp_path: Path) -> None:
    before = list(sys.path)
    migrate(f"sqlite+aiosqlite:///{tmp_path / 'store.db'}")
    head()
    assert sys.path == before
