"""Limits concurrent rebuilds of the past, which keep a processor busy that decisions need.

Two rebuilds run in a process at once, and one for each school: a school that asks for many waits behind its own.
"""

import asyncio
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Final

from fastapi import Depends, Request

from api.web.services import provided

#: Rebuilds that run at once in a process.
MOST_AT_ONCE: Final = 2


class RebuildLimiter:
    """A semaphore for all rebuilds and a lock for each tenant; both serve waiters in the order of their requests."""

    def __init__(self, most: int = MOST_AT_ONCE) -> None:
        self._slots = asyncio.Semaphore(most)
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    @asynccontextmanager
    async def slot(self, tenant: str) -> AsyncIterator[None]:
        """Waits for a slot, and holds it for the block; `tenant` holds one at a time."""
        lock = self._locks.setdefault(tenant, asyncio.Lock())
        async with lock, self._slots:
            yield


async def _slot(request: Request) -> AsyncIterator[None]:
    # Operators' paths have no BRIN: all operators share one lock.
    limiter = provided(request, RebuildLimiter)
    async with limiter.slot(request.path_params.get("brin", "")):
        yield


#: A slot, taken before the session is opened, so that a waiting request holds no connection; held until the answer.
RebuildSlot = Annotated[None, Depends(_slot, scope="function")]
