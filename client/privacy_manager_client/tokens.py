"""The access token of each request: given, or fetched by client credentials (RFC 6749, 4.4)."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any, Final
from urllib.parse import quote_plus

import httpx2

from privacy_manager_client.problems import Unavailable

#: A token is renewed in the background that long before its end, and not used in its last seconds.
AHEAD_SECONDS: Final = 30.0
MARGIN_SECONDS: Final = 5.0
FETCH_SECONDS: Final = 10.0


class Token(httpx2.Auth):
    """A token managed elsewhere; it is sent as it is."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


class ClientCredentials(httpx2.Auth):
    """Fetches tokens with client id and secret, and renews them before they end or when one is refused.

    `more` is added to the form: `scope`, `audience` or `resource`, as the issuer requires.
    """

    def __init__(
        self,
        token_url: str,
        client_id: str,
        secret: str,
        *,
        more: dict[str, str] | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = token_url
        # RFC 6749, 2.3.1: both are form-encoded before use as user name and password.
        self._basic = httpx2.BasicAuth(quote_plus(client_id), quote_plus(secret))
        self._form = {"grant_type": "client_credentials", **(more or {})}
        self._transport = transport
        self._token, self._renew_at, self._ends_at = "", 0.0, 0.0
        self._fetching: asyncio.Task[str] | None = None

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        token = await self._current()
        request.headers["Authorization"] = f"Bearer {token}"
        answer = yield request
        if answer.status_code == 401:
            # The token may have been withdrawn. A refused request did nothing, so it can be sent again.
            request.headers["Authorization"] = f"Bearer {await self._current(but=token)}"
            yield request

    async def _current(self, but: str = "") -> str:
        """A token that is not about to end, and is not `but`. Raises `Unavailable`."""
        now = time.monotonic()
        if now >= self._renew_at or self._token == but:
            if self._fetching is None:
                self._fetching = asyncio.create_task(self._renew())
                # Retrieves the exception, in case no caller waits for it.
                self._fetching.add_done_callback(lambda task: task.cancelled() or task.exception())
            if now >= self._ends_at or self._token == but:
                # Shielded: a caller that times out leaves the fetch running for the next one.
                return await asyncio.shield(self._fetching)
        return self._token

    async def _renew(self) -> str:
        requested_at = time.monotonic()
        try:
            self._token, lifetime = await self._fetch()
        finally:
            self._fetching = None
        # A token with hardly more lifetime than the margins is used for half of it.
        self._renew_at = requested_at + max(lifetime - AHEAD_SECONDS, lifetime / 2)
        self._ends_at = requested_at + max(lifetime - MARGIN_SECONDS, lifetime / 2)
        return self._token

    async def _fetch(self) -> tuple[str, float]:
        """A token, and its lifetime in seconds."""
        try:
            async with (
                asyncio.timeout(FETCH_SECONDS),
                httpx2.AsyncClient(transport=self._transport, timeout=FETCH_SECONDS) as client,
            ):
                answer = await client.post(self._url, data=self._form, auth=self._basic)
            answer_body: Any = answer.json() if answer.status_code == 200 else None
        except (httpx2.HTTPError, TimeoutError, ValueError) as error:
            raise Unavailable(f"the issuer gave no token: {type(error).__name__}") from None
        if not isinstance(answer_body, dict) or str(answer_body.get("token_type", "")).lower() != "bearer":
            raise Unavailable(f"the issuer gave no token: status {answer.status_code}")
        token, lifetime = answer_body.get("access_token"), answer_body.get("expires_in")
        if not (isinstance(token, str) and token.isascii() and token.isprintable() and token):
            raise Unavailable("the issuer gave no token that can be sent")
        if isinstance(lifetime, bool) or not isinstance(lifetime, int | float):
            # Without a stated lifetime, the next request fetches another token.
            lifetime = 0
        return token, lifetime
