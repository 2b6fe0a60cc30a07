"""The decision log is kept for so long, and each of its days has a digest in the log of all changes."""

import asyncio
import hashlib
import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import ANY

import pytest
from sqlalchemy import event
from sqlmodel import col, select

from api import retention
from api.retention import delete_old, digest_days, keep_log
from models.decision_log import Digest, LoggedDecision, digest_of
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


async def test_the_first_digest_is_of_the_first_day_that_has_lines(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asked_at(world, START - timedelta(days=5000), START)
    monkeypatch.setattr(retention, "DAYS_BACK", 3)
    world.clock.now = DONE + timedelta(days=3)
    assert await digest_days(world.store) == 4
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
    monkeypatch.setattr(retention, "PART", 2)
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


async def test_a_digest_holds_up_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lines are read as plain rows, in small parts, and hashed beside the event loop."""
    await asked_at(world, *[START] * 5)
    monkeypatch.setattr(retention, "PART", 2)
    hashed: list[tuple[int, bool]] = []

    class Watched(Digest):
        def add(self, lines: Any) -> None:
            hashed.append((len(lines), threading.current_thread() is threading.main_thread()))
            super().add(lines)

    loaded: list[LoggedDecision] = []

    def note(line: LoggedDecision, _: Any) -> None:
        loaded.append(line)

    event.listen(LoggedDecision, "load", note)
    monkeypatch.setattr(retention, "Digest", Watched)
    world.clock.now = DONE
    await digest_days(world.store)
    assert hashed == [(2, False), (2, False), (1, False)]
    event.remove(LoggedDecision, "load", note)
    assert loaded == []


# -- how long lines are kept ------------------------------------------------------------------------------------------


async def looked_after(world: World, days: int) -> None:
    """So many days later, on each of which the log was looked after."""
    for _ in range(days):
        world.clock.advance(days=1)
        await digest_days(world.store)


async def test_lines_go_when_they_have_been_kept_long_enough(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    later = START + timedelta(days=1)
    await asked_at(world, *[START] * 3, later)
    monkeypatch.setattr(retention, "BATCH", 2)
    world.clock.now = START
    await looked_after(world, 20)
    assert await delete_old(world.store, 20) == 0
    world.clock.advance(microseconds=1)
    assert [await delete_old(world.store, 20) for _ in range(3)] == [2, 1, 0]
    assert [line.at for line in await lines(world)] == [later]


async def test_no_line_goes_whose_day_was_not_digested(world: World) -> None:
    await asked_at(world, START)
    await looked_after(world, 10)
    await world.ask()
    world.clock.advance(days=2)
    assert await delete_old(world.store, 0) == 1
    assert len(await lines(world)) == 1
    await digest_days(world.store)
    assert await delete_old(world.store, 0) == 1


async def test_a_clock_that_jumps_ahead_deletes_no_lines(world: World) -> None:
    await asked_at(world, START)
    await looked_after(world, 10)
    await world.ask()
    right = world.clock.now
    world.clock.advance(days=420)
    # Decisions and changes are noted at the wrong time as well.
    await world.ask()
    await digest_days(world.store)
    assert await delete_old(world.store, 30) == 0
    await looked_after(world, retention.DAYS_AT_IT - 2)
    assert await delete_old(world.store, 30) == 0
    world.clock.now = right
    assert len(await lines(world)) == 3
    # A clock that has been there for a week is believed.
    world.clock.advance(days=420)
    await looked_after(world, retention.DAYS_AT_IT)
    assert await delete_old(world.store, 30) == 2


async def test_days_get_their_digests_after_a_clock_was_ahead(world: World) -> None:
    await asked_at(world, START)
    world.clock.now = DONE
    await digest_days(world.store)
    await world.ask()
    world.clock.advance(days=3)
    assert await digest_days(world.store) == 3
    world.clock.now = DONE + timedelta(minutes=1)
    await world.ask()
    assert await digest_days(world.store) == 0
    for _ in range(5):
        world.clock.advance(days=1)
        assert await digest_days(world.store) == 1
    told = [(each["day"], each["lines"]) for each in await digests(world)]
    too_early = [("2026-09-02", 1), ("2026-09-03", 0), ("2026-09-04", 0)]
    assert told[1:4] == too_early
    # The last of a day counts.
    assert told[4:] == [("2026-09-02", 2), *((f"2026-09-0{day}", 0) for day in (3, 4, 5, 6))]


async def test_a_clock_that_is_behind_for_a_while_spoils_no_digest(world: World) -> None:
    await asked_at(world, START)
    world.clock.now = DONE
    await digest_days(world.store)
    await looked_after(world, 2)
    right = world.clock.now
    world.clock.now -= timedelta(days=1)
    assert await digest_days(world.store) == 0
    world.clock.now = right
    assert await digest_days(world.store) == 0
    assert [each["day"] for each in await digests(world)] == ["2026-09-01", "2026-09-02", "2026-09-03"]


async def test_what_a_wrong_clock_adds_to_the_log_is_bounded(world: World) -> None:
    await asked_at(world, START)
    world.clock.now = DONE
    await digest_days(world.store)
    world.clock.advance(days=420)
    assert await digest_days(world.store) == retention.MOST_DAYS


async def test_lines_from_before_the_log_was_turned_off_are_digested_and_go(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asked_at(world, START)
    world.clock.now = DONE
    keeping = asyncio.create_task(keep_log(world.store, 2, digests=False, interval=0.001))
    try:
        async with asyncio.timeout(60):
            while await lines(world):
                world.clock.advance(hours=12)
                await asyncio.sleep(0.02)
    finally:
        keeping.cancel()
    assert (await digests(world))[0] == {"day": "2026-09-01", "lines": 1, "sha256": ANY}
