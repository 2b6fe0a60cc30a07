"""Who asked first writes first, a decision's line goes before them, and whoever gives up is in nobody's way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from api.store.events import SYSTEM, record
from api.store.outage import StoreUnreachable
from api.store.sqlite_wal import WriteAheadLog
from api.store.store import Store
from models.vocabulary.event_kinds import EventKind
from tests.notifications.webhook_receivers import receiving
from tests.notifications.webhook_subscriber import settled, subscribed, tell_the_time
from tests.store.test_sqlite_wal import erase, revoked
from tests.worlds.world import World, world_on
from tests.worlds.world_evidence import where_it_is

pytestmark = pytest.mark.both_stores

on_sqlite = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)


def of_the_service(world: World) -> Store:
    """The store as those have it who serve."""
    store: Store = cast(Any, world.service)._app.state.store
    return store


async def write(store: Store) -> None:
    """A write that changes something: where it changes nothing, nobody has to look again at what they wait for."""
    async with store.writing() as made:
        record(made, EventKind.SCHOOLS_IMPORTED, SYSTEM, {})


async def test_who_asked_first_writes_first(store: Store) -> None:
    """Where the lock went to whoever looked at the right moment, one of many could wait for it until it was refused."""
    order: list[int] = []

    async def numbered(number: int) -> None:
        await write(store)
        order.append(number)

    async with asyncio.TaskGroup() as group, store.writing() as first:
        record(first, EventKind.SCHOOLS_IMPORTED, SYSTEM, {})
        for number in range(10):
            group.create_task(numbered(number))
            await asyncio.sleep(0.05)
    assert order == list(range(10))


async def test_two_stores_have_one_queue(store: Store) -> None:
    """On a file those of one process; on PostgreSQL, which keeps the queue, of any."""
    url = store.url.render_as_string(hide_password=False)
    other, order = Store(url, queue=store.queue if store.is_sqlite else None), list[int]()

    async def numbered(number: int) -> None:
        await write((store, other)[number % 2])
        order.append(number)

    async with asyncio.TaskGroup() as group, store.writing():
        for number in range(10):
            group.create_task(numbered(number))
            await asyncio.sleep(0.05)
    await other.aclose()
    assert order == list(range(10))


@on_sqlite
@pytest.mark.parametrize("kind", ["writing", "marking", "deleting"])
async def test_a_write_whose_turn_does_not_come_is_told_so(
    store: Store, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.store.store.LOCK_WAIT_SECONDS", 0.2)

    async def other() -> None:
        if kind == "deleting":
            raise AssertionError(await store.deleting(lambda now: pytest.fail("it was its turn")))
        async with store.writing() if kind == "writing" else store.marking():
            pytest.fail("it was its turn")

    async with store.writing():
        with pytest.raises(StoreUnreachable, match="others write"):
            await other()
    await write(store)


async def test_a_write_that_waits_and_gives_up_is_in_nobodys_way(store: Store) -> None:
    async with asyncio.timeout(3), store.writing():
        gives_up, waits = asyncio.create_task(write(store)), asyncio.create_task(write(store))
        await asyncio.sleep(0.1)
        gives_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gives_up
    async with asyncio.timeout(3):
        await waits
        await write(store)


@pytest.mark.parametrize("kind", ["writing", "marking"])
async def test_a_write_that_is_given_up_lets_the_next_one_in(store: Store, kind: str) -> None:
    has_it = asyncio.Event()

    async def for_ever() -> None:
        async with store.writing() if kind == "writing" else store.marking():
            has_it.set()
            await asyncio.sleep(60)

    holds = asyncio.create_task(for_ever())
    await has_it.wait()
    waits = asyncio.create_task(write(store))
    await asyncio.sleep(0.1)
    holds.cancel()
    async with asyncio.timeout(3):
        await waits
    with pytest.raises(asyncio.CancelledError):
        await holds


# -- who else writes to the file --------------------------------------------------------------------------------------


@on_sqlite
async def test_the_line_of_a_decision_waits_for_one_write_and_not_for_all_that_wait(
    store_url: str, tmp_path: Path
) -> None:
    """Else decisions would be denied for as long as many write."""
    async with world_on(store_url, tmp_path, store_deadline=10) as world:
        await world.register()
        await world.granted()
        store, order = of_the_service(world), list[str]()

        async def named(name: str) -> None:
            async with store.writing():
                order.append(name)
                await asyncio.sleep(0.1)

        async def ask() -> None:
            assert await world.reason() == "granted"
            order.append("decision")

        async with asyncio.TaskGroup() as group, store.writing():
            for number in range(4):
                group.create_task(named(f"write {number}"))
            await asyncio.sleep(0.1)
            group.create_task(ask())
            await asyncio.sleep(0.1)
        # The next write may be told its turn before the decision's answer is through.
        assert order.index("decision") <= 1


@on_sqlite
async def test_who_delivers_in_the_process_that_serves_waits_for_their_turn(store_url: str, tmp_path: Path) -> None:
    async with receiving() as receiver, world_on(store_url, tmp_path, deliver=True) as world:
        tell_the_time(world)
        await world.register()
        subscription = await subscribed(world, receiver.url)
        async with of_the_service(world).queue.turn(5):
            # From another process, as it were.
            async with world.store.writing() as other:
                state = {"status": "granted"}
                record(other, EventKind.GRANT_AMENDED, SYSTEM, state, brin="16SW", client_id="rekenrijk")
            await asyncio.sleep(1.5)
            assert receiver.received == []
        await settled(world, subscription)
        assert receiver.accepted


@on_sqlite
async def test_what_is_erased_while_many_write_is_gone_when_the_answer_comes(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = WriteAheadLog.empty

    async def later(log: WriteAheadLog) -> None:
        # If others could, they would write by then.
        await asyncio.sleep(0.05)
        await empty(log)

    monkeypatch.setattr(WriteAheadLog, "empty", later)
    async with world_on(store_url, tmp_path) as world:
        number, kept = await revoked(world)
        assert await where_it_is(world, kept)
        async with writers(of_the_service(world)):
            await erase(world, number)
            assert await where_it_is(world, kept) == []


@asynccontextmanager
async def writers(store: Store, many: int = 4) -> AsyncIterator[None]:
    """So many write, each again as soon as it has written."""

    async def again_and_again() -> None:
        while True:
            await write(store)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(again_and_again()) for _ in range(many)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
