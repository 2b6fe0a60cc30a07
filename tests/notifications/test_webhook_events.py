"""A partner is told of each change of its consents, once, in order per school, and of nothing else."""

from datetime import timedelta

import pytest
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.deletions.duties import DutyJob
from api.reminders.letters_job import LettersJob
from models.consents.webhooks import DELAYS, FAILING_FOR, SENT_KINDS, WebhookAttempt, WebhookLane, WebhookMessage
from models.log.events import Event
from tests.grants.test_grants import problem
from tests.notifications.webhook_receivers import receiving
from tests.notifications.webhook_subscriber import (
    call,
    delivered,
    in_order,
    listed,
    lives_of_grants,
    made,
    settled,
    subscribed,
)
from tests.worlds.world import NAMES, TERMS, World


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


async def test_a_partner_is_told_what_to_delete_and_that_there_is_a_letter(told: World) -> None:
    async with receiving() as receiver:
        given = await told.granted()
        subscription = await subscribed(told, receiver.url, types=["deletion.required", "reminder.given"])
        told.clock.advance(hours=1)
        await told.step(given["grantId"], "revoke")
        await DutyJob(told.store).run()
        told.clock.advance(days=TERMS["retentionDays"] - 7)
        letters = LettersJob(told.store)
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
    assert {kind.split(".")[0] for kind in SENT_KINDS} == {
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
