"""An answer that goes on: each piece leaves at once, who left is left, and who takes nothing is cut off."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from api.edge.server_state import CONNECTION
from api.web import server_sent_events
from api.web.server_sent_events import EventStream
from tests.worlds.served_app import serving

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class Said:
    """What is said, piece by piece, to whoever asks; and how that ended."""

    def __init__(self, pieces: Callable[[], AsyncIterator[bytes]]) -> None:
        self._pieces = pieces
        self.count = 0
        self.ended = asyncio.Event()
        self.connection: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.connection = scope["state"][CONNECTION]
        await receive()
        await EventStream(self._counted())(scope, receive, send)

    async def _counted(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._pieces():
                self.count += 1
                yield piece
        finally:
            self.ended.set()


async def asked(address: tuple[str, int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(GET)
    return reader, writer


async def test_each_piece_leaves_at_once_and_the_end_is_an_end() -> None:
    more: asyncio.Queue[bytes] = asyncio.Queue()

    async def pieces() -> AsyncIterator[bytes]:
        while piece := await more.get():
            yield piece

    async with serving(Said(pieces)) as address, asyncio.timeout(30):
        reader, writer = await asked(address)
        await more.put(b"data: 1\n\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-type: text/event-stream" in head
        assert b"x-accel-buffering: no" in head
        assert await reader.readuntil(b"\n\n\r\n") == b"9\r\ndata: 1\n\n\r\n"
        await more.put(b"data: 2\n\n")
        assert await reader.readuntil(b"\n\n\r\n") == b"9\r\ndata: 2\n\n\r\n", "while the answer goes on"
        await more.put(b"")
        assert await reader.readuntil(b"0\r\n\r\n") == b"0\r\n\r\n"
        # The connection serves the next request.
        writer.write(GET)
        await more.put(b"data: 3\n\n")
        assert b"data: 3" in await reader.readuntil(b"\n\n\r\n")
        writer.close()


async def test_who_left_is_noticed_while_there_is_nothing_to_say() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b":\n\n"
        await asyncio.Event().wait()

    said = Said(pieces)
    async with serving(said) as address, asyncio.timeout(30):
        reader, writer = await asked(address)
        await reader.readuntil(b":\n\n")
        writer.close()
        await said.ended.wait()


async def test_a_reader_that_takes_nothing_is_cut_off_and_little_is_kept_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_sent_events, "SEND_SECONDS", 0.5)
    piece = b"data: " + b"x" * 16_000 + b"\n\n"

    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield piece

    said = Said(pieces)
    async with serving(said) as address, asyncio.timeout(60):
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(address)
            deaf.sendall(GET)
            while not said.connection or not said.connection.is_closing():  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
            await said.ended.wait()
            assert said.count < 100, "what it does not take is not made"
            # Not left half open until it comes to its senses: what was written for it is thrown away.
            assert said.connection.get_write_buffer_size() == 0


async def test_what_fails_while_it_is_said_ends_the_connection_without_an_end() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        raise RuntimeError("half-way")

    async with serving(Said(pieces)) as address, asyncio.timeout(30):
        reader, writer = await asked(address)
        received = await reader.read()
        assert received.endswith(b"data: 1\n\n\r\n"), "no last chunk: who reads knows that it broke off"
        writer.close()
