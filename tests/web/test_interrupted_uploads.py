"""Files that do not arrive whole, over a real line too, and what goes wrong while one is kept: nothing is left."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx2
import pytest
import uvicorn
from sqlalchemy.exc import OperationalError
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.types import Message, Receive, Scope, Send

from api.web.files import Received
from models.consents.files import CHUNK_BYTES, MOST_FILE_BYTES
from tests.grants.test_grants import problem
from tests.web.upload_desk import (
    MEGABYTE,
    PDF,
    TEN_GIGABYTES,
    Content,
    Desk,
    a_pdf_of,
    arriving,
    desk_of,
    in_parts,
    told,
)
from tests.worlds.world import World


@pytest.fixture
async def desk(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return await desk_of(world, tmp_path, monkeypatch)


# -- a body that is cut half-way --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [len(PDF), 4 * MEGABYTE])
@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_that_is_cut_half_way_is_incomplete(desk: Desk, size: int, declared: bool) -> None:
    content = a_pdf_of(size)
    headers = {"Content_Length": str(size)} if declared else {}
    for path in (desk.document, desk.attachments):
        half = arriving(content[: size // 2], cut=True)
        assert problem(await told(desk, path, half, **headers)) == (400, "upload_incomplete")
    await desk.require_nothing_left()


async def test_a_client_that_goes_before_the_first_byte_leaves_nothing(desk: Desk) -> None:
    assert problem(await told(desk, desk.document, arriving(cut=True))) == (400, "upload_incomplete")
    await desk.require_nothing_left()


async def test_a_whole_body_whose_client_goes_before_its_end_was_said_is_incomplete(desk: Desk) -> None:
    assert problem(await told(desk, desk.document, arriving(PDF, cut=True))) == (400, "upload_incomplete")
    await desk.require_nothing_left()


@pytest.mark.parametrize("declared", [0, 1, len(PDF) - 1, len(PDF) + 1, 2 * len(PDF), MOST_FILE_BYTES])
async def test_a_length_that_differs_from_what_arrived_is_incomplete(desk: Desk, declared: int) -> None:
    answer = await told(desk, desk.document, arriving(PDF), Content_Length=str(declared))
    assert problem(answer) == (400, "upload_incomplete")
    await desk.require_nothing_left()


async def test_a_file_that_was_cut_is_sent_again_whole_under_the_same_key(desk: Desk) -> None:
    cut = await told(desk, desk.document, arriving(PDF[:30], cut=True), Idempotency_Key="a-key")
    assert problem(cut) == (400, "upload_incomplete")
    again = await desk.hand_in(desk.document, PDF, Idempotency_Key="a-key")
    assert (again.status_code, "Idempotency-Replayed" in again.headers) == (201, False)
    assert (await desk.state())[-2:] == (1, 1)


# -- over a real line -------------------------------------------------------------------------------------------------


@dataclass
class Line:
    """The service behind a port of this machine: which requests reached it, and what it had answered when done."""

    port: int
    begun: "asyncio.Queue[str]"
    done: "asyncio.Queue[list[int]]"

    async def reached(self) -> str:
        return await asyncio.wait_for(self.begun.get(), 30)

    async def answered(self) -> list[int]:
        return await asyncio.wait_for(self.done.get(), 30)

    async def opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


@asynccontextmanager
async def served(world: World) -> AsyncIterator[Line]:
    begun, done = asyncio.Queue[str](), asyncio.Queue[list[int]]()

    async def listening(scope: Scope, receive: Receive, send: Send) -> None:
        statuses: list[int] = []

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            await send(message)

        begun.put_nowait(scope["path"])
        try:
            await world.service(scope, receive, sending)
        finally:
            done.put_nowait(statuses)

    with socket.create_server(("127.0.0.1", 0)) as port:
        config = uvicorn.Config(listening, lifespan="off", log_config=None, access_log=False, server_header=False)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[port]))
        try:
            yield Line(port.getsockname()[1], begun, done)
        finally:
            server.should_exit = True
            await serving


def head(desk: Desk, path: str, **headers: str) -> bytes:
    """The first lines of a request, as they go over the line."""
    given = {**desk.headers(), "Host": "test", "Connection": "close"}
    lines = [f"{key.replace('_', '-')}: {value}" for key, value in {**given, **headers}.items()]
    return "\r\n".join([f"POST {path}?name=x.pdf HTTP/1.1", *lines, "", ""]).encode()


def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


def _pull_the_plug(writer: asyncio.StreamWriter) -> None:
    line: socket.socket = writer.get_extra_info("socket")
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


ENDS: Final[dict[str, Callable[[asyncio.StreamWriter], None]]] = {"hangs up": _hang_up, "is cut off": _pull_the_plug}


@pytest.mark.parametrize("size", [len(PDF), 4 * MEGABYTE])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("end", ENDS)
async def test_a_client_that_is_gone_half_way_leaves_nothing(desk: Desk, end: str, chunked: bool, size: int) -> None:
    half = a_pdf_of(size)[: size // 2]
    async with served(desk.world) as line:
        for path in (desk.document, desk.attachments):
            _, writer = await line.opened()
            if chunked:
                writer.write(head(desk, path, Transfer_Encoding="chunked") + f"{len(half):x}\r\n".encode() + half)
            else:
                writer.write(head(desk, path, Content_Length=str(size)) + half)
            await writer.drain()
            assert await line.reached() == path
            ENDS[end](writer)
            assert await line.answered() == [400]
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await desk.require_nothing_left()


async def test_a_declared_length_of_10_gb_is_answered_while_the_body_is_still_to_come(desk: Desk) -> None:
    async with served(desk.world) as line:
        for path in (desk.document, desk.attachments):
            reader, writer = await line.opened()
            writer.write(head(desk, path, Content_Length=str(TEN_GIGABYTES)) + PDF)
            answer = await asyncio.wait_for(reader.read(), 30)
            assert answer.startswith(b"HTTP/1.1 413 ")
            assert b"problems/too_large" in answer
            assert await line.answered() == [413]
            writer.close()
            await writer.wait_closed()
        await desk.require_nothing_left()


@pytest.mark.parametrize("declared", ["9" * 5000, "-1", "5, 5", "vijf", f"{len(PDF)}\r\nContent-Length: 5"])
async def test_a_length_that_no_server_understands_is_an_error_of_the_client(desk: Desk, declared: str) -> None:
    async with served(desk.world) as line:
        reader, writer = await line.opened()
        writer.write(head(desk, desk.document, Content_Length=declared) + PDF)
        answer = await asyncio.wait_for(reader.read(), 30)
        assert answer.split(b" ", 2)[1] in (b"400", b"413")
        writer.close()
        await writer.wait_closed()
        await desk.require_nothing_left()


async def test_a_file_of_many_parts_goes_over_a_real_line_and_back(desk: Desk) -> None:
    content = a_pdf_of(int(9.9 * MEGABYTE))
    async with served(desk.world) as line:
        address = f"http://127.0.0.1:{line.port}"
        async with httpx2.AsyncClient(base_url=address, trust_env=False, timeout=60) as client:
            desk.world.client = client
            assert (await desk.hand_in(desk.document, in_parts(content, 100_000))).status_code == 201
            assert (await desk.fetch(desk.document)).content == content
            too_much: Content = in_parts(a_pdf_of(MOST_FILE_BYTES + 1), 100_000)
            assert problem(await desk.hand_in(desk.document, too_much)) == (413, "too_large")
    assert (await desk.state())[-2:] == (1, -(-len(content) // CHUNK_BYTES))
    assert desk.under_way() == []


# -- what goes wrong here ---------------------------------------------------------------------------------------------


@pytest.mark.both_stores
async def test_a_file_whose_commit_fails_is_neither_acknowledged_nor_kept(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: AsyncSession) -> None:
        raise OperationalError("COMMIT", {}, Exception("the disk is full"))

    content = a_pdf_of(2 * MEGABYTE)
    with monkeypatch.context() as patched:
        patched.setattr(AsyncSession, "commit", fail)
        for path in (desk.document, desk.attachments):
            refused = await desk.hand_in(path, content, Idempotency_Key=path[-36:])
            assert problem(refused) == (503, "store_unreachable")
    await desk.require_nothing_left()
    assert (await desk.hand_in(desk.document, content, Idempotency_Key=desk.document[-36:])).status_code == 201


async def test_a_file_of_which_one_part_cannot_be_read_again_is_not_kept(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Received) -> Iterator[bytes]:
        yield PDF
        raise OSError("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr(Received, "parts", broken)
        for path in (desk.document, desk.attachments):
            assert problem(await desk.hand_in(path, a_pdf_of(2 * MEGABYTE))) == (503, "store_unreachable")
    await desk.require_nothing_left()


async def test_where_no_file_can_be_received_the_answer_is_to_try_again(desk: Desk, tmp_path: Path) -> None:
    desk.temporary.rmdir()
    refused = await desk.hand_in(desk.document, a_pdf_of(2 * MEGABYTE))
    assert (problem(refused), refused.headers["Retry-After"]) == ((503, "store_unreachable"), "1")
    desk.temporary.mkdir()
    await desk.require_nothing_left()
