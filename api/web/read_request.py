"""The transaction of a route that only reads, and the store's time in it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request
from sqlmodel.ext.asyncio.session import AsyncSession

from api.store.store import Store
from api.web.services import provided


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """A read-only session on one state of the store, and the store's time."""

    session: AsyncSession
    now: datetime


async def _begin(request: Request) -> AsyncIterator[ReadRequest]:
    store = provided(request, Store)
    async with store.reading() as session:
        yield ReadRequest(session, await store.now(session))


Reading = Annotated[ReadRequest, Depends(_begin, scope="function")]
