"""Forward-auth: a gateway (nginx, Traefik, Caddy, Envoy) asks whether to pass on a request that it holds.

Steps: authenticate the gateway, identify its partner, find the held request and the data that it is about, decide,
answer. Missing or contradictory information is a deny; gateways pass on a request only after a 200.
"""

import logging
from abc import ABC, abstractmethod
from datetime import datetime
from typing import Any, Final

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.edge import problems
from api.edge.admission import MOST_AT_ONCE, AtOnce
from api.edge.authentication import authenticated
from api.edge.problems import (
    FORBIDDEN,
    INTERNAL,
    METHOD_NOT_ALLOWED,
    NOT_RELEASED,
    REVISION_BEHIND,
    STORE_UNREACHABLE,
    UNAUTHENTICATED,
    Refused,
)
from api.edge.request_context import caller_of, headers_around, is_too_long, request_id_in, with_headers
from api.security.tokens import Claims, TokenVerifier
from api.snapshot.current import CurrentSnapshot
from api.snapshot.pending_decision import Logged
from api.store.outage import StoreBehind, StoreUnreachable
from models.decision.decision import Decision, Question, Reason, behind, decide, steady_until, unreachable
from models.decision.decision_log import Door, LoggedCaller, line_of
from models.decision.route_table import RouteTable
from models.decision.snapshot import Snapshot

log = logging.getLogger("privacy_manager.forward_auth")

PATH: Final = "/gateway/v1/authorize"
PARTNER_PATH: Final = "/gateway/v1/partner"

#: Pairs of headers with method and URI of the held request, as they were sent.
_REQUEST_HEADERS: Final = ((b"x-forwarded-method", b"x-forwarded-uri"), (b"x-original-method", b"x-original-uri"))
_GATEWAY: Final = b"x-gateway-authorization"
_CLIENT_ID: Final = b"x-partner-client-id"
_UNAVAILABLE: Final = {Reason.STORE_UNREACHABLE: STORE_UNREACHABLE, Reason.REVISION_BEHIND: REVISION_BEHIND}


