"""A write commits its row, its event and its revision together, or nothing."""

import asyncio

import pytest
from sqlalchemy.exc import DBAPIError

from api.events import SYSTEM, record
from api.migrations import head, revision_of
from api.store import Store, StoreUnreachable
from models.events import Event, EventKind, Revision
from models.schools import Board, School


async def _revision(store: Store) -> tuple[int, int]:
    async with store.reading() as session:
        row = await session.get_one(Revision, 1)
        return row.revision, row.events


async def test_a_new_store_is_at_the_head_of_the_migrations(store: Store) -> None:
    assert await revision_of(store) == head()


async def test_a_write_takes_the_next_revision_and_numbers_its_events(store: Store) -> None:
    async with store.writing() as write:
        write.session.add(School(brin="16SW", name="De Regenboog", revision=write.revision))
        record(write, EventKind.SCHOOLS_IMPORTED, SYSTEM, {"added": 1})
        record(write, EventKind.SCHOOLS_IMPORTED, SYSTEM, {"added": 1})
    assert await _revision(store) == (1, 2)
    async with store.reading() as session:
        event = await session.get_one(Event, 2)
        assert event.revision == 1
        assert event.state == {"added": 1}
        assert event.at.utcoffset() is not None


async def test_a_write_without_an_event_changes_nothing(store: Store) -> None:
    async with store.writing() as write:
        write.session.add(Board(number="12345"))
    assert await _revision(store) == (0, 0)
    async with store.reading() as session:
        assert await session.get(Board, "12345") is None


async def test_a_write_that_fails_leaves_nothing_behind(store: Store) -> None:
    with pytest.raises(RuntimeError):
        async with store.writing() as write:
            write.session.add(Board(number="12345"))
            record(write, EventKind.SCHOOLS_IMPORTED, SYSTEM, {})
            raise RuntimeError
    assert await _revision(store) == (0, 0)


async def test_who_asked_first_writes_first(store: Store) -> None:
    """Where the lock went to whoever looked at the right moment, one of many could wait for it until it was refused."""
    order: list[int] = []

    async def write(number: int) -> None:
        async with store.writing():
            order.append(number)

    async with asyncio.TaskGroup() as group, store.writing():
        for number in range(10):
            group.create_task(write(number))
            await asyncio.sleep(0.05)
    assert order == list(range(10))


async def test_a_write_whose_turn_does_not_come_is_told_so(store: Store) -> None:
    async with asyncio.timeout(30), store.writing():
        with pytest.raises(StoreUnreachable):
            async with store.writing():
                pass
    async with store.writing() as write:
        assert write.revision == 1


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
async def test_a_value_that_the_database_refuses_is_not_told_as_an_outage(store: Store) -> None:
    """To repeat such a write, as one does after an outage, would never help."""
    with pytest.raises(DBAPIError, match="too long"):
        async with store.writing() as write:
            write.session.add(Board(number="1" * 6))
            await write.session.flush()
    assert await _revision(store) == (0, 0)
