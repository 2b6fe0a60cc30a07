"""A partner is told of each change of its consents, in order per school, whatever its receiver does."""

import asyncio
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import text
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.delivering import tidy
from api.duties import KeepingDuties
from api.events import SYSTEM, record
from api.reminding import Reminding
from api.restoring import Restoring
from api.sending import MOST_BYTES
from api.writes import unsealed
from models.events import Event, EventKind, RememberedAnswer
from models.tables import METADATA
from models.webhooks import (
    DELAYS,
    FAILING_FOR,
    KEPT_FOR,
    LONGEST_WAIT,
    TOLD,
    WebhookAttempt,
    WebhookLane,
    WebhookMessage,
    WebhookSubscription,
    wait_after,
)
from tests.receivers import Behaviour, Received, accepting, answering, receiving, resetting, saying, silent
from tests.subscribed import call, changed, delivered, in_order, listed, settled, subscribed, tell_the_time
from tests.test_grants import problem
from tests.world import NAMES, TERMS, World, world_on


@pytest.fixture
async def told(world: World) -> World:
    """A world at the present, with two partners."""
    tell_the_time(world)
    await world.register()
    await world.register("taalboom", kvk_number="90000002")
    return world


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


# -- what is told ------------------------------------------------------------------------------------------------------


async def test_each_change_is_told_once_signed_and_in_order(told: World) -> None:
    async with receiving() as receiver, delivered(told.store):
        subscription = await subscribed(told, receiver.url)
        many = await lives_of_grants(told, 3)
        await settled(told, subscription)
        assert len(receiver.accepted) == len({each.id for each in receiver.accepted}) == many
        assert in_order(receiver.accepted)
        assert all(each.is_signed_with(subscription["secret"]) for each in receiver.accepted)
        assert not receiver.accepted[0].is_signed_with("whsec_" + "QUJD" * 11)
        feed = (await told.look(path="/changes")).json()["items"]
        assert sorted((each["event"], each["revision"]) for each in feed) == sorted(
            (each.said["type"], each.said["data"]["revision"]) for each in receiver.accepted
        )
        log = await listed(told, subscription, "deliveries")
        assert [each["outcome"] for each in log] == ["delivered"] * many
        assert [each["number"] for each in log] != sorted(each["number"] for each in log), "the latest comes first"


async def test_a_message_says_which_thing_changed_and_no_more(told: World) -> None:
    async with receiving() as receiver, delivered(told.store):
        subscription = await subscribed(told, receiver.url)
        given = await told.granted(location="16SW00")
        revoked = await told.step(given["grantId"], "revoke", {"reason": "Vanwege Pietje de Vries uit groep 5."})
        await settled(told, subscription)
    said = receiver.accepted[-1].said
    number = said["data"].pop("number")
    assert number > 0
    assert said == {
        "type": "grant.revoked",
        "timestamp": revoked.json()["changedAt"],
        "data": {
            "revision": revoked.json()["revision"],
            "clientId": "rekenrijk",
            "school": "16SW",
            "location": "16SW00",
            "grantId": given["grantId"],
            "agreementId": given["agreementId"],
            "status": "revoked",
        },
    }
    assert receiver.accepted[-1].headers["content-type"] == "application/json"
    assert b"Pietje" not in receiver.accepted[-1].body
    assert b"school-subject" not in receiver.accepted[-1].body


async def test_only_the_types_that_were_asked_for_are_told(told: World) -> None:
    await subscribed(told, "http://127.0.0.1:9/", types=["grant.revoked", "grant.amended"])
    await lives_of_grants(told, 1)
    assert len(await made(told)) == 2
    assert (
        await call(told, "POST", body={"url": "http://127.0.0.1:9/", "types": ["incident.opened"]})
    ).status_code == 400


