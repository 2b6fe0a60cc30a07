"""A loop that is late is told apart from a store that does not answer."""

import asyncio
import socket
import threading
import time

import pytest

from api.app import source_for
from api.snapshot import patience as patience_module
from api.snapshot.current import CurrentSnapshot
from api.snapshot.patience import Deadline, Patience
from api.store.outage import StoreUnreachable
from api.store.store import Store
from tests.worlds.controlled_source import HandSource
from tests.worlds.snapshot_waiters import MARGIN, asking, settle, unreachable

SECONDS = 0.1


async def answer_of(other: socket.socket) -> bytes:
    """The bytes that the other side sends, read by the loop."""
    reader, writer = await asyncio.open_connection(sock=other)
    try:
        return await reader.readexactly(4)
    finally:
        writer.close()


async def test_what_has_arrived_while_the_loop_was_held_up_is_in_time() -> None:
    here, there = socket.socketpair()
    with there:
        answering = asyncio.create_task(answer_of(here))
        await asyncio.sleep(0.01)
        threading.Timer(SECONDS / 2, there.sendall, [b"here"]).start()
        async with Patience(SECONDS):
            asyncio.get_running_loop().call_soon(time.sleep, 3 * SECONDS)
            assert await answering == b"here"


async def test_who_does_not_answer_is_given_up_in_time_and_no_sooner() -> None:
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        async with Patience(SECONDS):
            await asyncio.Event().wait()
    assert SECONDS <= time.monotonic() - begun < SECONDS + MARGIN


async def test_a_loop_that_is_late_again_and_again_gives_up_all_the_same() -> None:
    held_up = asyncio.create_task(_hold_up())
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        async with Patience(SECONDS):
            await asyncio.Event().wait()
    assert time.monotonic() - begun < 3 * SECONDS + MARGIN
    held_up.cancel()


async def _hold_up() -> None:
    while True:
        await asyncio.sleep(0)
        time.sleep(0.05)  # noqa: ASYNC251 - that is the point


async def test_who_stood_still_for_long_takes_no_answer_of_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience_module, "MOST_LATE_SECONDS", SECONDS)
    expired = list[float]()
    begun = time.monotonic()
    Deadline(SECONDS, lambda: expired.append(time.monotonic() - begun))
    await asyncio.sleep(0)
    time.sleep(3 * SECONDS)  # noqa: ASYNC251 - that is the point
    await asyncio.sleep(0.01)
    assert len(expired) == 1


async def test_a_deadline_that_is_cancelled_expires_no_more() -> None:
    expired = list[bool]()
    Deadline(0.01, lambda: expired.append(True)).cancel()
    Deadline(0.02, lambda: expired.append(False))
    await asyncio.sleep(0.1)
    assert expired == [False]


@pytest.mark.both_stores
async def test_a_decision_is_not_denied_for_what_held_up_the_loop(store: Store) -> None:
    """The loop is held up for longer than a deadline, and the store has answered meanwhile."""
    current = CurrentSnapshot(source_for(store), deadline=SECONDS)
    try:
        await current.get()
        for _ in range(5):
            waiter = asking(current)
            await asyncio.sleep(0.002)  # the read is under way
            time.sleep(3 * SECONDS)  # noqa: ASYNC251 - that is the point
            assert (await waiter).snapshot.revision == 0
    finally:
        await current.aclose()


async def test_a_store_that_is_away_is_noticed_also_where_the_loop_was_late() -> None:
    source = HandSource()
    source.may_read.clear()
    current = CurrentSnapshot(source, deadline=SECONDS)
    waiter = asking(current)
    await settle()
    time.sleep(2 * SECONDS)  # noqa: ASYNC251 - that is the point
    assert await unreachable(waiter) < 2 * SECONDS + MARGIN
    with pytest.raises(StoreUnreachable):
        await current.get()
    await current.aclose()
