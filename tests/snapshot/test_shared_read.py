"""The snapshot as of this request: one read for all who wait, never one that had begun before a request arrived."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from api.snapshot.current import FEWEST_AT_ONCE, CurrentSnapshot
from api.snapshot.source import EVERYTHING
from api.store.outage import StoreBehind, StoreUnreachable
from models.decision.snapshot import Changes
from tests.worlds.controlled_source import HandSource
from tests.worlds.snapshot_waiters import MARGIN, asking, settle, unreachable
from tests.worlds.world import START


@pytest.fixture
def source() -> HandSource:
    return HandSource()


@pytest.fixture
async def current(source: HandSource) -> AsyncIterator[CurrentSnapshot]:
    made = CurrentSnapshot(source, deadline=0.3)
    yield made
    await made.aclose()


# -- who shares which read --------------------------------------------------------------------------------------------


async def test_requests_that_wait_at_the_same_moment_share_one_read(
    source: HandSource, current: CurrentSnapshot
) -> None:
    answers = await asyncio.gather(*(current.get() for _ in range(FEWEST_AT_ONCE)))
    assert {answer.snapshot.revision for answer in answers} == {1}
    assert source.started == 1


async def test_a_request_that_arrives_during_a_read_is_answered_by_a_later_one(
    source: HandSource, current: CurrentSnapshot
) -> None:
    source.may_read.clear()
    early = asking(current)
    await settle()
    assert source.started == 1
    source.revision = 2  # a revocation is acknowledged here, and only then do the others ask
    late = [asking(current) for _ in range(5)]
    await settle()
    source.may_read.set()
    assert (await early).snapshot.revision >= 1
    assert [(await waiter).snapshot.revision for waiter in late] == [2] * 5
    assert source.started == 2


async def test_a_request_that_arrives_during_a_reload_is_answered_by_a_later_read(
    source: HandSource, current: CurrentSnapshot
) -> None:
    source.may_load.clear()
    early = asking(current)
    await settle()
    assert source.loads == [EVERYTHING]
    source.revision = 2
    late = asking(current)
    await settle()
    source.may_load.set()
    assert (await early).snapshot.revision == 1
    assert (await late).snapshot.revision == 2
    assert source.loads == [EVERYTHING, 1]


async def test_nothing_is_read_when_nobody_waits(source: HandSource, current: CurrentSnapshot) -> None:
    await settle()
    assert source.started == 0
    for asked in range(1, 4):
        await current.get()
        await asyncio.sleep(0.02)
        assert source.started == asked


async def test_a_change_brings_only_what_came_after_the_snapshot(source: HandSource, current: CurrentSnapshot) -> None:
    for source.revision in (1, 2, 2, 5):
        assert (await current.get()).snapshot.revision == source.revision
    assert source.loads == [EVERYTHING, 1, 2]
    assert sorted((await current.get()).snapshot.schools) == ["01AB", "02AB", "05AB"]


async def test_what_changed_is_decided_by_the_clock_of_when_it_was_read(
    source: HandSource, current: CurrentSnapshot
) -> None:
    """By the clock of the read before it, a grant that was given in between would not have begun."""
    assert (await current.get()).now == START
    source.revision, source.loaded_at = 2, START + timedelta(milliseconds=3)
    assert (await current.get()).now == source.loaded_at


async def test_a_request_that_goes_away_takes_no_other_with_it(source: HandSource, current: CurrentSnapshot) -> None:
    source.may_read.clear()
    waiters = [asking(current) for _ in range(3)]
    await settle()
    later = [asking(current) for _ in range(3)]
    await settle()
    waiters[0].cancel()
    later[1].cancel()
    await settle()
    source.may_read.set()
    for waiter in (*waiters[1:], later[0], later[2]):
        assert (await waiter).snapshot.revision == 1
    assert waiters[0].cancelled()
    assert later[1].cancelled()
    assert (await current.get()).snapshot.revision == 1


# -- a store that does not answer -------------------------------------------------------------------------------------


async def test_a_read_that_hangs_is_a_denial_in_time_and_the_next_request_finds_the_store_again(
    source: HandSource, current: CurrentSnapshot
) -> None:
    await current.get()
    source.may_read.clear()
    early = asking(current)
    await settle()
    late = asking(current)
    assert await unreachable(early) < 0.3 + MARGIN
    assert await unreachable(late) < 0.3 + MARGIN
    source.may_read.set()
    await asyncio.sleep(0.35)
    assert source.drops >= 1
    assert (await current.get()).snapshot.revision == 1


async def test_a_read_that_fails_denies_one_batch_and_lets_go_of_the_connection(
    source: HandSource, current: CurrentSnapshot
) -> None:
    await current.get()
    source.fault = ConnectionResetError("gone")
    outcomes = await asyncio.gather(*(current.get() for _ in range(5)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnreachable] * 5
    assert (source.started, source.drops) == (2, 1)
    source.fault = None
    assert (await current.get()).snapshot.revision == 1


async def test_a_reload_that_fails_leaves_the_old_snapshot_and_is_not_served_as_new(
    source: HandSource, current: CurrentSnapshot
) -> None:
    before = (await current.get()).snapshot
    source.revision, source.load_fault = 2, OSError("half of it came")
    with pytest.raises(StoreUnreachable):
        await current.get()
    assert (current.revision, sorted(before.schools)) == (1, ["01AB"])
    with pytest.raises(StoreUnreachable):
        await current.get()
    source.load_fault = None
    assert sorted((await current.get()).snapshot.schools) == ["01AB", "02AB"]
    assert sorted(before.schools) == ["01AB"]


async def test_a_long_reload_lets_requests_fail_in_time_and_goes_on(
    source: HandSource, current: CurrentSnapshot
) -> None:
    source.may_load.clear()
    for _ in range(3):
        assert await unreachable(asking(current)) < 0.3 + MARGIN
    assert source.loads == [EVERYTHING]
    source.may_load.set()
    assert (await current.get()).snapshot.revision == 1
    assert source.loads == [EVERYTHING]
    assert source.drops == 0


async def test_connecting_may_take_longer_than_a_decision_can_wait(
    source: HandSource, current: CurrentSnapshot
) -> None:
    source.may_connect.clear()
    for _ in range(3):
        assert await unreachable(asking(current)) < 0.3 + MARGIN
    source.may_connect.set()
    assert (await current.get()).snapshot.revision == 1
    assert source.connects == 1


async def test_a_connection_that_cannot_be_let_go_of_stops_nobody(
    source: HandSource, current: CurrentSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise RuntimeError("it will not close")

    with monkeypatch.context() as patched:
        patched.setattr(source, "drop", fail)
        source.fault = OSError("gone")
        with pytest.raises(StoreUnreachable):
            await current.get()
        source.fault = None
        assert (await current.get()).snapshot.revision == 1


async def test_a_store_that_stops_while_requests_wait_tells_them_at_once(source: HandSource) -> None:
    current = CurrentSnapshot(source, deadline=60)
    source.may_read.clear()
    under_way = asking(current)
    await settle()
    waiting = asking(current)
    await settle()
    await current.aclose()
    assert await unreachable(under_way) < MARGIN
    assert await unreachable(waiting) < MARGIN
    assert source.drops == 1


# -- a store that went back -------------------------------------------------------------------------------------------


async def test_a_store_behind_what_was_seen_is_said_to_be_behind(source: HandSource, current: CurrentSnapshot) -> None:
    source.revision = 7
    await current.get()
    source.revision = 6
    for _ in range(2):
        with pytest.raises(StoreBehind):
            await current.get()
    assert current.revision == 7


async def test_a_store_that_was_behind_is_never_believed_again(source: HandSource, current: CurrentSnapshot) -> None:
    """A restored backup may reach the revision that was seen by other changes than those that were seen."""
    source.revision = 7
    await current.get()
    source.revision = 6
    with pytest.raises(StoreBehind):
        await current.get()
    refusals = []
    for source.revision in (7, 8):
        with pytest.raises(StoreBehind) as refused:
            await current.get()
        refusals.append(refused.value)
    assert refusals[0] is not refusals[1], "one refusal that is raised for ever would grow for ever"
    assert source.loads == [EVERYTHING]


async def test_a_reload_that_is_older_than_its_read_is_not_served(
    source: HandSource, current: CurrentSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.revision = 7
    await current.get()

    async def older(_: int) -> Changes:
        return Changes(6)

    monkeypatch.setattr(source, "changes", older)
    source.revision = 8
    with pytest.raises(StoreBehind):
        await current.get()
    assert current.revision == 7


async def test_a_write_that_takes_a_revision_that_was_seen_is_refused(
    source: HandSource, current: CurrentSnapshot
) -> None:
    source.revision = 7
    await current.get()
    current.require_follows(8)
    with pytest.raises(StoreBehind):
        current.require_follows(7)
    with pytest.raises(StoreBehind):
        await current.get()
