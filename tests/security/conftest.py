"""A server of keys, a clock, and the keys of an issuer that are fetched there."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from api.security.issuers import KeySet
from tests.security.jwks_server import OLD, Clock, JwksServer, answer, jwks, trusted


@pytest.fixture
async def server() -> AsyncIterator[JwksServer]:
    served = JwksServer(answer(jwks(OLD)))
    served.open.set()
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(served.serve(reader, writer))
        connections.add(task)
        await asyncio.wait({task})

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    served.port = listening.sockets[0].getsockname()[1]
    yield served
    for task in connections:
        task.cancel()
    await asyncio.gather(*connections, return_exceptions=True)
    listening.close()
    await listening.wait_closed()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def keys(server: JwksServer, clock: Clock) -> AsyncIterator[KeySet]:
    key_set = KeySet(trusted(jwksUrl=server.url), clock)
    yield key_set
    await key_set.aclose()
