"""A server of keys on this machine that can fail in every way, and a clock that is moved by hand."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from api.security.issuers import TrustedIssuer
from tests.security.signing_keys import SigningKey

OLD, NEW = SigningKey.es256("old"), SigningKey.es256("new")
RSA = SigningKey.rs256("rsa")
ISSUER, AUDIENCE = "https://issuer.example", "privacy-manager"

Answer = bytes | list[bytes]


def jwks(*keys: object) -> bytes:
    return json.dumps({"keys": [key.jwk if isinstance(key, SigningKey) else key for key in keys]}).encode()


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class JwksServer:
    """Answers every request with `says`; a list is sent a piece at a time, and an empty one never ends."""

    says: Answer = b""
    requests: list[bytes] = field(default_factory=list)
    port: int = 0
    #: While it is not set, requests wait.
    open: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/jwks.json"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            await self.open.wait()
            for piece in [self.says] if isinstance(self.says, bytes) else self.says:
                writer.write(piece)
                await writer.drain()
                if isinstance(self.says, list):
                    await asyncio.sleep(0.02)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def trusted(**members: Any) -> TrustedIssuer:
    return TrustedIssuer.model_validate(
        {"issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["ES256", "RS256"], **members}
    )


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what is waited for is another connection, not an event of ours
            await asyncio.sleep(0.005)
