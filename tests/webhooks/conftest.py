"""The world in which partners are told."""

import pytest

from tests.subscribed import tell_the_time
from tests.world import World


@pytest.fixture
async def told(world: World) -> World:
    """A world at the present, with two partners."""
    tell_the_time(world)
    await world.register()
    await world.register("taalboom", kvk_number="90000002")
    return world
