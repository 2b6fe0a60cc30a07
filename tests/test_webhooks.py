"""A partner is told of each change of its consents, in order per school, whatever its receiver does."""

from tests.receivers import receiving
from tests.subscribed import delivered, in_order, listed, settled, subscribed, tell_the_time
from tests.world import World


async def test_each_change_is_told_once_signed_and_in_order(world: World) -> None:
    tell_the_time(world)
    await world.register()
    async with receiving() as receiver, delivered(world.store):
        subscription = await subscribed(world, receiver.url)
        given = await world.granted()
        await world.step(given["grantId"], "suspend", {"reason": "Vragen."})
        await world.step(given["grantId"], "resume")
        await world.step(given["grantId"], "revoke", {"reason": "Klaar."})
        await settled(world, subscription)
        assert in_order(receiver.accepted)
        kinds = [each.said["type"] for each in receiver.accepted]
        assert kinds == ["grant.granted", "grant.suspended", "grant.resumed", "grant.revoked"]
        assert all(each.is_signed_with(subscription["secret"]) for each in receiver.accepted)
        assert [each["outcome"] for each in await listed(world, subscription, "deliveries")] == ["delivered"] * 4
