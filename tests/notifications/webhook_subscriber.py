"""A partner that is told of changes: it subscribes, and what is due is delivered."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from sqlmodel import col, func, select

from api.notifications.delivery import Delivery, Pace
from api.notifications.sender import Sender
from api.notifications.targets import Targets
from api.store.store import Store
from models.consents.webhooks import WebhookAttempt, WebhookMessage
from tests.notifications.webhook_receivers import Received
from tests.worlds.world import Answer, World

SUBSCRIPTIONS = "/v1/webhooks/subscriptions"


async def call(world: World, method: str, path: str = "", body: Any = None, **more: Any) -> Answer:
    """As the partner `client_id`."""
    token = world.token("partner", client_id=more.pop("client_id", "rekenrijk"))
    return await world.call(method, f"{SUBSCRIPTIONS}{path}", token, body, **more)


async def subscribed(world: World, url: str, **more: Any) -> dict[str, Any]:
    """A subscription that was made, with its secret."""
    client_id = more.pop("client_id", "rekenrijk")
    made = await call(world, "POST", body={"url": url, **more}, client_id=client_id)
    assert made.status_code == 201, made.text
    shown: dict[str, Any] = made.json()
    return shown


async def changed(world: World, subscription: dict[str, Any], step: str, body: Any = None) -> dict[str, Any]:
    """What a step answers that succeeds."""
    answer = await call(world, "POST", f"/{subscription['subscriptionId']}/{step}", body)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def listed(world: World, subscription: dict[str, Any], what: str) -> list[dict[str, Any]]:
    """Its deliveries or its dead letters, all of them, by parts of fifty."""
    items: list[dict[str, Any]] = []
    query = "?limit=50"
    while True:
        path = f"/{subscription['subscriptionId']}/{what}{query}"
        page = (await call(world, "GET", path, client_id=subscription["clientId"])).json()
        items += page["items"]
        if page["next"] is None:
            return items
        query = f"?limit=50&cursor={page['next']}"


async def settled(world: World, subscription: dict[str, Any], seconds: float = 60) -> dict[str, Any]:
    """The subscription, once nothing waits for it any more. Time goes on meanwhile: what failed comes again."""
    async with asyncio.timeout(seconds):
        while True:
            path, client_id = f"/{subscription['subscriptionId']}", subscription["clientId"]
            shown: dict[str, Any] = (await call(world, "GET", path, client_id=client_id)).json()
            if not shown["waiting"]:
                return shown
            await asyncio.sleep(0.05)
            world.clock.advance(seconds=0.1)


def tell_the_time(world: World) -> None:
    """The clock stands at the present: who verifies a signature looks at their own."""
    world.clock.now = datetime.now(UTC)


@asynccontextmanager
async def delivered(store: Store, *, seconds: float = 5, at_once: int = 8) -> AsyncIterator[Delivery]:
    """What is due is delivered meanwhile; a receiver has so many seconds."""
    targets = Targets(loopback=True)
    delivery = Delivery(store, Sender(targets, seconds=seconds), Pace(at_once), interval=0.02)
    async with running(delivery):
        yield delivery
    targets.close()


@asynccontextmanager
async def running(delivery: Delivery) -> AsyncIterator[None]:
    """It runs meanwhile."""
    task = asyncio.create_task(delivery.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def in_order(received: list[Received]) -> bool:
    """Whether of each school each message came after all that is older, once those are left out that came again."""
    seen: set[str] = set()
    last: dict[str | None, int] = {}
    for each in received:
        if each.id in seen:
            continue
        seen.add(each.id)
        if each.number < last.get(each.school, 0):
            return False
        last[each.school] = each.number
    return True


async def lives_of_grants(world: World, many: int, client_id: str = "rekenrijk") -> int:
    """So many lives of a grant at each of two schools, by turns; how many messages that makes."""
    for _ in range(many):
        given = [await world.granted(client_id, brin=brin) for brin in ("16SW", "17TX")]
        for step in ("suspend", "resume", "revoke"):
            for grant in given:
                body = {"reason": "Oefening."}
                assert (await world.step(grant["grantId"], step, body, brin=grant["school"])).status_code == 200
    return many * 8


async def made(world: World) -> list[WebhookMessage]:
    """Every message there is."""
    async with world.store.reading() as session:
        return list((await session.exec(select(WebhookMessage).order_by(col(WebhookMessage.number)))).all())


async def until_disabled(world: World, why: str) -> dict[str, Any]:
    """The one subscription that there is, once it is disabled."""
    async with asyncio.timeout(60):
        while True:
            shown: dict[str, Any] = (await call(world, "GET")).json()["items"][0]
            if shown["state"] == "disabled":
                assert shown["disabledReason"] == why
                return shown
            await asyncio.sleep(0.02)


async def logged_attempts(world: World, many: int) -> None:
    """Waits until so many attempts were noted."""
    async with asyncio.timeout(60):
        while True:
            async with world.store.reading() as session:
                if (await session.exec(select(func.count()).select_from(WebhookAttempt))).one() >= many:
                    return
            await asyncio.sleep(0.02)