class GatewayDoor(ABC):
    """Base of both routes: authenticates the gateway, and identifies its partner. No body is read."""

    def __init__(self, verifier: TokenVerifier, at_once: AtOnce | None = None) -> None:
        self.verifier = verifier
        self.at_once = at_once or AtOnce(MOST_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        around = headers_around(scope)
        try:
            claims = await self._require_gateway(scope)
            who = claims.issuer, claims.subject
            self.at_once.enter(who)
            try:
                answer = await self.answer(scope, caller_of(claims.issuer, claims.subject, around))
            finally:
                self.at_once.leave(who)
        except Refused as refused:
            answer = problems.answer(refused.problem, refused.detail, refused.response_headers, decision=False)
        except Exception:
            log.exception("request %s failed", request_id_in(around))
            answer = problems.answer(INTERNAL, "Release nothing.", decision=False)
        await answer(scope, receive, with_headers(around, send))

    @abstractmethod
    async def answer(self, scope: Scope, caller: LoggedCaller) -> Response:
        """The answer to a gateway. Raises `Refused`."""

    async def client_id(self, scope: Scope) -> str:
        """The partner's client id: by its own token, or set by the gateway after mTLS. Raises `Refused`."""
        client_ids = _headers(scope, _CLIENT_ID)
        if not client_ids:
            claims = await authenticated(scope, self.verifier, is_of_sender=False)
            if "partner" not in claims.roles:
                raise Refused(FORBIDDEN, "The token in Authorization needs the role partner.")
            return claims.client_id
        if len(client_ids) > 1 or _headers(scope, b"authorization"):
            raise Refused(NOT_RELEASED, "The partner is named in two ways.")
        return client_ids[0]

    async def _require_gateway(self, scope: Scope) -> Claims:
        if is_too_long(scope):
            raise Refused(NOT_RELEASED, "The address is too long.")
        claims = await authenticated(scope, self.verifier, _GATEWAY)
        if "gateway" not in claims.roles:
            raise Refused(FORBIDDEN, "The token in X-Gateway-Authorization needs the role gateway.")
        return claims


class Authorize(GatewayDoor):
    """`/gateway/v1/authorize`, for any method, also with Envoy's path appended."""

    def __init__(
        self, verifier: TokenVerifier, current: CurrentSnapshot, routes: RouteTable, at_once: AtOnce | None = None
    ) -> None:
        super().__init__(verifier, at_once)
        self.current = current
        self.routes = routes

    async def answer(self, scope: Scope, caller: LoggedCaller) -> Response:
        client_id = await self.client_id(scope)
        data = self.routes.requested_data(*_held_request(scope))
        if data is None:
            raise Refused(NOT_RELEASED, "No route names this request.")
        question = Question("partner", client_id, "release", data.resource_type, data.place, data.scopes)

        def decide_and_log(snapshot: Snapshot, now: datetime) -> Logged[Decision]:
            decision = decide(snapshot, question, now)
            line = line_of(caller, Door.FORWARD_AUTH, now, question, decision)
            return Logged(decision, [line], steady_until(snapshot, question, now))

        try:
            return _answer_of(await self.current.decide(decide_and_log))
        except StoreUnreachable:
            return _answer_of(unreachable(self.current.revision))
        except StoreBehind:
            return _answer_of(behind(self.current.revision))


class PartnerOfToken(GatewayDoor):
    """`GET /gateway/v1/partner`: the client id of a partner's token, for a layer that asks by client id."""

    async def answer(self, scope: Scope, caller: LoggedCaller) -> Response:
        if scope["method"] != "GET":
            raise Refused(METHOD_NOT_ALLOWED, "This is asked with GET.", {"Allow": "GET"})
        if _headers(scope, _CLIENT_ID):
            raise Refused(UNAUTHENTICATED, "Send the partner's token, and no client id.")
        document = msgspec.json.encode({"clientId": await self.client_id(scope)})
        return Response(document, media_type="application/json")


def _held_request(scope: Scope) -> tuple[str, str]:
    """Method and URI of the held request. Raises `Refused` unless they are given in exactly one way."""
    given = [pair for pair in _REQUEST_HEADERS if any(_headers(scope, name) for name in pair)]
    path = scope["raw_path"].decode("latin-1")
    behind_path = path.removeprefix(PATH)
    if behind_path and not given and path != behind_path:
        query = scope["query_string"].decode("latin-1")
        return scope["method"], f"{behind_path}?{query}" if query else behind_path
    if len(given) != 1 or behind_path or scope["query_string"]:
        raise Refused(NOT_RELEASED, "Which request is held is told in no way, or in several.")
    methods, targets = (_headers(scope, name) for name in given[0])
    if len(methods) != 1 or len(targets) != 1:
        raise Refused(NOT_RELEASED, "Send the held request's method and URI, each once.")
    return methods[0], targets[0]


def _headers(scope: Scope, wanted: bytes) -> list[str]:
    """The non-empty values of a header: a gateway that clears one may send it without a value."""
    return [value.decode("latin-1") for name, value in scope["headers"] if name == wanted and value]


def _answer_of(decision: Decision) -> Response:
    if decision.permit:
        headers = {
            "X-Consent-Scopes": " ".join(decision.scopes),
            "X-Consent-Fields": " ".join(decision.fields),
            "X-Consent-Grant": decision.grant_id or "",
            "X-Consent-Revision": str(decision.revision),
        }
        return Response(status_code=200, headers=headers)
    unavailable = _UNAVAILABLE.get(decision.reason)
    retry = {"Retry-After": "1"} if unavailable is not None else None
    members: dict[str, Any] = {"decision": False, "reason": decision.reason, "revision": decision.revision}
    return problems.answer(unavailable or NOT_RELEASED, f"Denied: {decision.reason}.", retry, **members)
