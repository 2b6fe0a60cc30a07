"""The HTTP protocol of one connection: uvicorn's own, with one request at a time, read strictly and within bounds.

A head is taken whole, and read by a parser of its own (llhttp, by httptools): no state of one request can reach
another, and nothing that follows a head is ever a header. A body is read as it was declared, by its length or by its
chunks, also where the head asks for another protocol, which we do not speak and so ignore (RFC 9110, 7.8). What comes
behind a request waits until that one is answered. Who sends what is no HTTP, or sends it too slowly, is told so, and
the connection ends.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from api.edge.chunked_body import SLICE, ChunkedBody, ChunksMalformed
from api.edge.connection_limits import (
    HEAD_SECONDS,
    IDLE_SECONDS,
    LINGER_SECONDS,
    NEVER,
    PACE_BYTES,
    PACE_SECONDS,
    SMALL_BODY_BYTES,
    STOP_SECONDS,
    UNREAD_SECONDS,
    limits_of,
)
from api.edge.holding_transport import HoldingTransport
from api.edge.request_shape import SHAPING, NotTaken, refusal, shape_of, version_of
from api.edge.server_state import CONNECTION, ON_STOP

log = logging.getLogger("privacy_manager.edge")

#: Seconds after which it is looked again whether an application has taken what there is of its body.
SLOW_SECONDS: Final = 0.01
_LAST_CONTROL: Final = 0x20
MOST_EMPTY_LINES: Final = 4
MOST_HEAD_BYTES: Final = 32 * 1024
#: Bytes behind the request that is being answered, before nothing more is read.
MOST_WAITING_BYTES: Final = 64 * 1024
#: Bytes that are read over before a connection is cut off.
MOST_LINGER_BYTES: Final = 64 * 1024 * 1024
_WRONG_ENDINGS: Final = (b"\n\n", b"\n\r\n")

#: How `serve`, the demo and the release layer have uvicorn serve: nobody's connection keeps a server from stopping.
OPTIONS: Final[dict[str, Any]] = {"ws": "none", "server_header": False, "timeout_graceful_shutdown": 8}


class StrictConnection(HttpToolsProtocol):
    """Serves one connection. Written data is held until the answer is complete, or long."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits_of(server_state, self.loop)
        #: In the loop's time: when the client must have sent the next thing, and have taken what was written.
        self.due = self.write_due = NEVER
        #: Bytes that were not yet taken when that was looked at.
        self._to_write = 0
        self._unread = bytearray()
        #: How far no end of a head was found.
        self._searched = 0
        self._shaping: list[tuple[bytes, bytes]] = []
        #: The missing part of the body: a number of bytes, or its chunks.
        self._missing = 0
        self._chunks: ChunkedBody | None = None
        #: Bytes of the body since its pace was looked at, and those that were reserved for it.
        self._arrived = self._reserved = 0
        self._is_refused = self._keeps_alive = self._is_head = self._is_slicing = False
        #: Nothing more is read as a request: bytes that were read over since, or None.
        self._lingered: int | None = None

    # -- the connection -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        holding = HoldingTransport(cast(asyncio.Transport, transport), self._lingers)
        self.app_state = {**self.app_state, CONNECTION: holding}
        super().connection_made(cast(asyncio.Transport, holding))
        self.due = self.loop.time() + IDLE_SECONDS
        if not self._limits.admits(self):
            holding.write(
                refusal(HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections.", self.server_state.default_headers)
            )
            holding.end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._limits.leave(self)
        self._release()
        self._unread.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._lingered is not None:
            self._read_over(len(data))
            return
        if self._is_slicing:
            self._unread += data
            self.flow.pause_reading()
            return
        if not (self._unread or self._missing or self._chunks or self._is_answering()) and self._read_whole(data):
            return
        self._unread += data
        self._read()

    def eof_received(self) -> None:
        self._must_be_taken()

    def shutdown(self) -> None:
        super().shutdown()
        if self._is_body_missing():
            self.due = min(self.due, self.loop.time() + STOP_SECONDS)
        # Called once per connection; the callable must be idempotent.
        if (on_stop := cast("Callable[[], None] | None", self.app_state.get(ON_STOP))) is not None:
            on_stop()

    # -- reading ------------------------------------------------------------------------------------------------------

    def _read_whole(self, data: bytes) -> bool:
        """Reads a request that arrives at once, as most do, without a copy. Otherwise nothing is done."""
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or end > MOST_HEAD_BYTES or data[0] <= _LAST_CONTROL:
            return False
        try:
            self._take_head(data[:end])
        except NotTaken as refused:
            self._refuse(refused)
            return True
        if len(data) - end == self._missing and self._chunks is None:
            if self._missing:
                self._take_body(data[end:])
        else:
            self._unread += data[end:]
            self._read()
        return True

    def _read(self) -> None:
        """Reads what has arrived, as far as its turn has come."""
        try:
            while self._unread and self._read_next():
                pass
            if self.due == NEVER and self._is_body_missing():
                self.due = self.loop.time() + PACE_SECONDS
        except NotTaken as refused:
            self._refuse(refused)

    def _read_next(self) -> bool:
        """Reads a head, or a piece of a body. False: there is nothing more to read now."""
        if self.transport.is_closing():
            return False
        if self._chunks is not None:
            return self._read_chunks(self._chunks)
        if self._missing:
            return self._read_counted()
        if self._is_answering():
            if len(self._unread) > MOST_WAITING_BYTES:
                self.flow.pause_reading()
            return False
        return self._read_head()

    def _read_head(self) -> bool:
        unread = self._unread
        if unread.startswith(b"\r\n"):  # a few empty lines before a request are passed over (RFC 9112, 2.2)
            lines = 1
            while lines <= MOST_EMPTY_LINES and unread.startswith(b"\r\n", 2 * lines):
                lines += 1
            if lines > MOST_EMPTY_LINES:
                raise NotTaken(HTTPStatus.BAD_REQUEST, "Too many empty lines come before the request.")
            del unread[: 2 * lines]
            if not unread:
                return False
        end = unread.find(b"\r\n\r\n", self._searched) + 4
        if end > MOST_HEAD_BYTES or (end < 4 and len(unread) > MOST_HEAD_BYTES):
            raise NotTaken(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"A head has at most {MOST_HEAD_BYTES} bytes.")
        if end < 4:
            if any(ending in unread[self._searched :] for ending in _WRONG_ENDINGS) or unread.startswith(b"\n"):
                raise NotTaken(HTTPStatus.BAD_REQUEST, "Each line of a head ends with CR LF.")
            if not self._searched:
                self.due = self.loop.time() + HEAD_SECONDS
            self._searched = max(len(unread) - 3, 1)
            return False
        head = bytes(unread[:end])
        del unread[:end]
        self._searched = 0
        self._take_head(head)
        return True

    def _take_head(self, head: bytes) -> None:
        """Begins the answer to a head, once it was read without a fault."""
        self._shaping.clear()
        self._is_head = False
        self.parser = httptools.HttpRequestParser(self)
        try:
            self.parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass  # its body is read as a body all the same
        except httptools.HttpParserError as error:
            raise NotTaken(HTTPStatus.BAD_REQUEST, f"{error}.") from error
        if not self._is_head:
            raise NotTaken(HTTPStatus.BAD_REQUEST, "This is no request of HTTP/1.1.")
        version = version_of(head)
        length, is_chunked, self.expect_100_continue = shape_of(
            version, self.parser.get_method(), len(self.headers), self._shaping
        )
        try:
            super().on_headers_complete()
        except (httptools.HttpParserError, AttributeError, UnicodeError) as error:
            raise NotTaken(HTTPStatus.BAD_REQUEST, "The request's target is no address.") from error
        # Whether a body comes that a client waits to be asked for is its choice, so that nothing may follow it.
        self.cycle.keep_alive = self._keeps_alive and version == b"1.1" and not self.expect_100_continue
        if not length and not is_chunked:
            self._body_ended()
            return
        self._missing, self._chunks, self._arrived, self.due = length, ChunkedBody() if is_chunked else None, 0, NEVER

    def _read_counted(self) -> bool:
        piece = bytes(self._unread[: self._missing])
        del self._unread[: self._missing]
        self._take_body(piece)
        return True

    def _take_body(self, piece: bytes) -> None:
        self._missing -= len(piece)
        self._arrived += len(piece)
        if self._missing or self._reserved or len(piece) > SMALL_BODY_BYTES:
            self._reserve(len(piece))
        self.on_body(piece)
        if not self._missing:
            self._body_ended()

    def _read_chunks(self, chunks: ChunkedBody) -> bool:
        piece = bytes(self._unread[:SLICE])
        del self._unread[: len(piece)]
        try:
            found = chunks.read(piece)
        except ChunksMalformed as error:
            raise NotTaken(HTTPStatus.BAD_REQUEST, str(error)) from error
        self._arrived += len(piece)
        self._reserve(len(found))
        self.on_body(found)
        if chunks.complete:
            self._unread[:0] = chunks.after
            self._body_ended()
            return True
        if self._unread:
            self._is_slicing = True
            self.flow.pause_reading()
            self._read_on_later()
        return False

    def _read_on_later(self) -> None:
        """Others have their turn before the next slice, and an application that is slow takes what there is."""
        is_slow = len(self.cycle.body) > HIGH_WATER_LIMIT and not self.cycle.response_complete
        self.loop.call_later(SLOW_SECONDS if is_slow else 0, self._read_on_later if is_slow else self._read_on)

    def _read_on(self) -> None:
        self._is_slicing = False
        if not self.transport.is_closing() and self._lingered is None:
            self.flow.resume_reading()
            self._read()

    def _body_ended(self) -> None:
        self._missing, self._chunks = 0, None
        cycle = self.cycle
        if cycle.response_complete:
            self.due = self.loop.time() + IDLE_SECONDS
            return
        self.due = NEVER
        cycle.more_body = False
        cycle.message_event.set()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _is_body_missing(self) -> bool:
        return bool(self._missing) or self._chunks is not None

    # -- what the parser of a head tells; all else is read here -------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in SHAPING:
            self._shaping.append((name, value))
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head may still be refused. Once a message is complete, its parser has forgotten this about it."""
        self._is_head, self._keeps_alive = True, self.parser.should_keep_alive()

    def on_message_complete(self) -> None:
        """The parser knows nothing of bodies."""

    def _should_upgrade(self) -> bool:
        return False

    # -- answering ----------------------------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        cast(HoldingTransport, self.transport).flush()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self._reserved:
            self._release()
        self.due = self.loop.time() + (LINGER_SECONDS if self._is_body_missing() else IDLE_SECONDS)
        if self._unread:
            self._read()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._must_be_taken()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self.write_due = NEVER

    def _must_be_taken(self) -> None:
        """From now on the client must take what was written."""
        self._to_write = self.transport.get_write_buffer_size()
        self.write_due = self.loop.time() + UNREAD_SECONDS

    def _reserve(self, size: int) -> None:
        if self.cycle.response_complete:
            return
        if not self._limits.reserves(self._reserved, size):
            raise NotTaken(HTTPStatus.SERVICE_UNAVAILABLE, "Too many bytes of bodies wait here.")
        self._reserved += size

    def _release(self) -> None:
        self._limits.release(self._reserved)
        self._reserved = 0

    # -- ending -------------------------------------------------------------------------------------------------------

    def is_idle(self) -> bool:
        is_open = self._lingered is None and not self.transport.is_closing()
        return is_open and not self._unread and not self._is_answering() and not self._is_body_missing()

    def close_idle(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            cast(HoldingTransport, self.transport).end()

    def abort(self) -> None:
        self.transport.abort()

    def overdue(self, now: float) -> None:
        """Ends what has taken too long."""
        if self.write_due <= now:
            left = self.transport.get_write_buffer_size()
            if self._to_write - left < PACE_BYTES:
                self.transport.abort()
            self._to_write, self.write_due = left, now + UNREAD_SECONDS
        elif self._lingered is not None or self.transport.is_closing():
            self.due = NEVER
            cast(HoldingTransport, self.transport).end()
        elif self._is_body_missing():
            self._look_at_pace(now)
        elif self._unread and not self._is_answering():
            self._refuse(NotTaken(HTTPStatus.REQUEST_TIMEOUT, "The head took too long."))
        elif self.is_idle():
            self.close_idle()
        else:
            self.due = NEVER

    def _look_at_pace(self, now: float) -> None:
        """A body keeps its pace; an answer that came before its end gives it some seconds more."""
        if self.cycle.response_complete:
            self.close_idle()
        elif self._arrived >= PACE_BYTES or self.flow.read_paused or self.cycle.waiting_for_100_continue:
            # Where reading is paused, or the client was not yet told to send, the application is slow.
            self._arrived, self.due = 0, now + PACE_SECONDS
        else:
            self._refuse(NotTaken(HTTPStatus.REQUEST_TIMEOUT, "The body came too slowly."))

    def _refuse(self, refused: NotTaken) -> None:
        """Answers what is not taken, where nothing has been answered yet, and ends the connection."""
        log.info("refused: %s, %s", refused.status.value, refused)
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started:
                self.transport.abort()
                return
            # The application sees that its client has gone, and what it still answers is not sent.
            cycle.disconnected = True
            cycle.message_event.set()
        if cycle is None or not cycle.response_complete or not self._is_body_missing():
            self.transport.write(refusal(refused.status, str(refused), self.server_state.default_headers))
        self._is_refused = True
        self.transport.close()

    def _lingers(self) -> bool:
        """Whether what is still being sent is read over before the connection is closed, and begins with that."""
        self._must_be_taken()
        is_more_coming = self._is_refused or self._is_body_missing() or self._unread or self.flow.read_paused
        if self._lingered is None and is_more_coming:
            self._lingered, self.due = 0, self.loop.time() + LINGER_SECONDS
            self._is_refused = self._is_refused or bool(self._unread) or self.flow.read_paused
            self._unread.clear()
            self.flow.resume_reading()
            with contextlib.suppress(OSError, RuntimeError):  # the client may be gone already
                self.transport.write_eof()
        return self._lingered is not None

    def _read_over(self, size: int) -> None:
        self._lingered = (self._lingered or 0) + size
        self._missing -= min(size, self._missing)
        is_last = not self._missing and self._chunks is None and not self._is_refused
        if is_last or self._lingered > MOST_LINGER_BYTES:
            cast(HoldingTransport, self.transport).end()
