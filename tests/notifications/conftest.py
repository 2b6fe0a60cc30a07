"""The world in which partners are told."""

import pytest

from tests.notifications.webhook_subscriber import tell_the_time
from tests.worlds.world import World


@pytest.fixture
async def told(world: World) -> World:
    """A world at the present, with two partners."""
    tell_the_time(world)
    await world.register("taalboom", kvk_number="90000002")
    return world
