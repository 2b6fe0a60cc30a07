"""Rows that one write appends: every event, the subtrees that they complete, and the messages to subscribers."""

import pytest
from sqlmodel import col, select

from api.evidence.verification import faults
from api.store.events import SYSTEM, record
from api.store.store import Store
from models.consents.webhooks import WebhookMessage
from models.log.events import Event, LogNode
from models.log.merkle import Node, Peaks
from models.vocabulary.event_kinds import EventKind
from tests.notifications.webhook_subscriber import subscribed
from tests.worlds.world import World

pytestmark = pytest.mark.both_stores


async def append(store: Store, count: int) -> None:
    async with store.writing() as write:
        for number in range(count):
            record(write, EventKind.SCHOOLS_IMPORTED, SYSTEM, {"added": number})


async def test_the_subtrees_that_a_write_completes_are_kept_all_of_them(store: Store) -> None:
    for count in (1_300, 3, 500):  # of two statements; of none; of one, behind part of a subtree
        await append(store, count)
    async with store.reading() as session:
        leaves = (await session.exec(select(Event.leaf).order_by(col(Event.number)))).all()
        kept = (await session.exec(select(LogNode).order_by(col(LogNode.level), col(LogNode.position)))).all()
        assert await faults(session) == []
    peaks, completed = Peaks(), list[Node]()
    for leaf in leaves:
        assert leaf is not None
        peaks, more = peaks.appended(leaf)
        completed += more
    assert len(completed) == 7
    assert [Node(node.level, node.position, bytes(node.hash)) for node in kept] == completed


async def test_a_write_makes_a_message_for_a_subscription_that_is_there_and_none_before(world: World) -> None:
    await world.granted()
    assert await messages(world) == []
    subscription = await subscribed(world, "http://127.0.0.1:9/hier")
    given = await world.granted(brin="17TX")
    await world.step(given["grantId"], "revoke", {"reason": "Klaar."}, brin="17TX")
    made = await messages(world)
    assert [each.subscription_id for each in made] == [subscription["subscriptionId"]] * 2
    async with world.store.reading() as session:
        kinds = [(await session.get_one(Event, each.number)).kind for each in made]
    assert kinds == [EventKind.GRANT_GRANTED, EventKind.GRANT_REVOKED]


async def test_a_subscription_to_some_kinds_gets_no_message_of_another(world: World) -> None:
    await subscribed(world, "http://127.0.0.1:9/hier", types=["grant.revoked"])
    given = await world.granted()
    assert await messages(world) == []
    await world.step(given["grantId"], "revoke", {"reason": "Klaar."})
    assert len(await messages(world)) == 1


async def messages(world: World) -> list[WebhookMessage]:
    async with world.store.reading() as session:
        return list((await session.exec(select(WebhookMessage).order_by(col(WebhookMessage.number)))).all())
