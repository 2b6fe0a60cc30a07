"""How the body of a request is framed, as its head says, and the answer where the head may not be believed."""

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Final

import msgspec

MOST_HEADERS: Final = 100
#: Bytes of a body, more than those of the largest file that a route takes.
MOST_LENGTH: Final = 16 * 1024 * 1024
MOST_DIGITS: Final = 24
#: The headers that say where a request ends, and for whom it is.
SHAPING: Final = frozenset((b"content-length", b"transfer-encoding", b"host", b"expect"))

RawHeaders = Sequence[tuple[bytes, bytes]]


class NotTaken(Exception):
    """The request is not taken. The connection ends with this status, and the client is told this sentence."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status


#: The length in bytes of a body, whether it is chunked instead, and whether its client waits to be told to send it.
Shape = tuple[int, bool, bool]


def version_of(head: bytes) -> bytes:
    """The version of HTTP in the first line of a head. Raises `NotTaken` for another protocol or version."""
    end = head.find(b"\r\n")
    if head[end - 8 : end - 1] != b"HTTP/1." or head[end - 1 : end] not in b"01":
        raise NotTaken(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "Only HTTP/1.1 and HTTP/1.0 are served.")
    return head[end - 3 : end]


def shape_of(version: bytes, method: bytes, headers: int, shaping: Iterable[tuple[bytes, bytes]]) -> Shape:
    """The shape that these headers give to the body. Raises `NotTaken`.

    The parser has refused two lengths, a length beside a coding, and a length that is no number.
    """
    if method == b"CONNECT":
        raise NotTaken(HTTPStatus.NOT_IMPLEMENTED, "CONNECT is not served.")
    if headers > MOST_HEADERS:
        raise NotTaken(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"A head has at most {MOST_HEADERS} headers.")
    length, hosts, is_chunked, waits = 0, 0, False, False
    for name, value in shaping:
        if name == b"host":
            hosts += 1
        elif name == b"content-length":
            length = _length(value)
        elif name == b"transfer-encoding":
            _require_chunked(version, value, is_chunked)
            is_chunked = True
        else:
            waits = _waits(version, value)
    if hosts > 1 or (not hosts and version == b"1.1"):
        raise NotTaken(HTTPStatus.BAD_REQUEST, "A request has one Host.")
    return length, is_chunked, waits


def _length(digits: bytes) -> int:
    if len(digits) > MOST_DIGITS:
        raise NotTaken(HTTPStatus.BAD_REQUEST, "The Content-Length has too many digits.")
    if (length := int(digits)) > MOST_LENGTH:
        raise NotTaken(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A body has at most {MOST_LENGTH} bytes.")
    return length


def _require_chunked(version: bytes, coding: bytes, is_second: bool) -> None:
    if is_second or coding.strip().lower() != b"chunked" or version == b"1.0":
        raise NotTaken(HTTPStatus.NOT_IMPLEMENTED, "Only the transfer coding chunked is served.")


def _waits(version: bytes, expectation: bytes) -> bool:
    if expectation.strip().lower() != b"100-continue":
        raise NotTaken(HTTPStatus.EXPECTATION_FAILED, "Only the expectation 100-continue is known.")
    return version == b"1.1"


def refusal(status: HTTPStatus, detail: str, default_headers: RawHeaders) -> bytes:
    """The whole answer to a request that is not taken: a problem document (RFC 9457) of no type of ours."""
    document = msgspec.json.encode(
        {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    )
    headers = [
        *default_headers,
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(document)),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append((b"retry-after", b"1"))
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    return b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (status.value, status.phrase.encode(), lines, document)
