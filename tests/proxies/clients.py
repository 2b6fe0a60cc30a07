"""A client that sends what it is told to, byte for byte: nothing of an address is tidied up on the way."""

import http.client
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

SECONDS: Final = 10


@dataclass(frozen=True)
class Told:
    """What a client is told."""

    status: int
    headers: dict[str, str]
    body: bytes


def request(method: str, target: str, headers: Iterable[tuple[str, str]]) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("utf-8")


def send(
    port: int,
    *requests: bytes,
    methods: Iterable[str] = (),
    seconds: float = SECONDS,
    shown: ssl.SSLContext | None = None,
) -> list[Told]:
    """The answers to requests that are sent at once, over one connection. A connection that breaks ends them.

    With `shown` over TLS, with the certificate that it holds.
    """
    told = []
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as plain:
        connection = plain if shown is None else shown.wrap_socket(plain, server_hostname="127.0.0.1")
        with connection, connection.makefile("rb") as incoming:
            connection.sendall(b"".join(requests))
            for method in methods or ["GET"] * len(requests):
                answer = http.client.HTTPResponse(_Read(incoming), method=method)  # type: ignore[arg-type]
                try:
                    answer.begin()
                    told.append(Told(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()))
                except (http.client.RemoteDisconnected, ConnectionResetError):
                    break
    return told


class _Read:
    """What has been read of a connection so far, for one answer after the other."""

    def __init__(self, incoming: object) -> None:
        self._incoming = incoming

    def makefile(self, mode: str) -> object:
        return _Kept(self._incoming)


class _Kept:
    """A file that an answer's end does not close."""

    def __init__(self, incoming: object) -> None:
        self._incoming = incoming

    def __getattr__(self, name: str) -> object:
        return getattr(self._incoming, name)

    def close(self) -> None:
        """The connection is closed by who opened it."""

    def flush(self) -> None:
        """Nothing is written to it."""
