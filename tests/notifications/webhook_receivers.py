"""A partner's receiver of webhooks: a server on this machine that behaves as it is told, well or badly."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from standardwebhooks import Webhook

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter


@dataclass(frozen=True, slots=True)
class Received:
    """One request, as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def said(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.body)
        return said

    @property
    def number(self) -> int:
        return int(self.said["data"]["number"])

    @property
    def school(self) -> str | None:
        school: str | None = self.said["data"]["school"]
        return school

    def is_signed_with(self, secret: str) -> bool:
        """By the specification's reference library."""
        try:
            Webhook(secret).verify(self.body, self.headers)
        except Exception:
            return False
        return True


Behaviour = Callable[[Received, Reader, Writer], Awaitable[None]]


def answering(status: int, body: bytes = b"", *more: str) -> Behaviour:
    """Answers with this, whole."""

    async def answer(_: Received, __: Reader, writer: Writer) -> None:
        head = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body)}", *more]
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        await writer.drain()

    return answer


def saying(raw: bytes, *, seconds_between_bytes: float = 0) -> Behaviour:
    """Sends just these bytes, and hangs up."""

    async def say(_: Received, __: Reader, writer: Writer) -> None:
        for part in [raw] if not seconds_between_bytes else [bytes([byte]) for byte in raw]:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(seconds_between_bytes)

    return say


async def resetting(_: Received, __: Reader, writer: Writer) -> None:
    """Breaks the connection off with a reset, and no word."""
    writer.transport.abort()


async def silent(_: Received, reader: Reader, __: Writer) -> None:
    """Says nothing, until the other side has had enough."""
    await reader.read()


@dataclass
class Receiver:
    """Behaves as `behaviour` says, for each request that comes in."""

    port: int = 0
    behaviour: Behaviour = field(default_factory=lambda: answering(204))
    received: list[Received] = field(default_factory=list)
    #: Of these it said that they are well received.
    accepted: list[Received] = field(default_factory=list)
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    async def has(self, many: int, seconds: float = 60) -> None:
        """Waits until so many requests were accepted."""
        async with asyncio.timeout(seconds):
            while len(self.accepted) < many:
                self._came.clear()
                await self._came.wait()

    async def was_asked(self, many: int, seconds: float = 60) -> None:
        """Waits until so many requests came in."""
        async with asyncio.timeout(seconds):
            while len(self.received) < many:
                self._came.clear()
                await self._came.wait()

    async def serve(self, reader: Reader, writer: Writer) -> None:
        try:
            received = await _read(reader)
            self.received.append(received)
            self._came.set()
            behaviour = self.behaviour
            await behaviour(received, reader, writer)
            if getattr(behaviour, "accepts", False):
                self.accepted.append(received)
                self._came.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def accepting() -> Behaviour:
    """Says 204, and counts the message as received."""
    behaviour = answering(204)
    behaviour.accepts = True  # type: ignore[attr-defined]
    return behaviour


async def _read(reader: Reader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers["content-length"]))
    return Received(head[0].split(" ")[1], headers, body)


@asynccontextmanager
async def receiving(port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver that listens on this machine, and accepts."""
    receiver = Receiver(behaviour=accepting())
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", port, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
