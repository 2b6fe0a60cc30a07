"""A store that was put back, exchanged or taken away under a running process must not revive what was revoked."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlmodel import col, select

from api.store.events import SYSTEM, record
from api.store.store import Store
from models.log.events import Event
from models.log.merkle import peaks_of
from models.vocabulary.event_kinds import EventKind
from tests.evidence.tampering import tampering
from tests.worlds.world import World, world_on

pytestmark = pytest.mark.both_stores


async def _put_back(store: Store, revision: int) -> None:
    """What restoring a backup of `revision` leaves: its rows, its events, its number."""
    async with tampering(store) as connection:
        await connection.execute(text("DELETE FROM events WHERE revision > :revision"), {"revision": revision})
        await connection.execute(
            text("UPDATE grants SET status = 'granted', revision = :revision"), {"revision": revision}
        )
        leaves = await connection.execute(select(Event.leaf).order_by(col(Event.number)))
        await connection.execute(
            text(
                "UPDATE consent_revision SET revision = :revision, events = (SELECT max(number) FROM events),"
                " mark = (SELECT max(mark) FROM events WHERE revision = :revision), peaks = :peaks"
            ),
            {"revision": revision, "peaks": peaks_of(leaf for (leaf,) in leaves).packed},
        )


async def _change_something(store: Store) -> None:
    async with store.writing() as write:
        record(write, EventKind.SCHOOLS_IMPORTED, SYSTEM, {"added": 0})


async def _revoked(world: World) -> dict[str, Any]:
    grant = await world.granted()
    await world.step(grant["grantId"], "revoke")
    return grant


async def test_a_restored_backup_is_denied_until_the_process_is_restarted(world: World) -> None:
    grant = await _revoked(world)
    assert await world.reason() == "revoked"
    await _put_back(world.store, grant["revision"])
    assert await world.reason() == "revision_behind"
    await _change_something(world.store)
    assert await world.reason() == "revision_behind"
    refused = await world.grant(brin="17TX")
    assert (refused.status_code, refused.json()["type"].rsplit("/", 1)[1]) == (503, "revision_behind")


@pytest.mark.parametrize("changes", [1, 2], ids=["as far as was seen", "further than was seen"])
async def test_another_history_with_the_same_numbers_is_told_apart(world: World, changes: int) -> None:
    """Nobody asked between the restore and the changes that made up for the missing numbers."""
    grant = await _revoked(world)
    assert await world.reason() == "revoked"
    await _put_back(world.store, grant["revision"])
    for _ in range(changes):
        await _change_something(world.store)
    assert await world.reason() == "revision_behind"


async def test_a_restarted_process_accepts_the_store_that_it_finds(
    store_url: str, tmp_path: Path, world: World
) -> None:
    grant = await _revoked(world)
    await _put_back(world.store, grant["revision"])
    async with world_on(store_url, tmp_path, populated=True) as restarted:
        assert await restarted.reason() == "granted"


@pytest.fixture
def sqlite_file(store_url: str) -> Path:
    return Path(str(make_url(store_url).database))


on_sqlite = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)


@on_sqlite
async def test_an_sqlite_file_that_is_exchanged_is_not_answered_from_memory(world: World, sqlite_file: Path) -> None:
    grant = await world.granted()
    other = sqlite_file.with_name("other.db")
    async with world.store.engine.connect() as connection:
        await connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    shutil.copy(sqlite_file, other)
    await world.step(grant["grantId"], "revoke")
    assert await world.reason() == "revoked"
    for beside in ("-wal", "-shm"):
        sqlite_file.with_name(sqlite_file.name + beside).unlink()
    other.replace(sqlite_file)
    assert await world.reason() == "revision_behind"


@on_sqlite
async def test_an_sqlite_file_that_is_gone_permits_nothing_and_takes_no_write(world: World, sqlite_file: Path) -> None:
    grant = await world.granted()
    sqlite_file.unlink()
    assert await world.reason() == "store_unreachable"
    assert (await world.step(grant["grantId"], "revoke")).status_code == 503
    assert not sqlite_file.exists()


async def test_a_withdrawn_rule_stays_withdrawn_when_the_clock_steps_back(world: World) -> None:
    await world.granted()
    rule = (await world.operate("GET", "/v1/connections/rekenrijk/ground-rules")).json()["items"][0]["groundRuleId"]
    await world.operate("POST", f"/v1/connections/rekenrijk/ground-rules/{rule}/_withdraw", {"reason": "Weg."})
    world.clock.advance(seconds=-2)
    assert await world.reason() == "partner_not_eligible"
