"""The loop of a job: it goes on after whatever a turn meets, says so, and ends by being cancelled only."""

import asyncio
import logging

import pytest

from api.store.jobs import about_every, drain, every, repeat
from api.store.outage import StoreUnreachable

log = logging.getLogger("tests.jobs")


async def run_until(turns: int, *met: Exception, **how: object) -> list[int]:
    """The turns that a job took; the first ones meet these exceptions."""
    taken: list[int] = []
    enough = asyncio.Event()
    ahead = list(met)

    async def turn() -> None:
        taken.append(len(taken))
        if len(taken) >= turns:
            enough.set()
        if ahead:
            raise ahead.pop(0)

    job = asyncio.create_task(repeat(turn, every(0), log, "the turn failed", **how))  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        await enough.wait()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    return taken


@pytest.mark.parametrize("met", [OSError("no room"), ValueError("unexpected"), KeyError("odd")])
async def test_an_exception_that_nobody_expects_is_logged_and_the_job_goes_on(
    caplog: pytest.LogCaptureFixture, met: Exception
) -> None:
    with caplog.at_level(logging.DEBUG, log.name):
        assert len(await run_until(3, met)) == 3
    (line,) = caplog.records
    assert (line.levelno, line.getMessage()) == (logging.ERROR, "the turn failed")
    assert line.exc_info is not None
    assert line.exc_info[1] is met


async def test_an_outage_of_the_store_is_logged_at_the_level_that_the_job_names(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, log.name):
        await run_until(2, StoreUnreachable("away"))
        await run_until(2, StoreUnreachable("away"), outage=logging.DEBUG)
    assert [line.levelno for line in caplog.records] == [logging.WARNING, logging.DEBUG]
    assert {line.getMessage() for line in caplog.records} == {"the store did not answer: away"}


async def test_a_job_pauses_first_unless_it_is_to_work_at_once() -> None:
    taken: list[int] = []

    async def turn() -> None:
        taken.append(1)

    for at_once, seen in ((False, 0), (True, 1)):
        taken.clear()
        job = asyncio.create_task(repeat(turn, every(60), log, "failed", at_once=at_once))
        for _ in range(5):
            await asyncio.sleep(0)
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        assert len(taken) == seen


async def test_what_waits_is_drained_until_a_step_finds_less() -> None:
    ahead = [5, 5, 3, 5]

    async def step() -> int:
        return ahead.pop(0)

    await drain(step, 5)
    assert ahead == [5]


async def test_a_spread_pause_lasts_half_to_one_and_a_half_times_its_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("api.store.jobs.asyncio.sleep", sleep)
    for _ in range(50):
        await about_every(10)()
    assert all(5 <= seconds <= 15 for seconds in slept)
    assert len(set(slept)) > 10
