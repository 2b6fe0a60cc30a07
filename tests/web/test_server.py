"""The server's side of a connection: an answer in one piece, and nothing that HTTP promises lost by it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import Receive, Scope, Send

from api.edge.holding_transport import MOST_HELD_BYTES
from tests.worlds.served_app import serving


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what the path asks for."""
    if scope["type"] != "http":
        return
    body = (await receive())["body"] if scope["path"] == "/body" else scope["path"].encode()
    head = {"type": "http.response.start", "status": 200, "headers": []}
    if scope["path"] == "/long":
        await send(head)
        for _ in range(4):
            await send({"type": "http.response.body", "body": b"x" * MOST_HELD_BYTES, "more_body": True})
        await send({"type": "http.response.body"})
    elif scope["path"] == "/breaks":
        await send(head)
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("half-way")
    else:
        await send({**head, "headers": [(b"content-length", str(len(body)).encode())]})
        await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with serving(echo) as address:
        reader, writer = await asyncio.open_connection(*address)
        try:
            yield reader, writer
        finally:
            writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return head, await reader.readexactly(int(lengths[0].split(b":")[1])) if lengths else b""


async def test_a_short_answer_comes_in_one_piece() -> None:
    async with connected() as (reader, writer):
        writer.write(b"GET /one HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.read(65536)).endswith(b"\r\n\r\n/one")


async def test_requests_that_are_sent_ahead_are_answered_in_order() -> None:
    async with connected() as (reader, writer):
        writer.write(b"".join(b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n" % number for number in range(20)))
        assert [(await answer(reader))[1] for _ in range(20)] == [b"/%d" % number for number in range(20)]


async def test_a_client_that_waits_to_be_told_to_continue_is_told() -> None:
    async with connected() as (reader, writer):
        writer.write(b"POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n")
        async with asyncio.timeout(5):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abcd")
        assert (await answer(reader))[1] == b"abcd"


async def test_a_head_alone_and_the_last_answer_of_a_connection_arrive() -> None:
    async with connected() as (reader, writer):
        writer.write(b"HEAD /six HTTP/1.1\r\nhost: x\r\n\r\nGET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 4" in head
        assert (await answer(reader))[1] == b"/last"
        assert await reader.read() == b""


async def test_a_long_answer_is_not_held() -> None:
    async with connected() as (reader, writer):
        writer.write(b"GET /long HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        received = await reader.read()
        assert received.count(b"x" * MOST_HELD_BYTES) == 4
        assert received.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("times", [1, 2])
async def test_an_answer_that_breaks_off_ends_the_connection_with_what_there_was(times: int) -> None:
    async with connected() as (reader, writer):
        writer.write(b"GET /breaks HTTP/1.1\r\nhost: x\r\n\r\n" * times)
        received = await reader.read()
        assert received.count(b"half") == 1
        assert not received.endswith(b"0\r\n\r\n")
