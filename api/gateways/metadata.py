"""Metadata of the policy decision point: its endpoints (AuthZEN 1.0, 9)."""

import re
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.edge import problems
from api.edge.problems import INVALID_INPUT, METHOD_NOT_ALLOWED

#: Public: a gateway that discovers the decision point has no token yet.
METADATA: Final = "/.well-known/authzen-configuration"

#: A host name, an IPv4 address or an IPv6 address in brackets, and a port; no character that ends a URL's host early.
_HOST: Final = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(:[1-9][0-9]{0,4})?")
#: The metadata seldom changes, and is the same for all callers (11.9).
_CACHED: Final = {"Cache-Control": "max-age=3600"}


class Metadata:
    """`GET /.well-known/authzen-configuration`. Not in the published contract, whose rules allow no dot in a path.

    `public_url` is where gateways reach the service; without it, each answer uses the scheme and host of its request.
    """

    def __init__(self, public_url: str) -> None:
        self._public_url = public_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(Request(scope))(scope, receive, send)

    def _answer(self, request: Request) -> Response:
        if request.method != "GET":
            return problems.answer(METHOD_NOT_ALLOWED, f"{METHOD_NOT_ALLOWED.title}.", {"Allow": "GET"})
        base = self._public_url or _base_of(request)
        if not base:
            return problems.answer(INVALID_INPUT, "The request's Host is not a host.")
        content = msgspec.json.encode(_metadata(base))
        return Response(content, headers=_CACHED if self._public_url else None, media_type="application/json")


def _metadata(base: str) -> dict[str, str]:
    """AuthZEN 1.0, 9.1. `capabilities` is left out, since none are registered."""
    return {
        "policy_decision_point": base,
        "access_evaluation_endpoint": f"{base}/access/v1/evaluation",
        "access_evaluations_endpoint": f"{base}/access/v1/evaluations",
        "search_subject_endpoint": f"{base}/access/v1/search/subject",
        "search_resource_endpoint": f"{base}/access/v1/search/resource",
        "search_action_endpoint": f"{base}/access/v1/search/action",
    }


def _base_of(request: Request) -> str:
    """The scheme and host of this request; empty if its Host is not valid."""
    hosts = request.headers.getlist("host")
    if len(hosts) != 1 or _HOST.fullmatch(hosts[0].lower()) is None:
        return ""
    return f"{request.url.scheme}://{hosts[0].lower()}"