async def test_requests_rules_agreements_and_stops_are_told_too(told: World) -> None:
    for client_id in ("rekenrijk", "taalboom"):
        await subscribed(told, "http://127.0.0.1:9/", client_id=client_id)
    token = told.token("partner", client_id="rekenrijk")
    asked = (await told.call("POST", "/v1/consents/requests", token, {"schools": ["16SW"]})).json()["items"][0]
    await told.administer("POST", f"/requests/{asked['requestId']}/_decline", {"reason": "Nu niet."})
    for path in ("connections/rekenrijk", "partners/90000001"):
        for step in ("_stop", "_lift"):
            assert (await told.operate("POST", f"/v1/{path}/{step}", {"reason": "Oefening."})).status_code == 200
    await told.keep("rekenrijk", "kvk")
    await told.agree("rekenrijk", NAMES, ["onderwijs-en-begeleiding"])
    async with told.store.reading() as session:
        query = select(Event.kind, WebhookMessage.lane).join(Event, col(Event.number) == WebhookMessage.number)
        found = (await session.exec(query.order_by(col(Event.number)))).all()
    assert [tuple(each) for each in found] == [
        ("request.made", "16SW"),
        ("request.declined", "16SW"),
        ("connection.stopped", ""),
        ("connection.stop_lifted", ""),
        ("partner.stopped", ""),
        ("partner.stop_lifted", ""),
        ("ground_rule.met", ""),
        ("agreement.signed", ""),
    ]


async def test_where_nobody_subscribed_nothing_is_noted(told: World) -> None:
    await lives_of_grants(told, 1)
    async with told.store.reading() as session:
        for table in (WebhookMessage, WebhookLane, WebhookAttempt):
            assert (await session.exec(select(func.count()).select_from(table))).one() == 0


