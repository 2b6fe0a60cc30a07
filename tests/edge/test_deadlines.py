"""Deadlines and bounds of a connection, and early refusals: it ends in time, and the answer arrives."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import Receive, Scope, Send

from api.edge import connection_limits, server
from tests.edge.connections import answers_in
from tests.worlds.served_app import serving

HEAD = b"POST /read HTTP/1.1\r\nHost: edge.test\r\n"
GET = b"GET /now HTTP/1.1\r\nHost: edge.test\r\n\r\n"
MUCH = b"GET /much HTTP/1.1\r\nHost: edge.test\r\n\r\n"
#: Seconds in which a deadline of the tests has passed, and was seen to.
LOOK = 1.5


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """`/read` answers once the body is there, `/late` asks for it late, `/much` answers more than a socket takes."""
    if scope["type"] != "http":
        return
    if scope["path"] == "/late":
        await asyncio.sleep(1)
    if scope["path"] in {"/read", "/late"}:
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            return
    headers = [(b"connection", b"close")] if scope["path"] == "/close" else []
    body = b"x" * 3_000_000 if scope["path"] == "/much" else b"done"
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def address() -> AsyncIterator[tuple[str, int]]:
    async with serving(application) as found:
        yield found


@asynccontextmanager
async def line(address: tuple[str, int], sent: bytes = b"") -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(sent)
        await writer.drain()
        yield reader, writer
    finally:
        writer.transport.abort()


async def statuses(reader: asyncio.StreamReader, seconds: float = 5) -> list[int]:
    """The statuses of all answers until the connection ends. Raises `TimeoutError` where it does not in time."""
    async with asyncio.timeout(seconds):
        return [status for status, _ in answers_in(await reader.read()).answers]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_SECONDS", "PACE_SECONDS", "IDLE_SECONDS", "LINGER_SECONDS", "UNREAD_SECONDS", "STOP_SECONDS"):
        monkeypatch.setattr(server, name, 0.3)
    monkeypatch.setattr(server, "PACE_BYTES", 100)
    monkeypatch.setattr(connection_limits, "LOOK_SECONDS", 0.05)


async def test_a_head_that_does_not_end_is_refused(address: tuple[str, int]) -> None:
    async with line(address, HEAD) as (reader, _):
        assert await statuses(reader, LOOK) == [408]


async def test_a_refusal_says_what_is_wrong(address: tuple[str, int]) -> None:
    async with line(address, b"GET / HTTP/1.1\r\n\r\n") as (reader, _):
        [(status, body)] = answers_in(await reader.read()).answers
    assert (status, json.loads(body)) == (
        400,
        {"type": "about:blank", "title": "Bad Request", "status": 400, "detail": "A request has one Host."},
    )


async def test_a_head_that_goes_on_slowly_is_refused_all_the_same(address: tuple[str, int]) -> None:
    async with line(address, HEAD) as (reader, writer):
        reading = asyncio.create_task(statuses(reader, LOOK))
        while not reading.done():
            writer.write(b"X: 1\r\n")
            await asyncio.sleep(0.05)
        assert await reading == [408]


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 50000\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"]
)
async def test_a_body_that_is_slow_is_refused(address: tuple[str, int], framing: bytes) -> None:
    async with line(address, HEAD + framing) as (reader, writer):
        reading = asyncio.create_task(statuses(reader, 2 * LOOK))
        while not reading.done():
            writer.write(b"1\r\n{\r\n" if b"chunked" in framing else b"{")
            await asyncio.sleep(0.1)
        assert await reading == [408]


async def test_a_body_that_keeps_pace_is_read_to_its_end(address: tuple[str, int]) -> None:
    async with line(address, HEAD + b"Connection: close\r\nContent-Length: 4000\r\n\r\n") as (reader, writer):
        for _ in range(40):  # 100 bytes in each 0.3 s is the least
            writer.write(b"x" * 100)
            await asyncio.sleep(0.06)
        assert await statuses(reader) == [200]


async def test_who_does_nothing_is_closed_without_a_word(address: tuple[str, int]) -> None:
    async with line(address) as (silent, _), line(address, GET) as (answered, _):
        assert await statuses(silent, LOOK) == []
        assert await statuses(answered, LOOK) == [200]


async def ended(address: tuple[str, int], sent: bytes) -> bool:
    """Whether the server ends a connection on which this is sent, and of whose answers nothing is read."""
    with socket.create_connection(address) as client:
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send(sent)
        await asyncio.sleep(LOOK)
        try:
            for _ in range(10):
                client.send(b"x")
                await asyncio.sleep(0.02)
        except ConnectionError:
            return True
        return False


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(MUCH, id="alone"),
        pytest.param(MUCH + GET, id="with another request behind it"),
        pytest.param(MUCH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), id="the last one"),
        pytest.param(
            MUCH.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 99\r\n\r\n{"),
            id="of half a body",
        ),
        pytest.param(
            MUCH.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n"),
            id="of an endless chunk",
        ),
    ],
)
async def test_an_answer_that_nobody_reads_holds_no_connection(address: tuple[str, int], sent: bytes) -> None:
    assert await ended(address, sent)


async def test_an_answer_that_is_read_slowly_is_not_cut_off(address: tuple[str, int]) -> None:
    async with line(address, MUCH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")) as (reader, _):
        received = bytearray()
        while piece := await reader.read(200_000):
            received += piece
            await asyncio.sleep(0.01)
    assert received.endswith(b"x" * 3_000_000)


async def test_a_connection_whose_end_fails_does_not_end_the_deadlines_of_others(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refuse = server.StrictConnection._refuse
    failing = iter([True])

    def once_failing(connection: server.StrictConnection, refused: Exception) -> None:
        if next(failing, False):
            raise OSError("gone")
        refuse(connection, refused)  # type: ignore[arg-type]

    monkeypatch.setattr(server.StrictConnection, "_refuse", once_failing)
    async with line(address, HEAD) as (first, _):
        with contextlib.suppress(ConnectionError):
            assert await statuses(first, LOOK) == []
        async with line(address, HEAD) as (second, _):
            assert await statuses(second, LOOK) == [408]
    assert "cut off" in caplog.text


async def test_a_client_that_waits_to_be_told_is_not_blamed_for_a_slow_application(address: tuple[str, int]) -> None:
    async with line(
        address, b"POST /late HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    ) as (
        reader,
        writer,
    ):
        async with asyncio.timeout(10):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}  ")
        assert await statuses(reader) == [200]


async def test_the_last_answer_arrives_though_more_was_sent_behind_it(address: tuple[str, int]) -> None:
    async with line(address) as (reader, writer):
        writer.write(MUCH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + GET * 20_000)
        async with asyncio.timeout(20):
            assert (await reader.read()).endswith(b"x" * 3_000_000)


async def test_the_bytes_that_wait_are_given_back_however_a_request_ends(address: tuple[str, int]) -> None:
    large = HEAD + b"Content-Length: 60000\r\n\r\n"
    for sent in (
        large + b"x" * 60_000,
        large + b"x" * 50_000,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n" + b"x" * 50_000,
    ):
        async with line(address, sent):
            await asyncio.sleep(0.1)
    await asyncio.sleep(0.1)
    assert {limits.body_bytes for limits in connection_limits._of_server.values()} == {0}


@pytest.mark.parametrize("path", [b"/now", b"/close"])
@pytest.mark.parametrize("framing", ["a length", "chunks"])
async def test_an_early_answer_reaches_who_is_still_sending(
    address: tuple[str, int], path: bytes, framing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LINGER_SECONDS", 10)
    body = b"x" * 5_000_000
    told = []
    for _ in range(8):
        head = b"POST %s HTTP/1.1\r\nHost: edge.test\r\n" % path
        if framing == "chunks":
            chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:65536] for _ in range(76)))
            whole = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
        else:
            whole = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        async with line(address) as (reader, writer):
            writer.write(whole)
            await writer.drain()  # who sends all before it reads
            async with asyncio.timeout(5):
                told.append(await reader.readuntil(b"done"))
    assert [each.split(b" ")[1] for each in told] == [b"200"] * 8


async def test_after_an_early_answer_the_next_request_is_read_from_where_the_body_ends(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "PACE_SECONDS", 10)
    hidden = GET * 100
    sent = b"POST /now HTTP/1.1\r\nHost: edge.test\r\nContent-Length: %d\r\n\r\n" % len(hidden)
    last = b"GET /close HTTP/1.1\r\nHost: edge.test\r\n\r\n"
    async with line(address, sent) as (reader, writer):
        await reader.readuntil(b"done")
        writer.write(hidden + last)
        assert await statuses(reader) == [200]


async def test_of_many_connections_the_one_that_was_idle_for_longest_makes_room(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "IDLE_SECONDS", 60)
    monkeypatch.setattr(connection_limits, "MOST_CONNECTIONS", 3)
    async with line(address, GET) as (first, _), line(address, GET) as (second, _), line(address, GET) as (third, _):
        for reader in (first, second, third):
            await reader.readuntil(b"done")
        async with line(address, GET) as (fourth, _):
            await fourth.readuntil(b"done")
            assert await statuses(first) == []
            assert not second.at_eof()


async def test_where_none_is_idle_a_connection_too_many_is_refused(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PACE_SECONDS", "HEAD_SECONDS"):
        monkeypatch.setattr(server, name, 60)
    monkeypatch.setattr(connection_limits, "MOST_CONNECTIONS", 2)
    async with line(address, HEAD + b"Content-Length: 9\r\n\r\n"), line(address, HEAD):
        await asyncio.sleep(0.1)
        async with line(address, GET) as (reader, _):
            assert await statuses(reader) == [503]


async def test_bodies_that_wait_are_bounded_in_all_and_small_ones_pass(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "PACE_SECONDS", 60)
    monkeypatch.setattr(connection_limits, "MOST_BODY_BYTES_IN_ALL", 100_000)
    large = HEAD + b"Content-Length: 60000\r\n\r\n"
    chunk = b"%x\r\n%s\r\n" % (59_999, b"x" * 59_999)
    async with line(address, large + b"x" * 59_998) as (first, filling):
        await asyncio.sleep(0.1)
        for more in (large + b"x" * 59_999, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk):
            async with line(address, more) as (reader, _):
                assert await statuses(reader) == [503]
        async with line(address, HEAD + b"Connection: close\r\nContent-Length: 4\r\n\r\n{}  ") as (small, _):
            assert await statuses(small) == [200]
        filling.write(b"xx")
        await first.readuntil(b"done")
        async with line(address, large + b"x" * 60_000) as (reader, _):
            await reader.readuntil(b"done")


@pytest.mark.parametrize(
    "sent",
    [b"", HEAD, HEAD + b"Content-Length: 9\r\n\r\n{", HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n", GET],
    ids=["nothing", "half a head", "half a body", "half a chunk", "a request that was answered"],
)
async def test_a_server_that_stops_does_not_wait_for_who_has_not_sent_all(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "PACE_SECONDS", 60)
    async with asyncio.timeout(5), contextlib.AsyncExitStack() as lines:
        async with serving(application) as address:
            reader, _ = await lines.enter_async_context(line(address, sent))
            await asyncio.sleep(0.1)
        await reader.read()
