"""The decision log is kept for so long, and each of its days has a digest in the log of all changes."""

import asyncio
import hashlib
import json
import random
import threading
from datetime import UTC, date, datetime, timedelta
from typing import Any
from unittest.mock import ANY

import pytest
from sqlalchemy import event, inspect, text
from sqlmodel import col, select

from api.history import retention_job
from api.history.daily_digests import NO_SENSE, decision_log_faults, digest_of_day
from api.history.retention_job import delete_old, digest_days, keep_log
from api.notifications.delivery import keep_tidy
from api.store.events import SYSTEM, record
from models.decision.decision_log import Digest
from models.log.events import Event
from models.log.logged_decisions import LoggedDecision, digest_of
from models.vocabulary.event_kinds import EventKind
from tests.cli.commands import run
from tests.worlds.world import START, World

pytestmark = pytest.mark.both_stores

MIDNIGHT = datetime(2026, 9, 2, tzinfo=UTC)
DONE = MIDNIGHT + retention_job.MARGIN


async def lines(world: World) -> list[LoggedDecision]:
    async with world.store.reading() as session:
        query = select(LoggedDecision).order_by(col(LoggedDecision.at), col(LoggedDecision.id))
        return list((await session.exec(query)).all())


async def digests(world: World) -> list[dict[str, Any]]:
    async with world.store.reading() as session:
        query = select(Event).where(Event.kind == EventKind.DECISIONS_DIGESTED).order_by(col(Event.number))
        return [event.state for event in (await session.exec(query)).all()]


async def asked_at(world: World, *moments: datetime) -> None:
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
    monkeypatch.setattr(retention_job, "DAYS_BACK", 3)
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
    monkeypatch.setattr("api.history.daily_digests.PART", 2)
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
    monkeypatch.setattr("api.history.daily_digests.PART", 2)
    hashed: list[tuple[int, bool]] = []

    class Watched(Digest):
        def add(self, lines: Any) -> None:
            hashed.append((len(lines), threading.current_thread() is threading.main_thread()))
            super().add(lines)

    loaded: list[LoggedDecision] = []

    def note(line: LoggedDecision, _: Any) -> None:
        loaded.append(line)

    event.listen(LoggedDecision, "load", note)
    monkeypatch.setattr("api.history.daily_digests.Digest", Watched)
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
    monkeypatch.setattr(retention_job, "BATCH", 2)
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
    await looked_after(world, retention_job.DAYS_AT_IT - 2)
    assert await delete_old(world.store, 30) == 0
    world.clock.now = right
    assert len(await lines(world)) == 3
    # A clock that has been there for a week is believed.
    world.clock.advance(days=420)
    await looked_after(world, retention_job.DAYS_AT_IT)
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
    assert await digest_days(world.store) == retention_job.MOST_DAYS


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


async def test_how_long_a_job_sleeps_takes_nothing_from_what_somebody_seeded(world: World) -> None:
    before = random.getstate()
    jobs = [
        asyncio.create_task(keep_log(world.store, 2, digests=True, interval=60)),
        asyncio.create_task(keep_tidy(world.store, interval=60)),
    ]
    # Each goes to sleep at its first step.
    await asyncio.sleep(0)
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    assert random.getstate() == before


# -- whether the lines are still those ---------------------------------------------------------------------------------

DAY = timedelta(days=1)


@pytest.fixture
async def digested(world: World) -> World:
    """Three lines on each of four days, and the digests of these days."""
    await asked_at(world, *(START + DAY * day + timedelta(minutes=minute) for day in range(4) for minute in range(3)))
    world.clock.now = DONE + 3 * DAY
    assert await digest_days(world.store) == 4
    return world


async def found_wrong(world: World, kept_days: int = 400) -> list[str]:
    return [sentence async for sentence in decision_log_faults(world.store, kept_days)]


async def done_to_lines(world: World, statement: str, many: int = 1) -> None:
    """Past the service, as who can write to the tables would."""
    async with world.store.engine.begin() as connection:
        done = await connection.execute(text(statement))
        assert done.rowcount == many