async def test_a_change_and_its_messages_are_there_together_or_not_at_all(
    told: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await subscribed(told, "http://127.0.0.1:9/")

    async def fail(_: AsyncSession) -> None:
        raise OSError("the connection was lost")

    with monkeypatch.context() as patched:
        patched.setattr(AsyncSession, "commit", fail)
        assert problem(await told.grant()) == (503, "store_unreachable")
    assert await made(told) == []
    await told.granted()
    assert len(await made(told)) == 1


# -- what receivers do -------------------------------------------------------------------------------------------------

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


# -- time --------------------------------------------------------------------------------------------------------------


def test_a_message_waits_longer_each_time_and_then_no_more() -> None:
    waits = [wait_after(attempts, 0) for attempts in range(1, len(DELAYS) + 1)]
    assert waits == sorted(waits, key=lambda wait: wait or timedelta())
    assert timedelta(days=3) < sum(filter(None, waits), timedelta()) < timedelta(days=4)
    assert wait_after(len(DELAYS) + 1, 0) is None
    assert wait_after(1, 0.999) > DELAYS[0]  # type: ignore[operator]
    assert wait_after(1, 0.999) <= DELAYS[0] * 1.2  # type: ignore[operator]


def test_a_receiver_may_ask_for_more_time_and_not_for_less_or_for_ever() -> None:
    assert wait_after(1, 0, timedelta(minutes=1)) == timedelta(minutes=1)
    assert wait_after(5, 0, timedelta(minutes=1)) == DELAYS[4]
    assert wait_after(1, 0, timedelta(days=99)) == LONGEST_WAIT


async def test_what_is_refused_to_the_end_is_a_dead_letter_and_may_be_replayed(told: World) -> None:
    async with receiving() as receiver:
        receiver.behaviour = answering(500)
        async with delivered(told.store):
            subscription = await subscribed(told, receiver.url)
            given = await told.granted()
            await told.step(given["grantId"], "revoke", {"reason": "Klaar."})
            first = (await made(told))[0].number
            for attempt, delay in enumerate((*DELAYS, timedelta()), start=1):
                await logged_attempts(told, attempt)
                told.clock.advance(seconds=1.2 * delay.total_seconds())
            # Then the school's next message goes.
            await logged_attempts(told, len(DELAYS) + 2)
            assert [each.number for each in receiver.received][-2:] == [first, first + 1]
            (dead,) = await listed(told, subscription, "dead-letters")
            assert (dead["number"], dead["type"], dead["messageId"]) == (
                first,
                "grant.granted",
                receiver.received[0].id,
            )
            operators = (await told.operate("GET", "/v1/connections/rekenrijk/dead-letters")).json()["items"]
            assert operators == [dead]
            assert (await call(told, "GET")).json()["items"][0]["state"] == "active"
            told.clock.advance(days=2)
            await until_disabled(told, "failing")
            receiver.behaviour = accepting()
            tell_the_time(told)
            assert problem(await replayed(told, subscription)) == (409, "subscription_disabled")
            await changed(told, subscription, "_enable")
            answer = (await replayed(told, subscription, {"numbers": [first, 999_999]})).json()
            assert (answer["replayed"], answer["left"]) == (1, 0)
            await settled(told, subscription)
        assert {each.number for each in receiver.accepted} == {first, first + 1}
        assert len({each.id for each in receiver.received if each.number == first}) == 1
        assert await listed(told, subscription, "dead-letters") == []


async def until_disabled(world: World, why: str) -> dict[str, Any]:
    """The one subscription that there is, once it is disabled."""
    async with asyncio.timeout(60):
        while True:
            shown: dict[str, Any] = (await call(world, "GET")).json()["items"][0]
            if shown["state"] == "disabled":
                assert shown["disabledReason"] == why
                return shown
            await asyncio.sleep(0.02)


async def replayed(world: World, subscription: dict[str, Any], body: Any = None) -> Any:
    return await call(world, "POST", f"/{subscription['subscriptionId']}/dead-letters/_replay", body)


async def logged_attempts(world: World, many: int) -> None:
    """Waits until so many attempts were noted."""
    async with asyncio.timeout(60):
        while True:
            async with world.store.reading() as session:
                if (await session.exec(select(func.count()).select_from(WebhookAttempt))).one() >= many:
                    return
            await asyncio.sleep(0.02)


async def test_a_subscription_tells_when_the_next_attempt_is(told: World) -> None:
    async with receiving() as receiver, delivered(told.store):
        receiver.behaviour = answering(500)
        subscription = await subscribed(told, receiver.url)
        assert (subscription["waiting"], subscription["nextAttemptAt"]) == (0, None)
        await told.granted()
        await logged_attempts(told, 1)
        [attempt] = await listed(told, subscription, "deliveries")
        [shown] = (await call(told, "GET")).json()["items"]
        wait = datetime.fromisoformat(shown["nextAttemptAt"]) - datetime.fromisoformat(attempt["attemptedAt"])
        assert DELAYS[0] <= wait <= DELAYS[0] * 1.2 + timedelta(seconds=10)
        assert shown["waiting"] == 1


async def test_what_was_delivered_is_forgotten_after_a_month_and_what_waits_is_not(told: World) -> None:
    async with receiving() as receiver:
        async with delivered(told.store):
            subscription = await subscribed(told, receiver.url)
            await told.granted()
            await settled(told, subscription)
        await told.granted(brin="17TX")
        told.clock.advance(seconds=KEPT_FOR.total_seconds() - 60)
        assert await tidy(told.store) == 0
        told.clock.advance(seconds=120)
        assert await tidy(told.store) == 2
        assert [each.state for each in await made(told)] == ["waiting"]
        await changed(told, subscription, "_remove")
        assert await tidy(told.store) == 1
        assert await made(told) == []


# -- secrets -----------------------------------------------------------------------------------------------------------


async def test_a_former_secret_signs_beside_the_new_one_for_a_while_and_then_no_more(told: World) -> None:
    async with receiving() as receiver, delivered(told.store):
        subscription = await subscribed(told, receiver.url)
        first = subscription["secret"]
        rotated = await changed(told, subscription, "_rotate", {"formerHours": 1})
        second = rotated["secret"]
        assert first != second
        await changed(told, subscription, "_test")
        await settled(told, subscription)
        assert len(receiver.accepted[-1].headers["webhook-signature"].split(" ")) == 2
        assert receiver.accepted[-1].is_signed_with(first)
        assert receiver.accepted[-1].is_signed_with(second)
        third = (await changed(told, subscription, "_rotate", {"formerHours": 0}))["secret"]
        await changed(told, subscription, "_test")
        await settled(told, subscription)
        assert [receiver.accepted[-1].is_signed_with(each) for each in (first, second, third)] == [False, False, True]


async def test_a_former_secret_signs_no_more_once_its_time_is_over(told: World) -> None:
    told.clock.advance(hours=-25)
    async with receiving() as receiver, delivered(told.store):
        subscription = await subscribed(told, receiver.url)
        second = (await changed(told, subscription, "_rotate"))["secret"]
        tell_the_time(told)
        await changed(told, subscription, "_test")
        await settled(told, subscription)
        assert receiver.accepted[-1].said["type"] == "webhook.tested"
        assert receiver.accepted[-1].is_signed_with(second)
        assert not receiver.accepted[-1].is_signed_with(subscription["secret"])


async def test_the_first_answer_comes_again_whatever_the_name_stands_for_by_then(told: World) -> None:
    key, body = {"Idempotency_Key": "verloren-antwoord"}, {"url": "http://127.0.0.1:9/hooks"}
    first = await call(told, "POST", body=body, **key)
    assert first.status_code == 201
    told.service._app.state.targets.loopback = False
    again = await call(told, "POST", body=body, **key)
    assert (again.status_code, again.json()) == (201, first.json())
    other = await call(told, "POST", body=body, Idempotency_Key="een-ander")
    assert problem(other) == (400, "target_refused")


async def test_a_secret_is_shown_once_and_stands_nowhere_in_the_store(told: World, store_url: str) -> None:
    key = {"Idempotency_Key": "1"}
    answer = await call(told, "POST", body={"url": "http://127.0.0.1:9/hooks/not-for-the-log"}, **key)
    again = await call(told, "POST", body={"url": "http://127.0.0.1:9/hooks/not-for-the-log"}, **key)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json() == answer.json()
    subscription, secret = answer.json(), answer.json()["secret"]
    rotated = (await changed(told, subscription, "_rotate"))["secret"]
    for path in ("", f"/{subscription['subscriptionId']}"):
        shown = await call(told, "GET", path)
        assert "whsec_" not in shown.text
    everything = await everything_in(told)
    for one in (secret, rotated):
        assert one not in everything
        assert one.removeprefix("whsec_") not in everything
    log = (await told.operate("GET", "/v1/log/entries?limit=500")).text
    assert "subscriptionId" in log
    assert "not-for-the-log" not in log
    assert "127.0.0.1" not in log


async def everything_in(world: World) -> str:
    """All that the store holds, as text; and what is remembered of answers, opened by a key that is guessed."""
    found: list[str] = []
    async with world.store.reading() as session:
        connection = await session.connection()
        for table in METADATA.sorted_tables:
            found += map(str, (await connection.execute(text(f"SELECT * FROM {table.name}"))).all())
        found += [unsealed(each, "1") for each in (await session.exec(select(RememberedAnswer))).all()]
    return "\n".join(found)


# -- the partner's own -------------------------------------------------------------------------------------------------


async def test_another_partner_sees_and_does_nothing_of_it(told: World) -> None:
    subscription = await subscribed(told, "http://127.0.0.1:9/")
    await told.granted("taalboom")
    assert await made(told) == []
    path = f"/{subscription['subscriptionId']}"
    for method, more, body in (
        ("GET", "", None),
        ("PATCH", "", {"types": None}),
        ("GET", "/deliveries", None),
        ("GET", "/dead-letters", None),
        *(("POST", f"/{step}", None) for step in ("_rotate", "_test", "_enable", "_disable", "_remove")),
        ("POST", "/dead-letters/_replay", None),
    ):
        answer = await call(told, method, path + more, body, client_id="taalboom", If_Match="*")
        assert problem(answer) == (404, "not_found"), (method, more)
    assert (await call(told, "GET", client_id="taalboom")).json()["items"] == []
    assert (await call(told, "GET", path)).json()["version"] == 1


async def test_a_connection_has_a_sane_number_of_subscriptions_and_of_tests(told: World) -> None:
    for number in range(10):
        await subscribed(told, f"http://127.0.0.1:9/{number}")
    refused = await call(told, "POST", body={"url": "http://127.0.0.1:9/"})
    assert problem(refused) == (409, "too_many_subscriptions")
    one, other = (await call(told, "GET")).json()["items"][:2]
    await changed(told, one, "_test")
    assert problem(await call(told, "POST", f"/{one['subscriptionId']}/_test")) == (409, "test_waits")
    await changed(told, other, "_test")
    await changed(told, other, "_remove")
    await subscribed(told, "http://127.0.0.1:9/11")


async def test_a_subscription_is_changed_in_the_version_that_was_read(told: World) -> None:
    subscription = await subscribed(told, "http://127.0.0.1:9/")
    path = f"/{subscription['subscriptionId']}"
    body = {"url": "http://localhost:9/elders", "types": ["grant.revoked"]}
    assert (await call(told, "PATCH", path, body)).status_code == 428
    assert (await call(told, "PATCH", path, body, If_Match='"7"')).status_code == 412
    etag = (await call(told, "GET", path)).headers["ETag"]
    shown = await call(told, "PATCH", path, body, If_Match=etag)
    assert shown.status_code == 200
    assert (shown.json()["url"], shown.json()["types"]) == ("http://localhost:9/elders", ["grant.revoked"])
    assert shown.headers["ETag"] == '"2"'
    all_of_them = await call(told, "PATCH", path, {"types": None}, If_Match="*")
    assert (all_of_them.json()["url"], all_of_them.json()["types"]) == ("http://localhost:9/elders", None)


async def test_to_disable_is_to_be_told_nothing_until_it_is_enabled(told: World) -> None:
    async with receiving() as receiver, delivered(told.store):
        subscription = await subscribed(told, receiver.url)
        shown = await changed(told, subscription, "_disable")
        assert (shown["state"], shown["disabledReason"]) == ("disabled", "by_partner")
        for step, slug in (("_disable", "subscription_disabled"), ("_test", "subscription_disabled")):
            assert problem(await call(told, "POST", f"/{subscription['subscriptionId']}/{step}")) == (409, slug)
        await told.granted()
        await changed(told, subscription, "_enable")
        await told.granted(brin="17TX")
        await settled(told, subscription)
        assert [each.school for each in receiver.accepted] == ["17TX"]


async def test_what_is_removed_is_gone_and_told_nothing(told: World) -> None:
    async with receiving() as receiver:
        subscription = await subscribed(told, receiver.url)
        await told.granted()
        await changed(told, subscription, "_remove")
        assert problem(await call(told, "GET", f"/{subscription['subscriptionId']}")) == (404, "not_found")
        async with delivered(told.store):
            await asyncio.sleep(0.2)
        assert receiver.received == []


async def test_to_erase_who_acted_touches_nothing_here(told: World) -> None:
    async with receiving() as receiver:
        subscription = await subscribed(told, receiver.url)
        given = await told.granted()
        await told.step(given["grantId"], "revoke", {"reason": "Klaar."})
        before = json.dumps((await call(told, "GET")).json())
        for subject in ("school-subject", "partner-subject"):
            assert (await told.operate("POST", "/v1/actors/_erase", {"subject": subject})).status_code == 200
        assert json.dumps((await call(told, "GET")).json()) == before
        async with delivered(told.store):
            await settled(told, subscription)
        assert [each.said["type"] for each in receiver.accepted] == ["grant.granted", "grant.revoked"]
        assert all(each.is_signed_with(subscription["secret"]) for each in receiver.accepted)


async def test_two_workers_deliver_each_message_once(told: World) -> None:
    async with receiving() as receiver:
        subscription = await subscribed(told, receiver.url)
        many = await lives_of_grants(told, 3)
        async with delivered(told.store), delivered(told.store):
            await settled(told, subscription)
        assert len(receiver.accepted) == len({each.id for each in receiver.accepted}) == many
        assert in_order(receiver.accepted)


async def test_a_partner_is_told_what_to_delete_and_that_there_is_a_letter(told: World) -> None:
    async with receiving() as receiver:
        given = await told.granted()
        subscription = await subscribed(told, receiver.url, types=["deletion.required", "reminder.given"])
        told.clock.advance(hours=1)
        await told.step(given["grantId"], "revoke")
        await KeepingDuties(told.store).run()
        told.clock.advance(days=TERMS["retentionDays"] - 7)
        letters = Reminding(told.store)
        while await letters.run():
            pass
        async with delivered(told.store):
            await settled(told, subscription)
        said = {each.said["type"]: each.said["data"] for each in receiver.accepted}
        assert set(said) == {"deletion.required", "reminder.given"}
        token = told.token("partner", client_id="rekenrijk")
        (duty,) = (await told.call("GET", "/v1/consents/deletions", token)).json()["items"]
        (letter,) = (await told.call("GET", "/v1/consents/reminders", token)).json()["items"]
        assert {name: said["deletion.required"][name] for name in ("grantId", "school", "status", "dueAt")} == {
            **{name: duty[name] for name in ("grantId", "school", "dueAt")},
            "status": "due",
        }
        assert said["reminder.given"]["letterId"] == letter["letterId"]


def test_what_is_told_is_all_that_a_partner_has_to_act_on() -> None:
    assert {kind.split(".")[0] for kind in TOLD} == {
        "grant",
        "request",
        "ground_rule",
        "agreement",
        "connection",
        "partner",
        "deletion",
        "reminder",
    }
    assert sum(DELAYS, timedelta()) * 1.2 < FAILING_FOR, "what is disabled had a dead letter"


async def test_the_service_delivers_beside_its_decisions(store_url: str, tmp_path: Path) -> None:
    async with receiving() as receiver, world_on(store_url, tmp_path, deliver=True) as world:
        tell_the_time(world)
        await world.register()
        subscription = await subscribed(world, receiver.url)
        await world.granted()
        await settled(world, subscription)
        assert receiver.accepted[0].is_signed_with(subscription["secret"])


async def seeds_of(world: World, subscription: dict[str, Any]) -> list[str]:
    async with world.store.reading() as session:
        found = await session.get_one(WebhookSubscription, subscription["subscriptionId"])
        return found.seeds(world.clock.now)


async def test_no_secret_comes_back_that_a_store_put_back_has_forgotten(told: World) -> None:
    """It may have been rotated since it leaked."""
    subscription = await subscribed(told, "http://127.0.0.1:9/hooks")
    (seed,) = await seeds_of(told, subscription)
    leaked = (await changed(told, subscription, "_rotate"))["secret"]
    async with told.store.writing() as write:
        kept = await write.session.get_one(WebhookSubscription, subscription["subscriptionId"])
        kept.seed, kept.former_seed, kept.former_until, kept.version = seed, None, None, 1
        write.session.add(kept)
        record(write, EventKind.STORE_REPLAYED, SYSTEM, {})
    assert (await changed(told, subscription, "_rotate"))["secret"] not in (leaked, subscription["secret"])


async def test_a_subscription_comes_back_with_the_log_but_a_url_that_the_log_does_not_hold(told: World) -> None:
    """A backup was put back, and what it lacks is replayed: another URL, and a new subscription."""
    older, newer, gone = [await subscribed(told, f"http://127.0.0.1:9/{number}") for number in range(3)]
    path = f"/{older['subscriptionId']}"
    assert (await call(told, "PATCH", path, {"url": "http://127.0.0.1:9/else"}, If_Match="*")).status_code == 200
    await changed(told, newer, "_rotate")
    await changed(told, gone, "_remove")
    entries = (await told.operate("GET", "/v1/log/entries?limit=500")).json()["items"]
    changes = [entry for entry in entries if entry["kind"].startswith("webhook.")]
    secrets = await seeds_of(told, newer)
    async with told.store.writing() as write:
        kept = await write.session.get_one(WebhookSubscription, older["subscriptionId"])
        kept.url, kept.url_version, kept.version = older["url"], 1, 1
        write.session.add(kept)
        await write.session.delete(await write.session.get_one(WebhookSubscription, newer["subscriptionId"]))
        await write.session.flush()
        restoring = Restoring(write)
        for entry in changes:
            await restoring.apply(entry)
            await write.session.flush()
        record(write, EventKind.STORE_REPLAYED, SYSTEM, {})
    shown = {each["subscriptionId"]: each for each in (await call(told, "GET")).json()["items"]}
    assert set(shown) == {older["subscriptionId"], newer["subscriptionId"]}
    assert await seeds_of(told, newer) == secrets, "what signed before the backup was put back signs now"
    for each in shown.values():
        assert (each["url"], each["state"], each["disabledReason"]) == ("", "disabled", "restored")
    assert problem(await call(told, "POST", f"{path}/_enable")) == (400, "target_refused")
    assert (await call(told, "PATCH", path, {"url": "http://127.0.0.1:9/else"}, If_Match="*")).status_code == 200
    assert (await changed(told, older, "_enable"))["state"] == "active"
    assert (await changed(told, newer, "_rotate", {"formerHours": 0}))["version"] == 3
