"""How long what is not received waits, when it is given up, and for how long it is kept."""

from datetime import datetime, timedelta
from typing import Any

from api.notifications.delivery import delete_old
from models.consents.webhooks import DELAYS, KEPT_FOR, LONGEST_WAIT, wait_after
from tests.grants.test_grants import problem
from tests.notifications.webhook_receivers import accepting, answering, receiving
from tests.notifications.webhook_subscriber import (
    call,
    changed,
    delivered,
    listed,
    logged_attempts,
    made,
    settled,
    subscribed,
    tell_the_time,
    until_disabled,
)
from tests.worlds.world import World


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


async def replayed(world: World, subscription: dict[str, Any], body: Any = None) -> Any:
    return await call(world, "POST", f"/{subscription['subscriptionId']}/dead-letters/_replay", body)


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
        assert await delete_old(told.store) == 0
        told.clock.advance(seconds=120)
        assert await delete_old(told.store) == 2
        assert [each.state for each in await made(told)] == ["waiting"]
        await changed(told, subscription, "_remove")
        assert await delete_old(told.store) == 1
        assert await made(told) == []
