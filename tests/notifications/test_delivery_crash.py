"""`kill -9` at every point of a delivery: nothing is lost, and what comes twice comes under the same id."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from models.columns import Instant
from models.consents.webhooks import TAKEN_FOR
from tests.notifications.crashing_deliverer import POINTS
from tests.notifications.webhook_receivers import Behaviour, Received, accepting, receiving
from tests.notifications.webhook_subscriber import in_order, lives_of_grants, settled, subscribed, tell_the_time
from tests.worlds.world import World

ROOT = Path(__file__).resolve().parents[2]
Process = asyncio.subprocess.Process


@asynccontextmanager
async def launched(world: World, *command: str) -> AsyncIterator[Process]:
    """A process with the settings of this world, which is told to end at the end."""
    environment = {
        **os.environ,
        "PRIVACY_MANAGER_MODE": "test",
        "PRIVACY_MANAGER_DELIVER": "false",
        "PRIVACY_MANAGER_DATABASE_URL": world.store.url.render_as_string(hide_password=False),
        "PRIVACY_MANAGER_VAR_DIR": str(world.folder),
    }
    pipe = asyncio.subprocess.PIPE
    with (world.folder / "worker.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=log
        )
    try:
        yield process
    finally:
        process.terminate()
        await process.communicate()


class Mortals:
    """Workers that die: `tests/notifications/crashing_deliverer.py`."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._output = process.stdin, process.stdout

    async def begun(self, point: str = "", number: int = 0) -> int:
        """The number of the process that dies there."""
        self._input.write(f"{point} {number}\n".encode())
        return int(await self._line())

    async def died(self) -> None:
        assert await self.ended() == -signal.SIGKILL

    async def ended(self) -> int:
        """The exit status of the process, once there is one."""
        return int(await self._line())

    async def _line(self) -> str:
        # What it says itself, once it delivers, is no number.
        async with asyncio.timeout(120):
            while not (line := (await self._output.readline()).decode().strip()).removeprefix("-").isdigit():
                assert line, "it ended"
        return line


async def time_passes(world: World) -> None:
    """What a dead process had taken is free again: the lanes as they will be by then."""
    async with world.store.marking() as session:
        connection = await session.connection()
        if world.store.is_sqlite:
            moved = text("UPDATE webhook_lanes SET next_at = :then")
            await connection.execute(
                moved.bindparams(then=Instant().process_bind_param(world.clock.now, connection.dialect))
            )
        else:
            await connection.execute(text("UPDATE webhook_lanes SET next_at = next_at - :by").bindparams(by=TAKEN_FOR))


@pytest.mark.both_stores
async def test_a_worker_that_is_killed_at_any_point_loses_nothing(world: World) -> None:
    tell_the_time(world)
    async with receiving() as receiver, launched(world, "-m", "tests.notifications.crashing_deliverer") as process:
        subscription, mortals, many = await subscribed(world, receiver.url), Mortals(process), 0
        for number, point in enumerate(POINTS):
            many += await lives_of_grants(world, 1)
            await mortals.begun(point, 1 + number % 3)
            await mortals.died()
            await time_passes(world)
        many += await lives_of_grants(world, 1)
        receiver.behaviour = killing(await mortals.begun())
        await mortals.died()
        receiver.behaviour = accepting()
        await time_passes(world)
        living = await mortals.begun()
        try:
            await settled(world, subscription, seconds=120)
        finally:
            os.kill(living, signal.SIGTERM)
        assert await mortals.ended() == 0, "it ends in order when it is told to"
    assert len({each.id for each in receiver.accepted}) == many
    assert in_order(receiver.accepted)
    first: dict[str, Received] = {}
    for each in receiver.received:
        assert first.setdefault(each.id, each).body == each.body
        assert each.is_signed_with(subscription["secret"])
    assert len(receiver.received) > many, "no kill came after a message was sent: nothing was tested"


def killing(pid: int) -> Behaviour:
    """Ends who sends, once all of the message is there, and before it is answered."""

    async def kill(_: Received, __: Any, ___: Any) -> None:
        os.kill(pid, signal.SIGKILL)

    return kill