ONE = "(at, id) IN (SELECT at, id FROM decision_log ORDER BY at, id LIMIT 1 OFFSET 4)"
OTHERS = ", ".join(column.name for column in inspect(LoggedDecision).columns if column.name != "id")
FORGED = f"INSERT INTO decision_log (id, {OTHERS}) SELECT 5, {OTHERS} FROM decision_log WHERE {ONE}"


async def test_lines_that_are_those_of_their_digests_are_not_complained_of(digested: World) -> None:
    assert await found_wrong(digested) == []
    await digested.ask()
    assert await found_wrong(digested) == [], "a day that has not ended has no digest yet"


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (f"DELETE FROM decision_log WHERE {ONE}", "has 2 lines, its digest is of 3."),
        (FORGED, "has 4 lines, its digest is of 3."),
        (f"UPDATE decision_log SET permit = NOT permit WHERE {ONE}", "are not those of its digest."),
        (f"UPDATE decision_log SET school = '' WHERE {ONE}", "are not those of its digest."),
        (f"UPDATE decision_log SET id = id + 1 WHERE {ONE}", "are not those of its digest."),
    ],
    ids=["deleted", "inserted", "another answer", "another school", "another number"],
)
async def test_a_line_that_was_tampered_with_is_told_by_its_day(digested: World, statement: str, told: str) -> None:
    await done_to_lines(digested, statement)
    for kept_days in (400, 2):
        [fault] = await found_wrong(digested, kept_days)
        assert "2026-09-02" in fault
        assert fault.endswith(told)


async def test_a_line_of_another_day_is_missed_on_the_one_and_too_many_on_the_other(digested: World) -> None:
    moved = "'2026-09-03T09:00:00.000000Z'" if digested.store.is_sqlite else "TIMESTAMPTZ '2026-09-03T09:00:00Z'"
    await done_to_lines(digested, f"UPDATE decision_log SET at = {moved} WHERE {ONE}")
    faults = await found_wrong(digested)
    assert ["2 lines" in faults[0], "4 lines" in faults[1], len(faults)] == [True, True, 2]


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("part", [1, 2, 3, 250])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("at", "'2026-09-02T09:00:00Z'"),
        ("at", "'2026-09-02T09 noon'"),
        ("at", "'2026-09-02T23:00:00+20:00'"),
        ("at", "'2026-09-02T08:01:00'"),
        ("purpose", "X'00'"),
    ],
    ids=["shorter", "no time", "elsewhere", "nowhere", "bytes"],
)
async def test_a_line_that_the_service_cannot_have_stored_is_told_by_its_day(
    digested: World, monkeypatch: pytest.MonkeyPatch, name: str, value: str, part: int
) -> None:
    monkeypatch.setattr("api.history.daily_digests.PART", part)
    await done_to_lines(digested, f"UPDATE decision_log SET {name} = {value} WHERE {ONE}")
    [fault] = await found_wrong(digested)
    assert fault.startswith("The lines of the decision log of 2026-09-02 cannot be read: ")
    with pytest.raises(NO_SENSE):
        async with digested.store.reading() as session:
            await digest_of_day(session, date(2026, 9, 2))


async def test_lines_past_their_days_may_be_gone_the_oldest_first_and_no_others(digested: World) -> None:
    oldest = "DELETE FROM decision_log WHERE (at, id) IN (SELECT at, id FROM decision_log ORDER BY at, id LIMIT 1)"
    for gone in range(1, 6):
        await done_to_lines(digested, oldest)
        assert await found_wrong(digested, 2) == [], gone
        assert len(await found_wrong(digested)) == 1 + (gone > 3), gone
    # Two days ago is in the third of the four days: what is left of the first two may go, of the fourth nothing.
    for _ in range(4):
        await done_to_lines(digested, oldest)
    assert await found_wrong(digested, 2) == []
    await done_to_lines(digested, oldest)
    [fault] = await found_wrong(digested, 2)
    assert fault == "Of 2026-09-04 the decision log has 2 lines, its digest is of 3."


async def test_the_last_digest_of_a_day_counts_and_none_of_a_time_to_come(digested: World) -> None:
    """As where a clock that was ahead digested a day too early."""
    digested.clock.advance(seconds=2)
    await recorded(digested, {"day": "2026-09-02", "lines": 1, "sha256": "0" * 64})
    [fault] = await found_wrong(digested)
    assert fault == "Of 2026-09-02 the decision log has 3 lines, its digest is of 1."
    digested.clock.advance(seconds=-1)
    assert await found_wrong(digested) == []


