"""A reader of changes after an older backup was put back, and after what may go has gone: told, or missing nothing."""

from typing import Any

import pytest
from sqlalchemy import text

from api.evidence.backup_recovery import confirm, replay
from api.history import retention_job
from api.history.retention_job import delete_old, digest_days
from tests.evidence.tampering import tampering
from tests.evidence.test_restore import backup, store_at, witnessed  # noqa: F401 - a fixture is found here
from tests.worlds.world import World, world_on
from tests.worlds.world_evidence import keys_in


async def feed(world: World, since: int | str = 0) -> list[dict[str, Any]]:
    answer = await world.look(path="/changes", since=since)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def told(world: World, since: int | str) -> list[str]:
    """What both kinds of readers are told who come with this."""
    answers = [await world.look(path=path, since=since, wait=0) for path in ("/changes", "/changes/stream")]
    return [each.json().get("type", "").rpartition("/")[2] for each in answers]


async def with_changes(backup: Any) -> tuple[list[dict[str, Any]], Any]:  # noqa: F811
    """What a reader had, of which the backup that is put back then lacks the last two."""
    async with world_on(backup.url, backup.folder) as world:
        await world.register()
        given = await world.granted()
        await world.step(given["grantId"], "suspend", {})
        await backup.make(world)
        await world.step(given["grantId"], "resume", {})
        await world.step(given["grantId"], "revoke", {})
        had, witness = await feed(world), await witnessed(world)
    backup.put_back()
    return had, witness


async def test_who_read_what_a_restored_store_lacks_is_told_and_others_go_on(backup: Any) -> None:  # noqa: F811
    had, _ = await with_changes(backup)
    async with store_at(backup.url) as store:
        await confirm(store, backup.folder / "known-checkpoint", keys_in(backup.folder))
    async with world_on(backup.url, backup.folder, populated=True) as world:
        for lost in (had[2]["bookmark"], had[3]["bookmark"], had[3]["revision"]):
            assert await told(world, lost) == ["not_in_history"] * 2
        # As many changes, and more, of another history: its numbers are those that the reader knows.
        grant_id = had[0]["grantId"]
        for step in ("resume", "suspend", "resume", "suspend"):
            assert (await world.step(grant_id, step, {})).status_code == 200
        for lost in (had[2]["bookmark"], had[3]["bookmark"]):
            assert await told(world, lost) == ["not_in_history"] * 2, "and not that there is nothing new"
        assert [each["event"] for each in await feed(world, had[1]["bookmark"])] == [
            *("grant.resumed", "grant.suspended", "grant.resumed", "grant.suspended"),
        ], "who had no more than the backup has goes on"
        assert [each["bookmark"] for each in (await feed(world))[:2]] == [each["bookmark"] for each in had[:2]]


async def test_after_a_replay_every_bookmark_holds(backup: Any) -> None:  # noqa: F811
    had, witness = await with_changes(backup)
    async with store_at(backup.url) as store:
        await replay(store, witness.entries(), witness.last)
    async with world_on(backup.url, backup.folder, populated=True) as world:
        for number, each in enumerate(had, start=1):
            assert await feed(world, each["bookmark"]) == had[number:]


async def test_nothing_that_the_feed_reads_goes_with_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of decisions go, and names and reasons; what changed stays, from the first change on."""
    given = await world.granted()
    await world.ask()
    await world.step(given["grantId"], "suspend", {"reason": "Vragen."})
    had = await feed(world)
    for _ in range(30):
        world.clock.advance(days=1)
        await digest_days(world.store)
    monkeypatch.setattr(retention_job, "DAYS_AT_IT", 1)
    assert await delete_old(world.store, 2) > 0
    assert (await world.operate("POST", "/v1/actors/_erase", {"subject": "school-subject"})).status_code == 200
    world.clock.advance(days=800)
    assert await feed(world) == had
    assert await feed(world, had[0]["bookmark"]) == had[1:]


@pytest.mark.both_stores
async def test_a_bookmark_of_what_is_there_no_more_is_told(world: World) -> None:
    """As if somebody had cut off the beginning of the log, which nothing here does."""
    given = await world.granted()
    await world.step(given["grantId"], "suspend", {})
    had = await feed(world)
    number = int(had[0]["bookmark"].split("-")[0])
    async with tampering(world.store) as connection:
        await connection.execute(text("DELETE FROM events WHERE number <= :number"), {"number": number})
    assert await told(world, had[0]["bookmark"]) == ["not_in_history"] * 2
