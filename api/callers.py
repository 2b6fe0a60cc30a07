"""Who calls. A route names its caller in its signature; nothing else decides who may call it.

caller: SchoolAdmin     role `school`, and the school of the path is its own (else 404)
caller: PartnerClient   role `partner`, for the one connection that its token names
caller: Operator        role `operator`
caller: SchoolOrOperator    either of the two: in an emergency an operator may revoke for a school
"""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Path, Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api import problems
from api.events import Actor
from api.problems import FORBIDDEN, UNAUTHENTICATED, Refused
from api.tokens import Claims, TokenRefused, TokenVerifier
from models.identifiers import Brin
from models.refusals import NotFound


@dataclass(frozen=True, slots=True)
class Caller:
    """Someone whose token was verified and has the role that the route asks for."""

    claims: Claims
    role: str

    @property
    def actor(self) -> Actor:
        return Actor(self.claims.subject, self.role)


class Authentication:
    """Verifies the bearer token of everything below `/v1/`, before a byte of the body is read."""

    def __init__(self, app: ASGIApp, verifier: TokenVerifier) -> None:
        self.app = app
        self.verifier = verifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            return await self.app(scope, receive, send)
        try:
            claims = await authenticated(scope, self.verifier)
        except Refused as refused:
            return await problems.answer(refused.problem, refused.detail)(scope, receive, send)
        scope.setdefault("state", {})["claims"] = claims
        return await self.app(scope, receive, send)


async def authenticated(scope: Scope, verifier: TokenVerifier) -> Claims:
    """The claims of the request's bearer token. Raises `Refused` when there is none that is valid."""
    given = Headers(scope=scope).getlist("authorization")
    if len(given) != 1 or given[0][:7].lower() != "bearer ":
        raise Refused(UNAUTHENTICATED, "Send one access token as Authorization: Bearer.")
    token = given[0][7:]
    claims = verifier.remembered(token)
    if claims is not None:
        return claims
    try:
        return await verifier.verify(token)
    except TokenRefused:
        raise Refused(UNAUTHENTICATED, "The access token is not valid.") from None


def claims_of(request: Request) -> Claims:
    """The claims that `Authentication` verified for this request."""
    return cast(Claims, request.state.claims)


def _caller(request: Request, *roles: str) -> Caller:
    claims = claims_of(request)
    for role in roles:
        if role in claims.roles:
            return Caller(claims, role)
    raise Refused(FORBIDDEN, f"This needs a token with the role {' or '.join(roles)}.")


def _require_own(caller: Caller, brin: str) -> Caller:
    if caller.role == "school" and caller.claims.school != brin:
        raise NotFound("There is no such school, or it is not yours.")
    return caller


def _school_admin(request: Request, brin: Annotated[Brin, Path()]) -> Caller:
    return _require_own(_caller(request, "school"), brin)


def _school_or_operator(request: Request, brin: Annotated[Brin, Path()]) -> Caller:
    caller = _caller(request, "school", "operator")
    if "operator" in caller.claims.roles and caller.claims.school != brin:
        return Caller(caller.claims, "operator")
    return _require_own(caller, brin)


def _partner_client(request: Request) -> Caller:
    return _caller(request, "partner")


def _operator(request: Request) -> Caller:
    return _caller(request, "operator")


SchoolAdmin = Annotated[Caller, Depends(_school_admin)]
SchoolOrOperator = Annotated[Caller, Depends(_school_or_operator)]
PartnerClient = Annotated[Caller, Depends(_partner_client)]
Operator = Annotated[Caller, Depends(_operator)]
