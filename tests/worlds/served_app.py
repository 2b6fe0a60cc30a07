"""An application behind a real port of this machine, by the server that we serve with."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from api.edge.server import StrictConnection


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[tuple[str, int]]:
    """The address where it listens, in this loop. What the application needs is started and stopped by the caller."""
    with socket.socket() as listening:
        # As small as the system allows, so that a reader that does not read is noticed soon.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, http=StrictConnection, lifespan="off", log_level="critical"))
        task = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:  # noqa: ASYNC110 - the server offers nothing to wait for
            await asyncio.sleep(0.01)
        try:
            yield listening.getsockname()
        finally:
            server.should_exit = True
            await task
