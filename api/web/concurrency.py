"""Whose turn it is to have the past built: it keeps a processor busy, which decisions need.

A few at a time, and one at a time for each school: who asks for many waits for itself, and nobody else does.
"""

import asyncio
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Final

from fastapi import Depends, Request

from api.web.services import provided

#: How many are built at once.
MOST_AT_ONCE: Final = 2


class Turns:
    """Hands out turns in the order in which they are asked for."""

    def __init__(self, most: int = MOST_AT_ONCE) -> None:
        self._all = asyncio.Semaphore(most)
        self._of: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    @asynccontextmanager
    async def taken(self, whose: str) -> AsyncIterator[None]:
        """Waits for a turn, of which `whose` has one at a time."""
        own = self._of.setdefault(whose, asyncio.Lock())
        async with own, self._all:
            yield


async def _turn(request: Request) -> AsyncIterator[None]:
    # Operators have no school, and share one turn.
    turns = provided(request, Turns)
    async with turns.taken(request.path_params.get("brin", "")):
        yield


#: Before a session is opened, so that who waits holds no connection to the store; held until the route has its answer.
Turn = Annotated[None, Depends(_turn, scope="function")]