async def recorded(world: World, state: dict[str, Any]) -> None:
    async with world.store.writing() as write:
        record(write, EventKind.DECISIONS_DIGESTED, SYSTEM, state)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"day": "9999-12-31", "lines": 0, "sha256": ""},
        {"day": "2026-09-05", "lines": 0, "sha256": ""},
        {"day": "x", "lines": 0, "sha256": ""},
        {"day": "2026-09-02", "lines": "x", "sha256": ""},
        {"day": ["2026-09-02"], "lines": 3, "sha256": ""},
    ],
    ids=["empty", "the last day of all", "a day that goes on", "no day", "no number", "a list"],
)
async def test_a_digest_that_makes_no_sense_is_told_and_the_others_count(
    digested: World, state: dict[str, Any]
) -> None:
    await recorded(digested, state)
    await done_to_lines(digested, f"DELETE FROM decision_log WHERE {ONE}")
    senseless, missing = await found_wrong(digested)
    assert senseless.endswith("says what no digest of a day could.")
    assert missing == "Of 2026-09-02 the decision log has 2 lines, its digest is of 3."


async def test_lines_of_days_that_have_no_digest_are_told_once_they_should_have_one(digested: World) -> None:
    first = "(at, id) IN (SELECT at, id FROM decision_log ORDER BY at, id LIMIT 1)"
    early = "'2026-08-31T09:00:00.000000Z'" if digested.store.is_sqlite else "TIMESTAMPTZ '2026-08-31T09:00:00Z'"
    await done_to_lines(digested, f"UPDATE decision_log SET at = {early} WHERE {first}")
    before, less = await found_wrong(digested)
    assert before == "Before 2026-09-01, the first day that has a digest, the decision log has 1 lines."
    assert less == "Of 2026-09-01 the decision log has 2 lines, its digest is of 3."
    await done_to_lines(digested, f"DELETE FROM decision_log WHERE {first}")
    await digested.ask()
    digested.clock.advance(days=2, hours=12)
    await digested.operate("POST", "/v1/partners", {"kvkNumber": "90000009", "name": "Later"})
    assert await found_wrong(digested) == [less], "it may still come"
    digested.clock.advance(days=1)
    assert await found_wrong(digested) == [less], "a backup that is looked at later is not late"
    await digested.operate("POST", "/v1/partners", {"kvkNumber": "90000008", "name": "Later still"})
    assert await found_wrong(digested) == [
        "Before 2026-09-06 the decision log has 1 lines of days that have no digest.",
        less,
    ]


async def test_a_log_that_lacks_its_beginning_is_told_in_one_sentence(digested: World) -> None:
    await done_to_lines(digested, "DELETE FROM decision_log WHERE at < (SELECT max(at) FROM decision_log)", 11)
    gone, less = await found_wrong(digested)
    assert gone == "From 2026-09-01 to 2026-09-03 the decision log has none of 9 lines, which are kept for 400 days."
    assert less == "Of 2026-09-04 the decision log has 1 lines, its digest is of 3."
    await done_to_lines(digested, "DELETE FROM decision_log")
    [gone] = await found_wrong(digested, 2)
    assert gone == "From 2026-09-04 to 2026-09-04 the decision log has none of 3 lines, which are kept for 2 days."


async def test_verify_holds_the_lines_against_the_digests_unless_told_not_to(digested: World, store_url: str) -> None:
    async def verified(*words: str) -> tuple[int, str]:
        found = await asyncio.to_thread(
            run, digested.folder, "verify", *words, MODE="test", DATABASE_URL=store_url, DECISION_LOG_DAYS="36500"
        )
        return found.returncode, found.stdout

    assert await verified() == (0, "The store is whole.\n")
    await done_to_lines(digested, f"UPDATE decision_log SET permit = NOT permit WHERE {ONE}")
    assert await verified() == (1, "The lines of the decision log of 2026-09-02 are not those of its digest.\n")
    assert await verified("--no-decisions") == (0, "The store is whole.\n")
