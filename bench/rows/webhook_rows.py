"""Rows of webhooks: the effect of a full outbox on decisions while receivers are unreachable."""

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Any

import asyncpg

from api.store.events import SYSTEM, record
from api.store.store import Store
from bench import servers
from bench.filling import driver_url, vacuum_and_checkpoint
from bench.load import Turn, in_turns, put_load
from bench.setting import POSTGRESQL, SQLITE, Aim, Bench
from bench.world import World
from models.consents.webhooks import WebhookSubscription
from models.vocabulary.event_kinds import EventKind

SUBSCRIPTIONS = 1_000
#: Changes per connection, each at another school.
CHANGES = 100
CONNECTIONS = 16


def with_a_full_outbox(bench: Bench) -> None:
    """Measures decisions while messages of 1,000 subscriptions wait, and while receivers cannot be reached."""
    _on(bench, POSTGRESQL)
    # With the decision log, as by default: lines and messages are written to the same file.
    _on(bench, SQLITE, logged=True)


def _on(bench: Bench, kind: str, *, logged: bool = False) -> None:
    world = bench.options.world
    none, url = (bench.new_store(kind, name, world) for name in ("without_webhooks", "webhooks"))
    bench.say(f"filling the outbox of {SUBSCRIPTIONS:,} subscriptions")
    messages = asyncio.run(_fill(url, world, f"http://127.0.0.1:{servers.free_port()}/"))

    def turn(url: str, *, delivers: bool = False) -> Turn:
        """One turn on a server of its own, after a warm-up: one that sends messages must not run on."""
        with servers.hook(bench.folder, url, logged=logged, delivers=delivers) as server:
            target = bench.target("hook", server.origin, world)
            bench.require_right(target, world)
            put_load(target, CONNECTIONS, 1)
            taken = put_load(target, CONNECTIONS, bench.options.seconds)
        if taken.errors:
            bench.notes.append(f"row 18: {taken.errors} decisions were not 200, on {kind}")
        return taken

    def apart() -> Turn:
        with servers.delivery(bench.folder, url):
            return turn(url)

    bench.say(f"decisions while {messages:,} messages wait, on {kind}")
    hooks = [servers.hook(bench.folder, each, logged=logged) for each in (url, none)]
    with hooks[0] as full, hooks[1] as idle:
        targets = [
            bench.target("hook with a full outbox", full.origin, world),
            bench.target("hook without webhooks", idle.origin, world),
        ]
        for target in targets:
            bench.require_right(target, world)
        waiting, compared = bench.turns(targets, CONNECTIONS)
    _compare(bench, f"{kind}: decisions, {messages:,} messages that wait", waiting, compared, Aim(">=", 0.9))

    bench.say(f"decisions while messages are sent, on {kind}")
    ways: list[tuple[str, Aim | None]] = [("the same process", Aim(">=", 0.9))]
    subjects = [lambda: turn(none), lambda: turn(url, delivers=True)]
    if kind == POSTGRESQL:
        # Not on SQLite, where the order of writes of two processes is left to chance.
        ways.append(("another", None))
        subjects.append(apart)
    compared, *sent = in_turns(subjects, bench.options.turns)
    for (way, aim), turns in zip(ways, sent, strict=True):
        _compare(bench, f"{kind}: decisions, messages sent by {way}", turns, compared, aim)


def _compare(bench: Bench, what: str, turns: list[Turn], compared: list[Turn], aim: Aim | None) -> None:
    bench.compare(18, f"{what} : none, {CONNECTIONS} conn.", turns, compared, aim)
    bench.compare_p99(18, "  p99 of the same", turns, compared, None)


async def _fill(url: str, world: World, target: str) -> int:
    """Adds subscriptions of all connections, and changes that concern them. Returns the number of messages."""
    store, each = Store(url), SUBSCRIPTIONS // world.connections
    dated: dict[str, Any] = {"revision": 1, "created_at": datetime.now(UTC), "changed_at": datetime.now(UTC)}
    clients = [world.client_of(number) for number in range(world.connections)]
    async with store.marking() as session:
        for client_id in clients:
            for _ in range(each):
                own: dict[str, Any] = {"subscription_id": str(uuid.uuid4()), "seed": uuid.uuid4().hex, "url": target}
                session.add(WebhookSubscription(client_id=client_id, **own, **dated))
        await session.flush()
    brins = [world.brin_of(number * world.connections) for number in range(min(CHANGES, world.schools))]
    for client_id in clients:
        async with store.writing() as write:
            for brin in brins:
                state = {"status": "granted"}
                record(write, EventKind.GRANT_AMENDED, SYSTEM, state, brin=brin, client_id=client_id)
    await store.aclose()
    if not store.is_sqlite:
        connection = await asyncpg.connect(driver_url(url))
        await vacuum_and_checkpoint(connection)
        await connection.close()
    return each * len(clients) * len(brins)
