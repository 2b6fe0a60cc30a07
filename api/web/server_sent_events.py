"""Server-sent events (WHATWG HTML, 9.2): a response that streams until its source ends or its reader disconnects.

The source of the events need not know the connection: a reader that disconnects ends the stream, and one that takes no
bytes for `SEND_SECONDS` is cut off.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import Response
from starlette.types import Receive, Scope, Send

from api.edge.server_state import CONNECTION

#: Seconds after which a reader that takes nothing is cut off; what was written for it stays in memory until then.
SEND_SECONDS: Final = 10.0
#: Seconds to wait for the server to report the connection that was aborted as disconnected.
_ABORT_SECONDS: Final = 1.0


class EventStream(Response):
    """Sends each piece as soon as its iterator yields it, and ends with the iterator."""

    media_type = "text/event-stream"

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self.status_code, self.background = 200, None
        # `X-Accel-Buffering: no` keeps nginx and its kind from buffering the stream as if it were a document.
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Another ASGI server than ours sets no CONNECTION: it flushes by itself, and cuts readers off by itself.
        connection = scope.get("state", {}).get(CONNECTION)
        disconnected, sent = (
            asyncio.create_task(wait_for_disconnect(receive)),
            asyncio.create_task(self._send(send, connection)),
        )
        try:
            await asyncio.wait({disconnected, sent}, return_when=asyncio.FIRST_COMPLETED)
            if sent.done() and isinstance(sent.exception(), TimeoutError) and connection is not None:
                connection.abort()
                await asyncio.wait({disconnected}, timeout=_ABORT_SECONDS)
            elif sent.done():
                await sent
        finally:
            await cancel_and_wait(disconnected, sent)

    async def _send(self, send: Send, connection: Any) -> None:
        async def send_in_time(**message: Any) -> None:
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)

        await send_in_time(type="http.response.start", status=self.status_code, headers=self.raw_headers)
        async with contextlib.aclosing(self._pieces) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                await send_in_time(type="http.response.body", body=piece, more_body=True)
                if connection is not None:
                    connection.flush()
        await send_in_time(type="http.response.body", body=b"")


async def wait_for_disconnect(receive: Receive) -> None:
    """Returns when the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def cancel_and_wait(*tasks: "asyncio.Task[Any]") -> None:
    """Cancels the tasks, and waits until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
