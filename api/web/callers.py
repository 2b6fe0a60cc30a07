"""Callers of routes. A route names its caller in its signature; nothing else decides which tokens may call it.

caller: SchoolAdmin     role `school`, and the school of the path is its own (else 404)
caller: BoardAdmin      role `board`, and the board of the path is its own (else 404)
caller: PartnerClient   role `partner`, for the one connection that its token names
caller: Operator        role `operator`
caller: SchoolOrOperator    the school of the path, or an operator, who may revoke for a school in an emergency
caller: PartnerOrOperator   an operator, or a partner, which sees the rows of its own connection alone
caller: GatewayOrOperator   a gateway, which may ask about any school, or an operator
caller: PartnerOrSchool a partner or a school, by its token alone: the path names neither
caller: SchoolByToken   a school, by its token alone
caller: Concerned       a school, a partner or an operator; the route checks whose rows it returns
caller: Anyone          any of the roles
caller: OwnConnection   as PartnerOrOperator, where the path names the connection: another one's is 404
"""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Path, Request

from api.edge.problems import FORBIDDEN, Refused
from api.security.tokens import Claims
from api.store.events import Actor
from models.vocabulary.identifiers import BoardNumber, Brin, ClientId
from models.vocabulary.refusals import NotFound


@dataclass(frozen=True, slots=True)
class Caller:
    """A verified token, and the one of its roles by which the route admits it."""

    claims: Claims
    role: str

    @property
    def actor(self) -> Actor:
        return Actor(self.claims.subject, self.role)

    @property
    def only(self) -> str | None:
        """The client id of the only connection that this caller may see; None for an operator, who may see all."""
        return self.claims.client_id if self.role == "partner" else None


def claims_of(request: Request) -> Claims:
    """The claims that `Authentication` verified for this request."""
    return cast(Claims, request.state.claims)


def claims_if_any(request: Request) -> Claims | None:
    """The claims that `Authentication` verified for this request; None on a route that asks for no token."""
    return getattr(request.state, "claims", None)


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


# These dependencies are coroutines, though they await nothing: FastAPI runs a plain function in a thread.
async def _school_admin(request: Request, brin: Annotated[Brin, Path()]) -> Caller:
    return _require_own(_caller(request, "school"), brin)


async def _school_or_operator(request: Request, brin: Annotated[Brin, Path()]) -> Caller:
    caller = _caller(request, "school", "operator")
    if "operator" in caller.claims.roles and caller.claims.school != brin:
        return Caller(caller.claims, "operator")
    return _require_own(caller, brin)


async def _board_admin(request: Request, board_number: Annotated[BoardNumber, Path()]) -> Caller:
    caller = _caller(request, "board")
    if caller.claims.board != board_number:
        raise NotFound("There is no such board, or it is not yours.")
    return caller


async def _partner_client(request: Request) -> Caller:
    return _caller(request, "partner")


async def _operator(request: Request) -> Caller:
    return _caller(request, "operator")


async def _partner_or_operator(request: Request) -> Caller:
    return _caller(request, "operator", "partner")


async def _gateway_or_operator(request: Request) -> Caller:
    return _caller(request, "gateway", "operator")


async def _anyone(request: Request) -> Caller:
    return _caller(request, "operator", "school", "board", "partner", "gateway")


async def _partner_or_school(request: Request) -> Caller:
    return _with_school(_caller(request, "partner", "school"))


async def _school_by_token(request: Request) -> Caller:
    return _with_school(_caller(request, "school"))


def _with_school(caller: Caller) -> Caller:
    if caller.role == "school" and caller.claims.school is None:
        raise NotFound("The token names no school.")
    return caller


async def _concerned(request: Request) -> Caller:
    return _caller(request, "operator", "school", "partner")


async def _own_connection(request: Request, client_id: Annotated[ClientId, Path()]) -> Caller:
    caller = await _partner_or_operator(request)
    if caller.only not in (None, client_id):
        raise NotFound("There is no such connection.")
    return caller


SchoolAdmin = Annotated[Caller, Depends(_school_admin)]
SchoolOrOperator = Annotated[Caller, Depends(_school_or_operator)]
BoardAdmin = Annotated[Caller, Depends(_board_admin)]
PartnerClient = Annotated[Caller, Depends(_partner_client)]
Operator = Annotated[Caller, Depends(_operator)]
PartnerOrOperator = Annotated[Caller, Depends(_partner_or_operator)]
GatewayOrOperator = Annotated[Caller, Depends(_gateway_or_operator)]
PartnerOrSchool = Annotated[Caller, Depends(_partner_or_school)]
SchoolByToken = Annotated[Caller, Depends(_school_by_token)]
Concerned = Annotated[Caller, Depends(_concerned)]
Anyone = Annotated[Caller, Depends(_anyone)]
OwnConnection = Annotated[Caller, Depends(_own_connection)]
