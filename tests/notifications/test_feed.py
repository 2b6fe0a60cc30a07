"""The feed of changes: who waits is woken by what concerns it; who asks again misses nothing and gets nothing twice."""

import asyncio
import random
from typing import Any, cast

import pytest

from api.notifications.change_listeners import MOST_OF_ONE, AwaitedChanges
from tests.worlds.world import Answer, World


async def changes(world: World, client_id: str = "rekenrijk", **query: Any) -> Answer:
    token = world.token("partner", client_id=client_id)
    headers = {"Authorization": f"Bearer {token}"}
    return await world.client.get("/v1/consents/changes", params=query, headers=headers)


async def waiting_for(world: World, many: int) -> None:
    """Until so many requests wait."""
    awaited: AwaitedChanges = cast(Any, world.service)._app.state.awaited
    for _ in range(3_000):
        if awaited.waiting == many:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"{awaited.waiting} wait, not {many}")


async def ended_within(seconds: float, task: "asyncio.Task[Answer]") -> bool:
    done, _ = await asyncio.wait({task}, timeout=seconds)
    return bool(done)


async def test_who_waits_gets_what_is_there_at_once(world: World) -> None:
    given = await world.granted()
    answer = await asyncio.wait_for(changes(world, since=0, wait=25), 20)
    assert [each["grantId"] for each in answer.json()["items"]] == [given["grantId"]]


async def test_who_waits_is_woken_by_a_change_of_its_own_and_by_no_other(world: World) -> None:
    await world.register("ander", kvk_number="90000002")
    since = (await world.granted())["revision"]
    waiting = asyncio.create_task(changes(world, since=since, wait=25))
    assert not await ended_within(0.5, waiting)
    await world.granted("ander")
    assert not await ended_within(1.0, waiting)
    given = await world.granted(location="16SW01")
    items = (await asyncio.wait_for(waiting, 20)).json()["items"]
    assert [(each["grantId"], each["revision"]) for each in items] == [(given["grantId"], given["revision"])]


async def test_a_wait_ends_with_nothing_when_nothing_changes(world: World) -> None:
    answer = await asyncio.wait_for(changes(world, since=0, wait=1), 20)
    assert (answer.status_code, answer.json()) == (200, {"items": [], "next": None})


@pytest.mark.parametrize("wait", ["-1", "26", "1.5", "x", ""])
async def test_a_wait_is_some_seconds_and_no_more(world: World, wait: str) -> None:
    assert (await changes(world, wait=wait)).status_code == 400


async def test_no_more_than_a_few_requests_of_one_connection_wait(world: World) -> None:
    await world.register("ander", kvk_number="90000002")
    since = (await world.granted())["revision"]
    waiting = [asyncio.create_task(changes(world, since=since, wait=25)) for _ in range(MOST_OF_ONE)]
    other = asyncio.create_task(changes(world, "ander", since=since, wait=25))
    await waiting_for(world, MOST_OF_ONE + 1)
    refused = await changes(world, since=since, wait=25)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "25")
    assert (await changes(world, since=since)).status_code == 200, "who does not wait is never too many"
    await world.granted("ander")
    await world.granted(location="16SW01")
    for answer in await asyncio.wait_for(asyncio.gather(*waiting, other), 20):
        assert len(answer.json()["items"]) == 1
    assert (await changes(world, since=0, wait=25)).status_code == 200, "those who were answered wait no more"


async def test_each_change_comes_once_and_in_order_while_two_write_and_readers_give_up(world: World) -> None:
    """One reader, that is cut off at random and goes on from the last revision that it had; small parts of the list."""
    chance = random.Random(7)
    grants = [await world.granted(), await world.granted(brin="17TX")]
    got: list[tuple[int, str]] = []
    writing = True

    async def write(grant: dict[str, Any], brin: str) -> None:
        for step in ["suspend", "resume"] * 20:
            assert (await world.step(grant["grantId"], step, {}, brin=brin)).status_code == 200
            await asyncio.sleep(chance.random() / 50)

    async def read() -> None:
        since = max(grant["revision"] for grant in grants)
        while writing or (await changes(world, since=since)).json()["items"]:
            asked = asyncio.create_task(changes(world, since=since, wait=1, limit=chance.choice([1, 3, 500])))
            if not await ended_within(chance.random() / 3, asked):
                asked.cancel()
                continue
            page = asked.result().json()
            items = page["items"]
            while page["next"] is not None:
                page = (await changes(world, since=since, cursor=page["next"])).json()
                items += page["items"]
            got.extend((each["revision"], each["event"]) for each in items)
            since = items[-1]["revision"] if items else since

    reading = asyncio.create_task(read())
    await asyncio.gather(write(grants[0], "16SW"), write(grants[1], "17TX"))
    writing = False
    await asyncio.wait_for(reading, 60)
    first = max(grant["revision"] for grant in grants)
    whole = (await changes(world, since=first)).json()["items"]
    assert len(whole) == 80
    assert got == [(each["revision"], each["event"]) for each in whole]


async def test_who_left_waits_no_more(world: World) -> None:
    since = (await world.granted())["revision"]
    token = world.token("partner", client_id="rekenrijk")
    left = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not asked:
            asked.append(True)
            return {"type": "http.request", "body": b"", "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    for _ in range(MOST_OF_ONE + 1):
        asked: list[bool] = []
        sent: list[dict[str, Any]] = []
        left.clear()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/v1/consents/changes",
            "raw_path": b"/v1/consents/changes",
            "root_path": "",
            "query_string": f"since={since}&wait=25".encode(),
            "headers": [(b"authorization", f"Bearer {token}".encode())],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        task = asyncio.create_task(world.service(scope, receive, send))  # type: ignore[arg-type]
        await waiting_for(world, 1)
        left.set()
        await waiting_for(world, 0)
        await asyncio.wait_for(task, 30)
