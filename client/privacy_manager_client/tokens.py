"""The access token that each request carries: given, or got from the issuer by client credentials (RFC 6749, 4.4)."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any, Final
from urllib.parse import quote_plus

import httpx2

from privacy_manager_client.problems import Unavailable

#: So long before a token ends a new one is fetched, beside what is asked; in the last seconds it is not sent any more.
AHEAD_SECONDS: Final = 30.0
MARGIN_SECONDS: Final = 5.0
FETCH_SECONDS: Final = 10.0


class Token(httpx2.Auth):
    """A token that somebody else looks after; it is sent as it is."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


class ClientCredentials(httpx2.Auth):
    """Gets a token with the client's own name and secret, and a new one before it ends or when it is refused.

    `more` goes into the form as it is: `scope`, `audience` or `resource`, as the issuer wants it.
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
        # RFC 6749, 2.3.1: both are encoded as in a form before they become a user name and a password.
        self._basic = httpx2.BasicAuth(quote_plus(client_id), quote_plus(secret))
        self._form = {"grant_type": "client_credentials", **(more or {})}
        self._transport = transport
        self._token, self._new_at, self._ends_at = "", 0.0, 0.0
        self._fetching: asyncio.Task[str] | None = None

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        token = await self._current()
        request.headers["Authorization"] = f"Bearer {token}"
        answer = yield request
        if answer.status_code == 401:
            # Withdrawn before its end, perhaps. A request that was refused did nothing: it may be sent again.
            request.headers["Authorization"] = f"Bearer {await self._current(but=token)}"
            yield request

    async def _current(self, but: str = "") -> str:
        """A token that does not end now, and is not `but`. Raises `Unavailable`."""
        now = time.monotonic()
        if now >= self._new_at or self._token == but:
            if self._fetching is None:
                self._fetching = asyncio.create_task(self._renewed())
                # What went wrong is for those who wait for it, and nobody may.
                self._fetching.add_done_callback(lambda task: task.cancelled() or task.exception())
            if now >= self._ends_at or self._token == but:
                # Whoever's time is up leaves it to go on: the next one finds the token there.
                return await asyncio.shield(self._fetching)
        return self._token

    async def _renewed(self) -> str:
        asked_at = time.monotonic()
        try:
            self._token, lasts = await self._fetch()
        finally:
            self._fetching = None
        # One that lasts hardly longer than that is used for half of its time.
        self._new_at = asked_at + max(lasts - AHEAD_SECONDS, lasts / 2)
        self._ends_at = asked_at + max(lasts - MARGIN_SECONDS, lasts / 2)
        return self._token

    async def _fetch(self) -> tuple[str, float]:
        """A token, and for how many seconds it lasts."""
        try:
            async with (
                asyncio.timeout(FETCH_SECONDS),
                httpx2.AsyncClient(transport=self._transport, timeout=FETCH_SECONDS) as client,
            ):
                answer = await client.post(self._url, data=self._form, auth=self._basic)
            said: Any = answer.json() if answer.status_code == 200 else None
        except (httpx2.HTTPError, TimeoutError, ValueError) as error:
            raise Unavailable(f"the issuer gave no token: {type(error).__name__}") from None
        if not isinstance(said, dict) or str(said.get("token_type", "")).lower() != "bearer":
            raise Unavailable(f"the issuer gave no token: status {answer.status_code}")
        token, lasts = said.get("access_token"), said.get("expires_in")
        if not (isinstance(token, str) and token.isascii() and token.isprintable() and token):
            raise Unavailable("the issuer gave no token that can be sent")
        if isinstance(lasts, bool) or not isinstance(lasts, int | float):
            # It does not say how long: the next request gets another one.
            lasts = 0
        return token, lasts
