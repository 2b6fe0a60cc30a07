"""The loop of every job: it goes on for as long as the process runs, whatever one turn of it meets.

Several processes may run the same job at once: each job takes what it changes in a transaction of its own.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import SystemRandom

from api.store.outage import StoreUnreachable

#: Pauses are drawn from the system's randomness, so that a test that seeds the shared generator is not disturbed.
_RANDOM = SystemRandom()

Pause = Callable[[], Awaitable[None]]


def every(seconds: float) -> Pause:
    """A pause of so many seconds."""

    async def pause() -> None:
        await asyncio.sleep(seconds)

    return pause


def about_every(seconds: float) -> Pause:
    """A pause of half to one and a half times so many seconds: processes that started together do not work together."""

    async def pause() -> None:
        await asyncio.sleep(seconds * _RANDOM.uniform(0.5, 1.5))

    return pause


async def repeat(
    turn: Callable[[], Awaitable[object]],
    pause: Pause,
    log: logging.Logger,
    failed: str,
    *,
    at_once: bool = False,
    outage: int = logging.WARNING,
) -> None:
    """Runs `turn` after each `pause`, and before the first one where `at_once` is set. It ends by being cancelled only.

    An exception is logged with its traceback under the text `failed`; a store that does not answer is logged at the
    level `outage`.
    """
    if at_once:
        await _safely(turn, log, failed, outage)
    while True:
        await pause()
        await _safely(turn, log, failed, outage)


async def drain(step: Callable[[], Awaitable[int]], least: int, pause_seconds: float = 0.0) -> None:
    """Repeats `step` for as long as it did at least `least` things, with a pause in which others get their turn."""
    while await step() >= least:  # noqa: ASYNC110 - nothing tells that there is more
        await asyncio.sleep(pause_seconds)


async def _safely(turn: Callable[[], Awaitable[object]], log: logging.Logger, failed: str, outage: int) -> None:
    try:
        await turn()
    except StoreUnreachable as error:
        log.log(outage, "the store did not answer: %s", error)
    except Exception:
        log.exception(failed)
