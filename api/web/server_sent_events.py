"""Server-sent events (WHATWG HTML, 9.2): an answer that goes on while there is something to say and somebody reads it.

Whoever writes what is said need not know of the connection: who left is left, and who takes nothing is cut off.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import Response
from starlette.types import Receive, Scope, Send

from api.edge.server import CONNECTION

#: A reader that takes nothing for so long is cut off: what was written for it stays in memory until then.
SEND_SECONDS: Final = 10.0
#: Until the server has noticed that a connection was cut off.
_CUT_SECONDS: Final = 1.0


class EventStream(Response):
    """Sends each of these pieces as soon as it is there, and ends with them."""

    media_type = "text/event-stream"

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self.status_code, self.background = 200, None
        # Proxies hold back what they think is a document, unless they are told.
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Where another server than ours serves, nothing is held back, and nobody is cut off but by that server.
        connection = scope.get("state", {}).get(CONNECTION)
        gone, sent = asyncio.create_task(until_gone(receive)), asyncio.create_task(self._send(send, connection))
        try:
            await asyncio.wait({gone, sent}, return_when=asyncio.FIRST_COMPLETED)
            if sent.done() and isinstance(sent.exception(), TimeoutError) and connection is not None:
                connection.abort()
                await asyncio.wait({gone}, timeout=_CUT_SECONDS)
            elif sent.done():
                await sent
        finally:
            await ended(gone, sent)

    async def _send(self, send: Send, connection: Any) -> None:
        async def taken(**message: Any) -> None:
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)

        await taken(type="http.response.start", status=self.status_code, headers=self.raw_headers)
        async with contextlib.aclosing(self._pieces) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                await taken(type="http.response.body", body=piece, more_body=True)
                if connection is not None:
                    connection.flush()
        await taken(type="http.response.body", body=b"")


async def until_gone(receive: Receive) -> None:
    """Until the caller is no longer there."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def ended(*tasks: "asyncio.Task[Any]") -> None:
    """Cancels these, and waits for them to have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
