"""Requests that wait for the snapshot as of now."""

import asyncio
import time
from typing import Final

import pytest

from api.snapshot.current import Current, CurrentSnapshot
from api.store.outage import StoreUnreachable

#: What a machine that is busy with other things may take on top of a deadline.
MARGIN: Final = 2.0


async def settle() -> None:
    """Lets everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def unreachable(waiter: "asyncio.Task[Current]") -> float:
    """How many seconds it took to be told that the store is out of reach."""
    begun = time.monotonic()
    with pytest.raises(StoreUnreachable):
        await waiter
    return time.monotonic() - begun


def asking(current: CurrentSnapshot) -> "asyncio.Task[Current]":
    return asyncio.create_task(current.get())
