"""One connection over a raw socket: sends bytes in segments of their own, and reads the answers until it ends."""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import h11

#: The problem type of the edge's own answers; those of the application have types of ours.
EDGE_TYPE: Final = b'"type":"about:blank"'
#: Seconds between segments, so that each is read for itself.
APART: Final = 0.003


@dataclass(frozen=True)
class Got:
    """The final answers of a connection that has ended, each with its status and its body."""

    answers: list[tuple[int, bytes]]
    continued: int

    def by_edge(self) -> list[bool]:
        return [EDGE_TYPE in body for _, body in self.answers]


async def sent(address: tuple[str, int], segments: Iterable[bytes]) -> Got:
    """Sends these, and reads until the server closes. Raises `TimeoutError` if it does not."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        async with asyncio.timeout(20):
            reading = asyncio.create_task(_all_of(reader))
            with contextlib.suppress(ConnectionError):
                for segment in segments:
                    writer.write(segment)
                    await writer.drain()
                    await asyncio.sleep(APART if len(segment) > 1 else 0)
            return answers_in(await reading)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _all_of(reader: asyncio.StreamReader) -> bytes:
    received = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while piece := await reader.read(65536):
            received += piece
    return bytes(received)


def answers_in(received: bytes) -> Got:
    """The answers in what was received; they are those of GET and POST, which all have a body."""
    answers, continued = [], 0
    while received:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method="GET", target="/", headers=[("host", "edge.test")]))
        client.send(h11.EndOfMessage())
        client.receive_data(received)
        status, body = 0, b""
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.InformationalResponse):
                continued += 1
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                raise AssertionError(f"an answer without an end: {received!r}")
        answers.append((status, body))
        received = client.trailing_data[0]
    return Got(answers, continued)
