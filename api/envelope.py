"""What every request and every answer has around it: an id, a version, and bounds on what may be sent."""

import re
import uuid
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from api.problems import INVALID_INPUT, TOO_LARGE, Refused

API_VERSION: Final = "0.1.0"
MOST_BODY_BYTES: Final = 1024 * 1024
MOST_TARGET_BYTES: Final = 8 * 1024

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


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
        added = _added(Headers(scope=scope))
        bound = Bound()
        scope.setdefault("state", {}).update(request_id=added["X-Request-ID"], bound=bound)

        async def send_in_envelope(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in added.items():
                    headers.setdefault(name, value)
            await send(message)

        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MOST_TARGET_BYTES:
            refusal = problems.answer(INVALID_INPUT, f"The address is longer than {MOST_TARGET_BYTES} bytes.")
            return await refusal(scope, receive, send_in_envelope)
        return await self.app(scope, _bounded(receive, bound), send_in_envelope)


def _added(request: Headers) -> dict[str, str]:
    request_id = request.get("x-request-id", "")
    added = {
        "API-Version": API_VERSION,
        "X-Request-ID": request_id if _REQUEST_ID.fullmatch(request_id) else str(uuid.uuid4()),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    traceparent = request.get("traceparent", "")
    if _TRACEPARENT.fullmatch(traceparent):
        added["traceparent"] = traceparent
    return added


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
