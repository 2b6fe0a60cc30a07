"""What a partner does with its subscriptions, and nobody else can."""

import asyncio
import json

from tests.grants.test_grants import problem
from tests.notifications.webhook_receivers import receiving
from tests.notifications.webhook_subscriber import call, changed, delivered, made, settled, subscribed
from tests.worlds.world import World


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
