"""The decision log is kept for so long, and each of its days has a digest in the log of all changes."""

import asyncio
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from api import retention
from api.retention import delete_old, digest_days
from models.decision_log import LoggedDecision, digest_of
from models.events import Event, EventKind
from tests.world import START, World

MIDNIGHT = datetime(2026, 9, 2, tzinfo=UTC)
DONE = MIDNIGHT + retention.MARGIN


async def lines(world: World) -> list[LoggedDecision]:
    async with world.store.reading() as session:
        query = select(LoggedDecision).order_by(col(LoggedDecision.at), col(LoggedDecision.id))
        return list((await session.exec(query)).all())


async def digests(world: World) -> list[dict[str, Any]]:
    async with world.store.reading() as session:
        query = select(Event).where(Event.kind == EventKind.DECISIONS_DIGESTED).order_by(col(Event.number))
        return [event.state for event in (await session.exec(query)).all()]


async def asked_at(world: World, *moments: datetime) -> None:
    await world.register()
    for world.clock.now in moments:
        await world.ask()


async def test_a_day_is_digested_once_it_has_ended_and_a_margin_has_passed(world: World) -> None:
    await asked_at(world, START, MIDNIGHT - timedelta(microseconds=1), MIDNIGHT)
    world.clock.now = DONE - timedelta(microseconds=1)
    await digest_days(world.store)
    assert [each["day"] for each in await digests(world)] == ["2026-08-31"]
    world.clock.now = DONE
    assert await digest_days(world.store) == 1
    count, sha256 = digest_of((await lines(world))[:2])
    assert (await digests(world))[1] == {"day": "2026-09-01", "lines": count, "sha256": sha256}
    assert count == 2


async def test_processes_that_digest_at_once_record_a_day_once(world: World) -> None:
    await asked_at(world, START)
    world.clock.now = DONE
    assert sum(await asyncio.gather(*(digest_days(world.store) for _ in range(4)))) == 1
    assert [each["day"] for each in await digests(world)] == ["2026-09-01"]


async def test_days_on_which_nothing_ran_are_made_up_for(world: World) -> None:
    await asked_at(world, START)
    world.clock.now = DONE
    await digest_days(world.store)
    world.clock.advance(days=3)
    assert await digest_days(world.store) == 3
    assert [(each["day"], each["lines"]) for each in await digests(world)] == [
        ("2026-09-01", 1),
        ("2026-09-02", 0),
        ("2026-09-03", 0),
        ("2026-09-04", 0),
    ]


async def test_a_digest_is_of_all_lines_however_many_are_read_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asked_at(world, *[START] * 5, START + timedelta(seconds=1))
    monkeypatch.setattr(retention, "BATCH", 2)
    world.clock.now = DONE
    await digest_days(world.store)
    [digest] = await digests(world)
    assert (digest["lines"], digest["sha256"]) == digest_of(await lines(world))


async def test_a_digest_is_made_of_what_anybody_can_hash_again(world: World) -> None:
    await asked_at(world, START)
    [line] = await lines(world)
    told = {**line.model_dump(), "at": "2026-09-01T08:00:00.000000Z", "fields": line.fields_}
    del told["fields_"]
    whole = json.dumps(told, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    assert digest_of([line]) == (1, hashlib.sha256(whole).hexdigest())


async def test_lines_go_when_they_have_been_kept_long_enough(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    later = START + timedelta(days=1)
    await asked_at(world, *[START] * 3, later)
    monkeypatch.setattr(retention, "BATCH", 2)
    world.clock.now = START + timedelta(days=400)
    assert await delete_old(world.store, 400) == 0
    world.clock.advance(microseconds=1)
    assert [await delete_old(world.store, 400) for _ in range(3)] == [2, 1, 0]
    assert [line.at for line in await lines(world)] == [later]
