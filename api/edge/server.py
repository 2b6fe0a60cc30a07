"""The HTTP server's side of one connection: uvicorn's own, except that a short answer leaves in one piece.

uvicorn hands an answer's head and its body to the transport one after the other, and each becomes a system call and a
segment. For answers as short as a decision that is a fifth of all the work that is done for them.

An answer that goes on for long finds the connection in its request's state (`CONNECTION`), and says itself when what
it has written must leave, or that a reader who takes nothing is cut off. So all other answers pay nothing for it.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: What is longer is worth a write of its own, and is not copied.
MOST_HELD_BYTES: Final = 16 * 1024
#: Under these names a request's state holds its `HoldingTransport`, and what the lifespan wants called when the server
#: stops, before it waits for answers to end.
CONNECTION: Final = "connection"
ON_STOP: Final = "on_stop"
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class WholeAnswers(HttpToolsProtocol):
    """Serves one connection. What an answer writes is held until the answer is complete, or is long."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        holding = HoldingTransport(cast(asyncio.Transport, transport))
        self.app_state = {**self.app_state, CONNECTION: holding}
        super().connection_made(cast(asyncio.Transport, holding))

    def on_response_complete(self) -> None:
        cast(HoldingTransport, self.transport).flush()
        super().on_response_complete()

    def shutdown(self) -> None:
        super().shutdown()
        # Each connection is told, and each says so: what is called does it once.
        if (on_stop := cast("Callable[[], None] | None", self.app_state.get(ON_STOP))) is not None:
            on_stop()


class HoldingTransport:
    """A transport that holds back what is written until `flush`, `close`, or `MOST_HELD_BYTES` of it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._held = b""
        # Asked for with every request: found here without a detour.
        self.is_closing = transport.is_closing
        self.pause_reading, self.resume_reading = transport.pause_reading, transport.resume_reading

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if data == _CONTINUE:
            # The client waits for it before it sends what the answer depends on.
            self._transport.write(data)
            return
        self._held += data
        if len(self._held) > MOST_HELD_BYTES:
            self.flush()

    def flush(self) -> None:
        held, self._held = self._held, b""
        if held:
            self._transport.write(held)

    def close(self) -> None:
        self.flush()
        self._transport.close()
