"""Webhooks: what a full outbox takes from decisions, with receivers that are away."""

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Any

from api.events import SYSTEM, record
from api.store import Store
from bench import servers
from bench.load import Target, Turn, in_turns, put_load
from bench.setting import POSTGRESQL, Aim, Bench
from bench.world import World
from models.events import EventKind
from models.webhooks import WebhookSubscription

SUBSCRIPTIONS = 1_000
#: Of each connection, each at a school of its own.
CHANGES = 100
CONNECTIONS = 16


def with_a_full_outbox(bench: Bench) -> None:
    """Decisions while messages of 1,000 subscriptions wait for receivers that are away, against none."""
    world = bench.options.world
    url = bench.new_store(POSTGRESQL, "webhooks", world)
    bench.say(f"filling the outbox of {SUBSCRIPTIONS:,} subscriptions")
    messages = asyncio.run(_fill(url, world, f"http://127.0.0.1:{servers.free_port()}/"))
    with bench.hook(POSTGRESQL, world) as hook:

        def quiet() -> Turn:
            return _turn(bench, hook)

        def beside(*, delivers: bool = True) -> Turn:
            with servers.hook(bench.folder, url, delivers=delivers) as server:
                target = bench.target("hook with a full outbox", server.origin, world)
                bench.require_right(target, world)
                return _turn(bench, target)

        def apart() -> Turn:
            with servers.delivery(bench.folder, url):
                return beside(delivers=False)

        bench.say(f"decisions while {messages:,} messages wait")
        own, other, reference = in_turns([beside, apart, quiet], bench.options.turns)
    for where, turns, aim in (("by the same process", own, Aim(">=", 0.9)), ("by another process", other, None)):
        what = f"decisions, {messages:,} messages sent {where} : none, {CONNECTIONS} conn."
        bench.compare(18, what, turns, reference, aim)
        bench.compare_p99(18, "  p99 of the same", turns, reference, None)


def _turn(bench: Bench, target: Target) -> Turn:
    """After a moment in which it and all that it shares the machine with gets going."""
    put_load(target, CONNECTIONS, 1)
    turn = put_load(target, CONNECTIONS, bench.options.seconds)
    if turn.errors:
        bench.notes.append(f"row 18: {turn.errors} decisions were not 200")
    return turn


async def _fill(url: str, world: World, target: str) -> int:
    """Subscriptions of all connections, and changes that all of them are told of; how many messages that makes."""
    store, each = Store(url), SUBSCRIPTIONS // world.connections
    dated: dict[str, Any] = {"revision": 1, "created_at": datetime.now(UTC), "changed_at": datetime.now(UTC)}
    clients = [world.client_of(number) for number in range(world.connections)]
    async with store.marking() as session:
        for client_id in clients:
            for _ in range(each):
                name = str(uuid.uuid4())
                session.add(WebhookSubscription(subscription_id=name, client_id=client_id, url=target, **dated))
        await session.flush()
    brins = [world.brin_of(number * world.connections) for number in range(min(CHANGES, world.schools))]
    for client_id in clients:
        async with store.writing() as write:
            for brin in brins:
                state = {"status": "granted"}
                record(write, EventKind.GRANT_AMENDED, SYSTEM, state, brin=brin, client_id=client_id)
    await store.aclose()
    return each * len(clients) * len(brins)
