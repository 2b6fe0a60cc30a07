"""The HTTP protocol of one connection: uvicorn's own, except that a short answer is written in one piece.

uvicorn writes head and body of an answer separately, each with a system call and a segment. For answers as short as a
decision that is a fifth of all work.

A streamed answer finds the transport in its request's state (`CONNECTION`) and flushes what it has written itself, or
cuts off a reader that does not read. Other answers have no cost from this.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.edge.server_state import CONNECTION, ON_STOP

#: Longer data is written at once, since copying it costs more than a write.
MOST_HELD_BYTES: Final = 16 * 1024
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class WholeAnswers(HttpToolsProtocol):
    """Serves one connection. Written data is held until the answer is complete, or long."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        holding = HoldingTransport(cast(asyncio.Transport, transport))
        self.app_state = {**self.app_state, CONNECTION: holding}
        super().connection_made(cast(asyncio.Transport, holding))

    def on_response_complete(self) -> None:
        cast(HoldingTransport, self.transport).flush()
        super().on_response_complete()

    def shutdown(self) -> None:
        super().shutdown()
        # Called once per connection; the callable must be idempotent.
        if (on_stop := cast("Callable[[], None] | None", self.app_state.get(ON_STOP))) is not None:
            on_stop()


class HoldingTransport:
    """A transport that holds written data until `flush`, `close`, or more than `MOST_HELD_BYTES`."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._held = b""
        # Bound here, without `__getattr__`: used with every request.
        self.is_closing = transport.is_closing
        self.pause_reading, self.resume_reading = transport.pause_reading, transport.resume_reading

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if data == _CONTINUE:
            # The client waits for it before it sends the body.
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
