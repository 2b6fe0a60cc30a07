"""What signs a message, and that it stands nowhere; what comes back of a subscription with a store put back."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import select

from api.evidence.apply_entries import EntryReplay
from api.notifications.targets import Targets
from api.store.events import SYSTEM, event_of, record
from models.consents.webhooks import WebhookSubscription
from models.log.events import RememberedAnswer
from models.tables import METADATA
from models.vocabulary.event_kinds import EventKind
from tests.grants.test_grants import problem
from tests.notifications.webhook_receivers import receiving
from tests.notifications.webhook_subscriber import call, changed, delivered, settled, subscribed, tell_the_time
from tests.worlds.world import World
from tests.worlds.world_evidence import opened_by_a_guess


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
    told.service.services.of(Targets).loopback = False
    again = await call(told, "POST", body=body, **key)
    assert (again.status_code, again.json()) == (201, first.json())
    other = await call(told, "POST", body=body, Idempotency_Key="een-ander")
    assert problem(other) == (400, "target_refused")


@pytest.mark.both_stores
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
    """All that the store holds, as text; and what is remembered of answers, where a guessed key opens that."""
    found: list[str] = []
    async with world.store.reading() as session:
        connection = await session.connection()
        for table in METADATA.sorted_tables:
            found += map(str, (await connection.execute(text(f"SELECT * FROM {table.name}"))).all())
        remembered = (await session.exec(select(RememberedAnswer))).all()
        assert remembered
        found += [said for each in remembered if (said := opened_by_a_guess(each, "1")) is not None]
    return "\n".join(found)


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
        entry_replay = EntryReplay(write)
        for entry in changes:
            await entry_replay.apply(event_of(entry))
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
