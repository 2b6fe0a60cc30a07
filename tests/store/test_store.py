"""A write commits its row, its event and its revision together, or nothing."""

import pytest
from sqlalchemy.exc import DBAPIError

from api.store.events import SYSTEM, record
from api.store.migrations import head, revision_of
from api.store.store import Store
from models.consents.schools import Board, School
from models.log.events import Event, Revision
from models.vocabulary.event_kinds import EventKind

pytestmark = pytest.mark.both_stores


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


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
async def test_a_value_that_the_database_refuses_is_not_told_as_an_outage(store: Store) -> None:
    """To repeat such a write, as one does after an outage, would never help."""
    with pytest.raises(DBAPIError, match="too long"):
        async with store.writing() as write:
            write.session.add(Board(number="1" * 6))
            await write.session.flush()
    assert await _revision(store) == (0, 0)
