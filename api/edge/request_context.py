"""What every request and every answer has around it: an id, a version, and bounds on what may be sent."""

import re
from dataclasses import dataclass
from random import getrandbits
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.edge import problems
from api.edge.problems import INVALID_INPUT, TOO_LARGE, Refused
from models.decision.decision_log import Asker, asker

API_VERSION: Final = "0.1.0"
MOST_BODY_BYTES: Final = 1024 * 1024
MOST_TARGET_BYTES: Final = 8 * 1024
TOO_LONG: Final = f"The address is longer than {MOST_TARGET_BYTES} bytes."

_VERSION: Final = (b"api-version", API_VERSION.encode())
#: For answers that a browser or a cache may come to see, which a decision's, to a POST by a gateway, is not.
_GUARDED: Final = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
_REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class BodyTooLarge(Refused, HTTPException):
    """Raised while a body is read. FastAPI lets only an HTTPException through there; the hook knows only `Refused`."""

    def __init__(self, most: int = MOST_BODY_BYTES) -> None:
        HTTPException.__init__(self, TOO_LARGE.status)
        Refused.__init__(self, TOO_LARGE, f"At most {most} bytes.")


@dataclass
class Bound:
    """How many bytes the body of one request may have. A route that takes files raises it for itself."""

    most: int = MOST_BODY_BYTES


class Envelope:
    """The outermost layer. `X-Request-ID` and `traceparent` go through; a request without an id gets one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        around = headers_around(scope)
        bound = Bound()
        scope.setdefault("state", {}).update(request_id=request_id_in(around), bound=bound)
        send_around = sending(around, send)
        if is_too_long(scope):
            return await problems.answer(INVALID_INPUT, TOO_LONG)(scope, receive, send_around)
        return await self.app(scope, _bounded(receive, bound), send_around)


def is_too_long(scope: Scope) -> bool:
    """Whether the request's address is longer than any that is read."""
    return len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MOST_TARGET_BYTES


RawHeaders = list[tuple[bytes, bytes]]


def headers_around(scope: Scope) -> RawHeaders:
    """The headers that the answer to this request gets, where it does not set them itself; the request's id first."""
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
    """A random UUID (RFC 9562, version 4) of ordinary randomness: it tells requests apart and guards nothing."""
    parts = getrandbits(32), getrandbits(16), getrandbits(12), getrandbits(12), getrandbits(48)
    return b"%08x-%04x-4%03x-8%03x-%012x" % parts


def request_id_in(around: RawHeaders) -> str:
    return around[0][1].decode()


def asker_of(issuer: str, subject: str, around: RawHeaders) -> Asker:
    """Who asks, and in which request, whose answer gets these headers."""
    trace_id = around[2][1][3:35].decode() if len(around) > 2 else None
    return asker(issuer, subject, request_id_in(around), trace_id)


def sending(around: RawHeaders, send: Send) -> Send:
    """`send`, with these headers around each answer."""

    async def send_around(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            given = {name.lower() for name, _ in headers}
            message["headers"] = headers + [header for header in (*around, *_GUARDED) if header[0] not in given]
        await send(message)

    return send_around


def _bounded(receive: Receive, bound: Bound) -> Receive:
    size = 0

    async def receive_bounded() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > bound.most:
            raise BodyTooLarge(bound.most)
        return message

    return receive_bounded
