"""The loop of every job: repeats one turn for as long as the process runs, whatever exception a turn raises.

Several processes may run the same job at once: each makes its changes in transactions of its own.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import SystemRandom

from api.store.outage import StoreUnreachable

#: Random pauses come from the system's generator, so that they do not consume numbers of the generator that tests seed.
_RANDOM = SystemRandom()

Pause = Callable[[], Awaitable[None]]


def every(seconds: float) -> Pause:
    """A pause of `seconds`."""

    async def pause() -> None:
        await asyncio.sleep(seconds)

    return pause


def about_every(seconds: float) -> Pause:
    """A random pause of 0.5 to 1.5 times `seconds`, so that processes started together run at different times."""

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
    """Runs `turn` after each `pause`, and before the first one if `at_once` is set. It ends only when cancelled.

    An exception is logged with its traceback and the text `failed`; an unreachable store is logged at the level
    `outage`.
    """
    if at_once:
        await _safely(turn, log, failed, outage)
    while True:
        await pause()
        await _safely(turn, log, failed, outage)


async def drain(step: Callable[[], Awaitable[int]], least: int, pause_seconds: float = 0.0) -> None:
    """Repeats `step` while it returns at least `least` done items, with pauses in which other tasks run."""
    while await step() >= least:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(pause_seconds)


async def _safely(turn: Callable[[], Awaitable[object]], log: logging.Logger, failed: str, outage: int) -> None:
    try:
        await turn()
    except StoreUnreachable as error:
        log.log(outage, "the store did not answer: %s", error)
    except Exception:
        log.exception(failed)
