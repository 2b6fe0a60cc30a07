"""Authentication: verifies the bearer token of a request before any of its body is read."""

import contextlib
from collections.abc import Callable
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.edge import problems
from api.edge.client_address import client_address
from api.edge.problems import TOO_MANY_REQUESTS, UNAUTHENTICATED, Problem, Refused
from api.security.rates import TooMany
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
            answer = self.answer(refused.problem, refused.detail)
            answer.headers.update(refused.response_headers or {})
            return await answer(scope, receive, send)
        scope.setdefault("state", {})["claims"] = claims
        return await self.app(scope, receive, send)


def needs_token(path: str) -> bool:
    """Whether the path needs a token: all below `/v1/` except applications."""
    return path.startswith("/v1/") and path != OPEN_TO_ANYONE and not path.startswith(f"{OPEN_TO_ANYONE}/")


async def authenticated(
    scope: Scope, verifier: TokenVerifier, header: bytes = b"authorization", *, is_of_sender: bool = True
) -> Claims:
    """The claims of the request's bearer token. Raises `Refused` without a valid one.

    A token that fails costs the address that sent it, unless a gateway passes on somebody else's.
    """
    given = [value for name, value in scope["headers"] if name == header]
    if len(given) != 1 or given[0][:7].lower() != b"bearer ":
        raise Refused(UNAUTHENTICATED, f"Send one access token as {header.decode().title()}: Bearer.")
    token = given[0][7:].decode("latin-1")
    claims = verifier.cached_claims(token)
    if claims is not None:
        return claims
    source = client_address(scope) if is_of_sender else ""
    try:
        if is_of_sender and not verifier.knows(token):
            verifier.failures.require(source)
    except TooMany as too_many:
        retry = {"Retry-After": str(too_many.retry_after)}
        raise Refused(TOO_MANY_REQUESTS, "Too many tokens from this address were not valid.", retry) from None
    try:
        return await verifier.verify(token)
    except TokenRefused:
        if is_of_sender:
            with contextlib.suppress(TooMany):
                verifier.failures.count(source)
        raise Refused(UNAUTHENTICATED, "The access token is not valid.") from None
