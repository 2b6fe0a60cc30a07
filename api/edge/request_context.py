"""The context of every request and answer: id, API version, headers, and limits on address and body."""

import re
from dataclasses import dataclass
from random import getrandbits
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.edge import problems
from api.edge.problems import INVALID_INPUT, TOO_LARGE, Refused
from models.decision.decision_log import LoggedCaller, logged_caller

API_VERSION: Final = "0.1.0"
MOST_BODY_BYTES: Final = 1024 * 1024
#: Members and items of a JSON body, counted before it is parsed: by its commas, colons and brackets, also those within
#: strings. The largest that a route takes has a quarter.
MOST_JSON_MARKS: Final = 5_000
_MARKS: Final = (b",", b":", b"[", b"{")
MOST_TARGET_BYTES: Final = 8 * 1024
TOO_LONG: Final = f"The address is longer than {MOST_TARGET_BYTES} bytes."

_VERSION: Final = (b"api-version", API_VERSION.encode())
#: For answers that browsers or caches may see; a decision, answered to a gateway's POST, is none.
_GUARDED: Final = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
_REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class BodyTooLarge(Refused, HTTPException):
    """Raised while a body is read. FastAPI passes only an HTTPException through there; the hook handles `Refused`."""

    def __init__(self, most: int = MOST_BODY_BYTES) -> None:
        HTTPException.__init__(self, TOO_LARGE.status)
        Refused.__init__(self, TOO_LARGE, f"At most {most} bytes.")


class TooManyValues(Refused, HTTPException):
    """Raised while a JSON body is read that would take long to parse and longer to check."""

    def __init__(self) -> None:
        HTTPException.__init__(self, INVALID_INPUT.status)
        Refused.__init__(self, INVALID_INPUT, "The body has too many members or items.")


@dataclass
class Bound:
    """Limit in bytes of one request's body. Routes for files raise it for themselves."""

    most: int = MOST_BODY_BYTES


class Envelope:
    """The outermost middleware. Passes `X-Request-ID` and `traceparent` on; gives a request without an id one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        around = headers_around(scope)
        bound = Bound()
        scope.setdefault("state", {}).update(request_id=request_id_in(around), bound=bound)
        send_around = with_headers(around, send)
        if is_too_long(scope):
            return await problems.answer(INVALID_INPUT, TOO_LONG)(scope, receive, send_around)
        return await self.app(scope, _bounded(receive, bound, may_be_json=_may_be_json(scope)), send_around)


def is_too_long(scope: Scope) -> bool:
    """Whether the request's address exceeds `MOST_TARGET_BYTES`."""
    return len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MOST_TARGET_BYTES


RawHeaders = list[tuple[bytes, bytes]]


def headers_around(scope: Scope) -> RawHeaders:
    """Headers of the answer to this request, unless it sets them itself; the request's id comes first."""
    request_id = traceparent = b""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            request_id = request_id or value
        elif name == b"traceparent":
            traceparent = traceparent or value
    if not request_id or not _REQUEST_ID.fullmatch(request_id):
        request_id = _new_id()
    around = [(b"x-request-id", request_id), _VERSION]
    if traceparent and _TRACEPARENT.fullmatch(traceparent):
        around.append((b"traceparent", traceparent))
    return around


def _new_id() -> bytes:
    """A random UUID (RFC 9562, version 4), not of cryptographic strength: it only distinguishes requests."""
    parts = getrandbits(32), getrandbits(16), getrandbits(12), getrandbits(12), getrandbits(48)
    return b"%08x-%04x-4%03x-8%03x-%012x" % parts


def request_id_in(around: RawHeaders) -> str:
    return around[0][1].decode()


def caller_of(issuer: str, subject: str, around: RawHeaders) -> LoggedCaller:
    """The caller and its request, whose answer has the headers `around`."""
    trace_id = around[2][1][3:35].decode() if len(around) > 2 else None
    return logged_caller(issuer, subject, request_id_in(around), trace_id)


def with_headers(around: RawHeaders, send: Send) -> Send:
    """Wraps `send` to add these headers to each answer."""

    async def send_around(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            given = {name.lower() for name, _ in headers}
            message["headers"] = headers + [header for header in (*around, *_GUARDED) if header[0] not in given]
        await send(message)

    return send_around


def _may_be_json(scope: Scope) -> bool:
    return all(b"json" in value.lower() for name, value in scope["headers"] if name == b"content-type")


def _bounded(receive: Receive, bound: Bound, *, may_be_json: bool) -> Receive:
    size = marks = 0

    async def receive_bounded() -> Message:
        nonlocal size, marks
        message = await receive()
        piece = message.get("body", b"")
        size += len(piece)
        if size > bound.most:
            raise BodyTooLarge(bound.most)
        if may_be_json:
            marks += sum(map(piece.count, _MARKS))
            if marks > MOST_JSON_MARKS:
                raise TooManyValues
        return message

    return receive_bounded
