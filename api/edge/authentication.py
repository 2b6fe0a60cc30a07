"""Authentication: verifies the bearer token of a request before any of its body is read."""

from collections.abc import Callable
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.edge import problems
from api.edge.problems import UNAUTHENTICATED, Problem, Refused
from api.security.tokens import Claims, TokenRefused, TokenVerifier

#: Routes without a token: sending an application, and reading it with its secret.
OPEN_TO_ANYONE: Final = "/v1/applications"


class Authentication:
    """Verifies the bearer token of guarded paths before any of the body is read; `answer` makes refusals responses."""

    def __init__(
        self,
        app: ASGIApp,
        verifier: TokenVerifier,
        guards: Callable[[str], bool],
        answer: Callable[[Problem, str], Response] = problems.answer,
    ) -> None:
        self.app = app
        self.verifier = verifier
        self.guards = guards
        self.answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self.guards(scope["path"]):
            return await self.app(scope, receive, send)
        try:
            claims = await authenticated(scope, self.verifier)
        except Refused as refused:
            return await self.answer(refused.problem, refused.detail)(scope, receive, send)
        scope.setdefault("state", {})["claims"] = claims
        return await self.app(scope, receive, send)


def needs_token(path: str) -> bool:
    """Whether the path needs a token: all below `/v1/` except applications."""
    return path.startswith("/v1/") and path != OPEN_TO_ANYONE and not path.startswith(f"{OPEN_TO_ANYONE}/")


async def authenticated(scope: Scope, verifier: TokenVerifier, header: bytes = b"authorization") -> Claims:
    """The claims of the request's bearer token. Raises `Refused` without a valid one."""
    given = [value for name, value in scope["headers"] if name == header]
    if len(given) != 1 or given[0][:7].lower() != b"bearer ":
        raise Refused(UNAUTHENTICATED, f"Send one access token as {header.decode().title()}: Bearer.")
    token = given[0][7:].decode("latin-1")
    claims = verifier.cached_claims(token)
    if claims is not None:
        return claims
    try:
        return await verifier.verify(token)
    except TokenRefused:
        raise Refused(UNAUTHENTICATED, "The access token is not valid.") from None
