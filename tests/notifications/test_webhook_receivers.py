"""Whatever a receiver does, it gets all of it in order once it is well again, and holds up no other."""

import asyncio
from pathlib import Path
from typing import Any, Final

from api.notifications.sender import MOST_BYTES
from tests.notifications.webhook_receivers import (
    Behaviour,
    Received,
    accepting,
    answering,
    receiving,
    resetting,
    saying,
    silent,
)
from tests.notifications.webhook_subscriber import (
    call,
    changed,
    delivered,
    in_order,
    listed,
    lives_of_grants,
    logged_attempts,
    made,
    settled,
    subscribed,
    tell_the_time,
    until_disabled,
)
from tests.worlds.world import World, world_on

HEAD: Final = b"HTTP/1.1 200 OK\r\n"
#: What a receiver does, and what comes of it: the outcome, and the status where there is one.
BAD: Final[dict[str, tuple[Behaviour, str, int | None]]] = {
    "answers 500": (answering(500, b"oops"), "refused", 500),
    "answers 404": (answering(404), "refused", 404),
    "answers 302": (answering(302, b"", "Location: http://127.0.0.1:9/"), "redirected", 302),
    "resets": (resetting, "answer_broken", None),
    "hangs up": (saying(b""), "answer_broken", None),
    "says nothing": (silent, "too_slow", None),
    "talks no HTTP": (saying(b"220 mail.example.nl ESMTP\r\n"), "answer_broken", None),
    "ends before it said it would": (saying(HEAD + b"Content-Length: 100\r\n\r\nshort"), "answer_broken", 200),
    "ends within its head": (saying(HEAD + b"Content-Le"), "answer_broken", None),
    "ends within a chunk": (saying(HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\nx"), "answer_broken", 200),
    "says two lengths": (saying(HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"), "answer_broken", None),
    "says no length": (saying(HEAD + b"Content-Length: -1\r\n\r\n"), "answer_broken", None),
    "answers too much": (answering(200, b"x" * (MOST_BYTES + 1)), "answer_too_long", 200),
    "promises too much": (saying(HEAD + b"Content-Length: 9999999999\r\n\r\n" + b"x" * 99_999), "answer_too_long", 200),
    "trickles its head": (saying(HEAD + b"X: y\r\n" * 999, seconds_between_bytes=0.1), "too_slow", None),
    "trickles its body": (
        saying(HEAD + b"Content-Length: 999\r\n\r\n" + b"x" * 999, seconds_between_bytes=0.1),
        "too_slow",
        None,
    ),
    "says without end that it goes on": (saying(b"HTTP/1.1 100 Continue\r\n\r\n" * 500), "answer_broken", None),
}


async def test_what_is_not_well_received_comes_again_and_in_order_once_it_is(told: World) -> None:
    """Each does so to a subscription of its own, all at once: none holds up another one."""
    healed = False

    async def behave(received: Received, reader: Any, writer: Any) -> None:
        await (answering(204) if healed else BAD[names[received.path]][0])(received, reader, writer)

    async with receiving() as receiver:
        receiver.behaviour = behave
        names = {f"/{number}": what for number, what in enumerate(BAD)}
        made_for: dict[str, dict[str, Any]] = {}
        for number, what in enumerate(BAD):
            client_id = "rekenrijk" if number % 2 else "taalboom"
            url = f"http://127.0.0.1:{receiver.port}/{number}"
            made_for[what] = await subscribed(told, url, client_id=client_id)
        many = await lives_of_grants(told, 1) + await lives_of_grants(told, 1, "taalboom")
        async with delivered(told.store, seconds=3, at_once=200):
            found = {what: await one_attempt(told, each) for what, each in made_for.items()}
            healed = True
            told.clock.advance(seconds=6)
            for each in made_for.values():
                assert (await settled(told, each))["failingSince"] is None
        for what, (_, outcome, status) in BAD.items():
            assert (found[what]["outcome"], found[what]["statusCode"]) == (outcome, status), what
        for path, what in names.items():
            came = [each for each in receiver.received if each.path == path]
            log = await listed(told, made_for[what], "deliveries")
            accepted = {each["messageId"]: each for each in log if each["outcome"] == "delivered"}
            assert len(accepted) == many // 2, what
            assert {each.id for each in came} == set(accepted), what
            assert in_order([each for each in came if each.id in accepted]), what
            assert all(each.is_signed_with(made_for[what]["secret"]) for each in came), what


async def one_attempt(world: World, subscription: dict[str, Any]) -> dict[str, Any]:
    """The first attempt that was made, once there is one; it failed, and the partner sees that."""
    log: list[dict[str, Any]] = []
    async with asyncio.timeout(60):
        while True:
            log = await listed(world, subscription, "deliveries")
            if log:
                break
            await asyncio.sleep(0.05)
    shown = (await call(world, "GET", f"/{subscription['subscriptionId']}", client_id=subscription["clientId"])).json()
    assert shown["failingSince"] is not None
    return log[-1]


async def test_what_comes_behind_the_end_of_an_answer_is_not_read(told: World) -> None:
    """It lies about its length, but its answer is whole: a rule of ours, and of HTTP's."""
    async with receiving() as receiver:
        receiver.behaviour = saying(HEAD + b"Content-Length: 2\r\n\r\nok" + b"and more" * 1_000)
        async with delivered(told.store):
            subscription = await subscribed(told, receiver.url)
            await told.granted()
            await settled(told, subscription)
    assert [each["outcome"] for each in await listed(told, subscription, "deliveries")] == ["delivered"]


async def test_a_receiver_that_is_not_there_gets_all_of_it_in_order_once_it_is(told: World) -> None:
    async with receiving() as receiver:
        port, url = receiver.port, receiver.url
    subscription = await subscribed(told, url)
    async with delivered(told.store):
        many = await lives_of_grants(told, 2)
        await logged_attempts(told, 2)
        assert {each["outcome"] for each in await listed(told, subscription, "deliveries")} == {"not_connected"}
        async with receiving(port) as receiver:
            told.clock.advance(seconds=6)
            await settled(told, subscription)
    assert len(receiver.accepted) == many
    assert in_order(receiver.accepted)


async def test_a_message_that_waits_holds_back_its_school_and_no_other(told: World) -> None:
    async with receiving() as receiver:
        refuse = answering(503)

        async def choose(received: Any, reader: Any, writer: Any) -> None:
            await (refuse if received.school == "16SW" else answering(204))(received, reader, writer)

        receiver.behaviour = choose
        async with delivered(told.store):
            await subscribed(told, receiver.url)
            await lives_of_grants(told, 2)
            await logged_attempts(told, 9)
        schools = [each.school for each in receiver.received]
        assert (schools.count("16SW"), schools.count("17TX")) == (1, 8)


async def test_a_slow_receiver_holds_up_no_other(told: World) -> None:
    """With as many subscriptions and schools as there is room for messages."""
    async with receiving() as slow, receiving() as quick:
        slow.behaviour = silent
        for number in range(8):
            await subscribed(told, f"{slow.url}/{number}")
        subscription = await subscribed(told, quick.url, client_id="taalboom")
        await lives_of_grants(told, 1)
        async with delivered(told.store, seconds=600):
            await slow.was_asked(2)
            many = await lives_of_grants(told, 1, "taalboom")
            await quick.has(many)
        assert len(slow.received) == 2, "a connection has a quarter of the room"
        assert subscription["clientId"] == "taalboom"


async def test_a_receiver_that_is_gone_is_told_nothing_more(told: World) -> None:
    async with receiving() as receiver:
        receiver.behaviour = answering(410)
        async with delivered(told.store):
            subscription = await subscribed(told, receiver.url)
            await told.granted()
            shown = await until_disabled(told, "gone")
            assert (shown["waiting"], shown["nextAttemptAt"], shown["disabledAt"] is None) == (1, None, False)
            told.clock.advance(days=2)
            await told.granted(brin="17TX")
            assert len(await made(told)) == 1, "what is disabled makes no messages"
            operators = (await told.operate("GET", "/v1/connections/rekenrijk/webhooks")).json()["items"]
            assert operators == [(await call(told, "GET")).json()["items"][0]]
            changes = (await told.operate("GET", "/v1/changes?clientId=rekenrijk&limit=500")).json()["items"]
            assert [each["event"] for each in changes if each["event"].startswith("webhook")][-1] == "webhook.disabled"
            tell_the_time(told)
            receiver.behaviour = accepting()
            assert (await changed(told, subscription, "_enable"))["state"] == "active"
            await settled(told, subscription)
        assert len(receiver.received) == 2
        assert len({each.id for each in receiver.received}) == 1


async def test_two_workers_deliver_each_message_once(told: World) -> None:
    async with receiving() as receiver:
        subscription = await subscribed(told, receiver.url)
        many = await lives_of_grants(told, 3)
        async with delivered(told.store), delivered(told.store):
            await settled(told, subscription)
        assert len(receiver.accepted) == len({each.id for each in receiver.accepted}) == many
        assert in_order(receiver.accepted)


async def test_the_service_delivers_beside_its_decisions(store_url: str, tmp_path: Path) -> None:
    async with receiving() as receiver, world_on(store_url, tmp_path, deliver=True) as world:
        tell_the_time(world)
        await world.register()
        subscription = await subscribed(world, receiver.url)
        await world.granted()
        await settled(world, subscription)
        assert receiver.accepted[0].is_signed_with(subscription["secret"])
