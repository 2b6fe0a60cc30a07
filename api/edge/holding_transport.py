"""A transport that writes a short answer in one piece, and that closes without cutting off who is still sending.

uvicorn writes head and body of an answer separately, each with a system call and a segment. For answers as short as a
decision that is a fifth of all work.

A streamed answer finds the transport in its request's state (`CONNECTION`) and flushes what it has written itself, or
cuts off a reader that does not read. Other answers have no cost from this.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

#: Longer data is written at once, since copying it costs more than a write.
MOST_HELD_BYTES: Final = 16 * 1024
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class HoldingTransport:
    """A transport that holds written data until `flush`, `close`, or more than `MOST_HELD_BYTES`.

    `lingers` is asked when the connection is to be closed. Where it says yes, the connection closes the transport later
    by `end`: a socket that is closed while data is on its way resets the connection, and the answer is lost.
    """

    def __init__(self, transport: asyncio.Transport, lingers: Callable[[], bool]) -> None:
        self._transport = transport
        self._lingers = lingers
        self._held = b""
        # Bound here, without `__getattr__`: used with every request.
        self.is_closing = transport.is_closing
        self.pause_reading, self.resume_reading = transport.pause_reading, transport.resume_reading

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if self.is_closing():
            return
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
        if self.is_closing():
            return
        if self._lingers():
            self.is_closing = _yes
        else:
            self._transport.close()

    def end(self) -> None:
        """Closes the transport, also while it lingers."""
        self.flush()
        self._transport.close()


def _yes() -> bool:
    return True
