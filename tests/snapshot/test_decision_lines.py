"""Lines of decisions ride along with the shared read, or go beside it; no answer leaves before they are stored."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Final

import pytest

from api.snapshot.current import FEWEST_AT_ONCE, CurrentSnapshot
from api.snapshot.pending_decision import MOST_LINES, Logged
from api.store.outage import StoreBehind, StoreUnreachable
from models.decision.decision import Decision, Question, Reason
from models.decision.decision_log import Door, Line, LoggedCaller, line_of
from models.decision.snapshot import Snapshot
from tests.worlds.controlled_source import HandSource
from tests.worlds.snapshot_waiters import MARGIN, asking, settle
from tests.worlds.world import START

ASKER: Final = LoggedCaller("issuer", "gateway", "request", None)


def a_line(place: str = "16SW") -> Line:
    asked = Question("partner", "rekenrijk", "release", "leerling", place)
    return line_of(ASKER, Door.EVALUATION, START, asked, Decision(Reason.NO_GRANT, 1))


@pytest.fixture(params=[True, False], ids=["riding along", "beside"])
def source(request: pytest.FixtureRequest) -> HandSource:
    return HandSource(reads_store_lines=request.param)


@pytest.fixture
async def current(source: HandSource) -> AsyncIterator[CurrentSnapshot]:
    made = CurrentSnapshot(source, 0.3)
    await made.get()
    yield made
    await made.aclose()


@pytest.fixture
def riding() -> HandSource:
    return HandSource()


@pytest.fixture
async def current_of_riding(riding: HandSource) -> AsyncIterator[CurrentSnapshot]:
    made = CurrentSnapshot(riding, 0.3)
    await made.get()
    yield made
    await made.aclose()


LATER: Final = START + timedelta(hours=1)


def deciding(
    current: CurrentSnapshot, *lines: Line, until: datetime | None = LATER
) -> "asyncio.Task[tuple[int, datetime]]":
    """Decides on what is read, and is told the revision and the instant of that once its lines are stored."""

    def decide(snapshot: Snapshot, now: datetime) -> Logged[tuple[int, datetime]]:
        return Logged((snapshot.revision, now), lines or [a_line()._replace(at=now)], until)

    return asyncio.create_task(current.decide(decide))


# -- an answer and its line -------------------------------------------------------------------------------------------


async def test_nobody_is_answered_before_the_lines_are_stored(source: HandSource, current: CurrentSnapshot) -> None:
    source.may_store.clear()
    asked = deciding(current)
    await settle()
    assert not asked.done()
    source.may_store.set()
    assert await asked == (1, START)
    assert source.stored == [[a_line()]]


async def test_lines_that_wait_at_the_same_moment_share_one_statement(
    source: HandSource, current: CurrentSnapshot
) -> None:
    await asyncio.gather(*(deciding(current) for _ in range(FEWEST_AT_ONCE)))
    assert [len(stored) for stored in source.stored] == [FEWEST_AT_ONCE]
    assert source.started == 2, "one of them was before"


async def test_of_many_half_are_answered_and_may_ask_again_while_the_others_lines_are_stored(
    riding: HandSource, current_of_riding: CurrentSnapshot
) -> None:
    answered: list[int] = []

    async def ask() -> None:
        await deciding(current_of_riding)
        answered.append(len(riding.stored))

    await asyncio.gather(*(ask() for _ in range(64)))
    assert [len(stored) for stored in riding.stored] == [32, 32]
    assert answered == [1] * 32 + [2] * 32, "the first half is answered before the lines of the others are stored"


async def test_the_halves_stay_alike_however_unlike_they_began(
    riding: HandSource, current_of_riding: CurrentSnapshot
) -> None:
    async def ask_again_and_again(first: int) -> None:
        if first >= 6:
            await settle()  # the six are on their way by then
        for _ in range(6):
            await deciding(current_of_riding)

    # The six are not answered before the others wait.
    riding.may_store.clear()
    everyone = asyncio.gather(*(ask_again_and_again(number) for number in range(64)))
    await settle()
    await settle()
    riding.may_store.set()
    await everyone
    sizes = [len(stored) for stored in riding.stored]
    assert sum(sizes) == 6 * 64
    assert sizes[2:10] == [32] * 8, sizes


async def test_who_was_left_over_is_denied_by_its_own_deadline(
    riding: HandSource, current_of_riding: CurrentSnapshot
) -> None:
    riding.may_store.clear()
    begun = asyncio.get_running_loop().time()
    outcomes = await asyncio.gather(*(deciding(current_of_riding) for _ in range(64)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {StoreUnreachable}
    assert asyncio.get_running_loop().time() - begun < 0.3 + MARGIN
    riding.may_store.set()
    assert await deciding(current_of_riding) == (1, START)


async def test_a_decision_is_on_a_read_that_began_after_it_was_asked_for(
    source: HandSource, current: CurrentSnapshot
) -> None:
    source.may_store.clear()
    early = deciding(current)
    await settle()
    source.revision = 2  # a revocation is acknowledged here, while the line of the first is being stored
    late = deciding(current)
    await settle()
    source.may_store.set()
    assert (await early, await late) == ((1, START), (2, START))


# -- what is decided on what is in memory, and holds or not -----------------------------------------------------------


async def test_lines_ride_along_with_the_read_that_shows_that_nothing_has_changed(
    riding: HandSource, current_of_riding: CurrentSnapshot
) -> None:
    assert await deciding(current_of_riding) == (1, START)
    assert (riding.started, riding.drafts, riding.stored) == (2, [True], [[a_line()]])


async def test_before_the_first_read_nothing_is_in_memory_to_decide_on(riding: HandSource) -> None:
    current = CurrentSnapshot(riding, 0.3)
    assert await deciding(current) == (1, START)
    assert (riding.drafts, len(riding.stored)) == ([], 1)
    await current.aclose()


async def test_what_changed_meanwhile_is_read_and_it_is_decided_anew(
    riding: HandSource, current_of_riding: CurrentSnapshot
) -> None:
    riding.revision = 2
    assert await deciding(current_of_riding) == (2, START)
    assert (riding.drafts, riding.stored) == ([False], [[a_line()]])
    assert await deciding(current_of_riding) == (2, START)
    assert riding.drafts == [False, True]


@pytest.mark.parametrize("passed", [timedelta(0), timedelta(microseconds=1)])
async def test_an_instant_at_which_the_answer_may_be_another_is_judged_by_the_clock_of_the_read(
    riding: HandSource, current_of_riding: CurrentSnapshot, passed: timedelta
) -> None:
    turns = START + timedelta(seconds=10)
    riding.now = turns - timedelta(microseconds=1)
    assert await deciding(current_of_riding, until=turns) == (1, START)
    riding.now = turns + passed
    assert await deciding(current_of_riding, until=turns) == (1, turns + passed)
    assert riding.drafts == [True, False]
    assert [line.at for stored in riding.stored for line in stored] == [
        turns - timedelta(microseconds=1),
        turns + passed,
    ]


async def test_one_whose_answer_turns_is_decided_anew_with_all_that_shared_the_read(
    riding: HandSource, current_of_riding: CurrentSnapshot
) -> None:
    riding.now = START + timedelta(seconds=10)
    both = deciding(current_of_riding), deciding(current_of_riding, until=riding.now)
    assert {await each for each in both} == {(1, riding.now)}
    assert (riding.drafts, [len(stored) for stored in riding.stored]) == ([False], [2])


async def test_a_clock_that_was_put_back_is_decided_by(riding: HandSource, current_of_riding: CurrentSnapshot) -> None:
    riding.now = START - timedelta(microseconds=1)
    assert await deciding(current_of_riding) == (1, riding.now)
    assert riding.drafts == [False]
    assert await deciding(current_of_riding) == (1, riding.now)
    assert riding.drafts == [False, True]


async def test_what_holds_for_its_instant_alone_is_decided_on_the_read_itself(
    riding: HandSource, current_of_riding: CurrentSnapshot
) -> None:
    riding.now = START + timedelta(seconds=1)
    at_its_instant = deciding(current_of_riding, until=None)
    others = deciding(current_of_riding), asking(current_of_riding)
    assert await at_its_instant == (1, riding.now)
    assert await others[0] == (1, START)
    assert (await others[1]).now == riding.now
    assert (riding.drafts, [len(stored) for stored in riding.stored]) == ([True], [1, 1])


async def test_a_store_that_is_slow_in_storing_reads_on_for_others_when_lines_go_beside() -> None:
    """A write that holds the lock of a file must not be taken for a file that is away."""
    source = HandSource(reads_store_lines=False)
    current = CurrentSnapshot(source, 0.3)
    source.may_store.clear()
    asked = deciding(current)
    await settle()
    assert (await asking(current)).snapshot.revision == 1
    assert not asked.done()
    source.may_store.set()
    await asked
    await current.aclose()


# -- no line, no answer -----------------------------------------------------------------------------------------------


async def test_a_line_that_is_not_stored_in_time_is_an_answer_that_is_not_given(
    source: HandSource, current: CurrentSnapshot
) -> None:
    source.may_store.clear()
    begun = asyncio.get_running_loop().time()
    asked = [deciding(current), deciding(current)]
    for task in asked:
        with pytest.raises(StoreUnreachable):
            await task
    assert asyncio.get_running_loop().time() - begun < 0.3 + MARGIN
    assert current.unlogged == 2
    source.may_store.set()
    assert await deciding(current) == (1, START)


async def test_who_was_denied_meanwhile_gets_no_line_that_may_say_otherwise() -> None:
    source = HandSource(reads_store_lines=False)
    current = CurrentSnapshot(source, 0.3)
    source.may_store.clear()
    first = deciding(current, a_line("16SW"))
    await settle()
    second = deciding(current, a_line("17TX"))
    await settle()
    second.cancel()
    source.may_store.set()
    await first
    await deciding(current, a_line("18UY"))
    assert [line.place for stored in source.stored for line in stored] == ["16SW", "18UY"]
    await current.aclose()


@pytest.mark.parametrize("fault", [OSError("the disk is full"), TimeoutError()])
async def test_a_statement_that_fails_denies_who_shared_it_and_the_next_finds_the_store_again(
    source: HandSource, current: CurrentSnapshot, fault: Exception
) -> None:
    source.store_fault = fault
    outcomes = await asyncio.gather(*(deciding(current) for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnreachable] * 3
    assert current.unlogged == 3
    source.store_fault = None
    assert await deciding(current) == (1, START)


async def test_a_history_that_turns_out_to_be_another_one_denies_what_was_decided_on_it(riding: HandSource) -> None:
    current = CurrentSnapshot(riding, 0.3)
    riding.revision = 5
    await current.get()
    riding.revision = 4
    with pytest.raises(StoreBehind):
        await deciding(current)
    assert (riding.drafts, riding.stored) == ([False], [])
    await current.aclose()


async def test_large_batches_hold_up_others_for_one_statement_at_most(
    source: HandSource, current: CurrentSnapshot
) -> None:
    many = [a_line()] * (MOST_LINES * 3 // 4)
    await asyncio.gather(deciding(current), *(deciding(current, *many) for _ in range(3)))
    assert [len(stored) for stored in source.stored] == [1 + len(many), len(many), len(many)]
    assert await deciding(current, *many, *many) == (1, START), "one alone may have more"


async def test_what_cannot_be_decided_fails_for_itself_alone(source: HandSource, current: CurrentSnapshot) -> None:
    def fail(*_: object) -> Logged[int]:
        raise ArithmeticError

    failing = asyncio.create_task(current.decide(fail))
    fine = deciding(current)
    with pytest.raises(ArithmeticError):
        await failing
    assert await fine == (1, START)


async def test_where_decisions_are_not_logged_nothing_is_stored_and_nothing_waits(source: HandSource) -> None:
    current = CurrentSnapshot(source, 0.3, logged=False)
    source.may_store.clear()
    assert await deciding(current) == (1, START)
    assert (source.started, source.stored, source.drafts) == (1, [], [])
    await current.aclose()


@pytest.mark.parametrize("gate", ["may_read", "may_store"])
async def test_who_still_waits_when_the_process_stops_is_denied(
    source: HandSource, current: CurrentSnapshot, gate: str
) -> None:
    blocked: Callable[[], None] = getattr(source, gate).clear
    blocked()
    asked = deciding(current)
    await settle()
    await current.aclose()
    with pytest.raises(StoreUnreachable):
        await asked
