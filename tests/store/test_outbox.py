"""The outbox's own steps on messages that wait, are dead, or belong to another subscription."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from sqlmodel import col, select

from api.store import outbox
from api.store.events import SYSTEM, record
from api.store.unit_of_work import Write
from models.consents.webhooks import MessageState, WebhookLane, WebhookMessage
from models.vocabulary.event_kinds import EventKind
from tests.notifications.webhook_subscriber import subscribed
from tests.worlds.world import START, World

pytestmark = pytest.mark.both_stores

HERE, ELSEWHERE = "http://127.0.0.1:9/hier", "http://127.0.0.1:9/daar"


@pytest.fixture
async def two(world: World) -> tuple[str, str]:
    """Two subscriptions of one connection, neither with a message."""
    made = [await subscribed(world, url) for url in (HERE, ELSEWHERE)]
    ours, theirs = (each["subscriptionId"] for each in made)
    return ours, theirs


@asynccontextmanager
async def written(world: World) -> AsyncIterator[Write]:
    """A write of the store's, with the event without which nothing is kept."""
    async with world.store.writing() as write:
        yield write
        record(write, EventKind.SCHOOLS_IMPORTED, SYSTEM, {"added": 0})


async def put(world: World, subscription_id: str, state: MessageState, *numbers: int, lane: str = "16SW") -> None:
    async with written(world) as write:
        for number in numbers:
            message = WebhookMessage(
                subscription_id=subscription_id, number=number, lane=lane, state=state, at=START + timedelta(days=1)
            )
            write.session.add(message)


async def states(world: World, subscription_id: str) -> dict[int, str]:
    async with world.store.reading() as session:
        found = select(WebhookMessage).where(WebhookMessage.subscription_id == subscription_id)
        return {each.number: each.state for each in await session.exec(found)}


async def lanes(world: World) -> list[tuple[str, str, int, int]]:
    async with world.store.reading() as session:
        found = await session.exec(select(WebhookLane).order_by(col(WebhookLane.subscription_id), WebhookLane.lane))
        return sorted((each.subscription_id, each.lane, each.waiting, each.attempts) for each in found)


async def requeued(world: World, subscription_id: str, numbers: list[int] | None, limit: int = 500) -> int:
    async with written(world) as write:
        return await outbox.requeue_dead_letters(write.session, subscription_id, numbers, limit, write.now)


async def test_the_dead_letters_that_are_named_wait_again_and_no_others(world: World, two: tuple[str, str]) -> None:
    ours, theirs = two
    await put(world, ours, MessageState.DEAD, 901, 902, 903)
    await put(world, ours, MessageState.DELIVERED, 904)
    await put(world, theirs, MessageState.DEAD, 901)
    assert await requeued(world, ours, [902, 904, 999]) == 1
    assert await states(world, ours) == {901: "dead", 902: "waiting", 903: "dead", 904: "delivered"}
    assert await states(world, theirs) == {901: "dead"}
    assert await lanes(world) == [(ours, "16SW", 1, 0)]


async def test_without_names_the_oldest_wait_again_as_many_as_are_asked_for(world: World, two: tuple[str, str]) -> None:
    ours, _ = two
    await put(world, ours, MessageState.DEAD, 903, 901, 904, 902)
    assert await requeued(world, ours, None, limit=3) == 3
    assert {number for number, state in (await states(world, ours)).items() if state == "waiting"} == {901, 902, 903}


async def test_what_waits_again_is_counted_by_school_with_what_waited_already(
    world: World, two: tuple[str, str]
) -> None:
    ours, _ = two
    await put(world, ours, MessageState.DEAD, 901, 902)
    await put(world, ours, MessageState.DEAD, 903, lane="17TX")
    assert await requeued(world, ours, [901]) == 1
    assert await requeued(world, ours, None) == 2
    assert await lanes(world) == [(ours, "16SW", 2, 0), (ours, "17TX", 1, 0)]


async def test_a_subscription_that_is_removed_takes_no_others_lanes_with_it(world: World, two: tuple[str, str]) -> None:
    ours, theirs = two
    for subscription_id in two:
        await put(world, subscription_id, MessageState.DEAD, 901)
        await requeued(world, subscription_id, None)
    async with written(world) as write:
        await outbox.drop(write.session, ours)
    assert await lanes(world) == [(theirs, "16SW", 1, 0)]


async def test_who_goes_on_begins_anew_and_others_are_left_as_they_were(world: World, two: tuple[str, str]) -> None:
    ours, theirs = two
    for subscription_id in two:
        await put(world, subscription_id, MessageState.DEAD, 901)
        await requeued(world, subscription_id, None)
    async with written(world) as write:
        for lane in await write.session.exec(select(WebhookLane)):
            lane.attempts = 4
            write.session.add(lane)
    async with written(world) as write:
        await outbox.resume(write.session, ours, write.now)
    assert {each[0]: each[3] for each in await lanes(world)} == {ours: 0, theirs: 4}
