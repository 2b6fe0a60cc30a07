"""A line to the privacy manager that a test can break: no one there, silence, or somebody else who answers."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Final


class Fault(StrEnum):
    """What a gateway meets in the privacy manager's place."""

    DEAD = "nobody listens"
    SILENT = "no answer comes"
    HANGS_UP = "the connection is closed without an answer"
    GARBAGE = "what comes is not HTTP"
    BREAKS_OFF = "a 200 breaks off in its head"
    EMPTY_200 = "a 200 that names no grant"
    EMPTY_204 = "a 204 that names no grant"
    OTHER_2XX = "a 202 that names a grant"
    BLANK_GRANT = "a 200 whose grant is empty"
    ERROR_500 = "a 500"
    REDIRECT = "a redirect"


_ANSWERS: Final[dict[Fault, bytes]] = {
    Fault.HANGS_UP: b"",
    Fault.GARBAGE: b"\x00\x01\x02 220 this is no HTTP\r\nX-Consent-Grant: g\r\n\r\n",
    Fault.BREAKS_OFF: b"HTTP/1.1 200 OK\r\nX-Consent-Grant: g\r\nX-Consent-Sco",
    Fault.EMPTY_200: b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nok",
    Fault.EMPTY_204: b"HTTP/1.1 204 No Content\r\n\r\n",
    Fault.OTHER_2XX: b"HTTP/1.1 202 Accepted\r\nX-Consent-Grant: g\r\nContent-Length: 0\r\n\r\n",
    Fault.BLANK_GRANT: b"HTTP/1.1 200 OK\r\nX-Consent-Grant:\r\nContent-Length: 0\r\n\r\n",
    Fault.ERROR_500: b"HTTP/1.1 500 Oops\r\nX-Consent-Grant: g\r\nContent-Length: 0\r\n\r\n",
    Fault.REDIRECT: b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nX-Consent-Grant: g\r\nContent-Length: 0\r\n\r\n",
}


class Line:
    """Listens on one port, and carries what comes to another; or meets it with a fault."""

    def __init__(self, to_port: int) -> None:
        self.port = 0
        self._to_port = to_port
        self._fault: Fault | None = None
        self._listening: asyncio.Server | None = None
        self._absent: socket.socket | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        await self._listen()
        try:
            yield
        finally:
            await self._close()
            if self._absent is not None:
                self._absent.close()

    async def become(self, fault: Fault | None) -> None:
        """Breaks the line, or mends it. What was under way is cut."""
        if self._fault is Fault.DEAD:
            await self._listen()
        self._fault = fault
        self.cut()
        if fault is Fault.DEAD:
            # The port stays ours: a socket that is bound and does not listen refuses what comes.
            self._absent = _bound(self.port)
            await self._close()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _listen(self) -> None:
        listening = _bound(self.port)
        self.port = listening.getsockname()[1]
        self._listening = await asyncio.start_server(self._accept, sock=listening)
        if self._absent is not None:
            self._absent.close()
            self._absent = None

    async def _close(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._meet(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                if self._fault is None:
                    await self._carry(reader, writer)
                elif self._fault is Fault.SILENT:
                    # Until the other end gives up, or the line is mended.
                    await reader.read()
                else:
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(_ANSWERS[self._fault])
                    await writer.drain()
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        self._writers.add(far_writer)
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            self._writers.discard(far_writer)
            far_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound
