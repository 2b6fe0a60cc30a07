"""The partner's client: the consents of its connection, its requests to schools, and changes."""

import asyncio
import random
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, Final, Self, TypeVar

import httpx2
from pydantic import ValidationError

from privacy_manager_client.bookmarks import Bookmarks
from privacy_manager_client.event_stream import data_of
from privacy_manager_client.problems import Unavailable, error_of
from privacy_manager_client.views import Asked, Change, Consent, Page, Request, View

STREAM: Final = "/v1/consents/changes/stream"
#: Read timeout of a stream: the service sends something at least every 15 seconds.
SILENT_SECONDS: Final = 40.0
#: Seconds that one request for changes waits, without a stream.
WAIT_SECONDS: Final = 25
#: First and longest pause between two attempts; randomised, so that readers do not return all at once.
PAUSE_SECONDS: Final = 1.0, 60.0
ATTEMPTS: Final = 3

SomeView = TypeVar("SomeView", bound=View)


class Partner:
    """Acts for the one connection of the token. `deadline` is in seconds, for each request.

    Raises `Problem` when the service refuses, and `Unavailable` without an answer after several attempts.
    """

    def __init__(
        self,
        address: str,
        token: httpx2.Auth,
        *,
        deadline: float = 30.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._client = httpx2.AsyncClient(
            base_url=address.rstrip("/"), auth=token, timeout=deadline, transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._client.aclose()

    # -- consents -----------------------------------------------------------------------------------------------------

    def consents(
        self, *, school: str | None = None, status: str | None = None, page: int = 500
    ) -> AsyncIterator[Consent]:
        """All consents of the connection, fetched in pages on demand; with `school` those of one place."""
        return self._all(Consent, "/v1/consents", page, school=school, status=status)

    # -- requests -----------------------------------------------------------------------------------------------------

    async def ask(
        self,
        *,
        schools: Sequence[str] | None = None,
        board_number: str | None = None,
        scopes: Sequence[str] | None = None,
        purposes: Sequence[str] | None = None,
        message: str | None = None,
        key: str | None = None,
    ) -> Asked:
        """Requests what the connection needs from schools, or from all schools of a board.

        A retry with the same `key` makes no second request, and returns the first answer.
        """
        fields = {"schools": schools, "boardNumber": board_number, "scopes": scopes, "purposes": purposes}
        body = {name: value for name, value in {**fields, "message": message}.items() if value is not None}
        return await self._post(Asked, "/v1/consents/requests", body, key)

    def requests(
        self, *, school: str | None = None, status: str | None = None, page: int = 500
    ) -> AsyncIterator[Request]:
        """The requests of the connection, with their status."""
        return self._all(Request, "/v1/consents/requests", page, school=school, status=status)

    async def request(self, request_id: str) -> Request:
        """A request with its present status."""
        return _parsed(Request, await self._send("GET", f"/v1/consents/requests/{uuid.UUID(request_id)}"))

    async def answered(self, request_id: str, *, every: float = 300.0) -> Request:
        """Polls a request every `every` seconds until it is no longer open."""
        request = await self.request(request_id)
        while request.status == "open":
            await asyncio.sleep(every)
            request = await self.request(request_id)
        return request

    async def withdraw(self, request_id: str, reason: str | None = None, *, key: str | None = None) -> Request:
        """Withdraws a request that the school has not answered."""
        path = f"/v1/consents/requests/{uuid.UUID(request_id)}/_withdraw"
        return await self._post(Request, path, {} if reason is None else {"reason": reason}, key)

    # -- changes ------------------------------------------------------------------------------------------------------

    async def follow(self, bookmarks: Bookmarks, *, streamed: bool = True) -> AsyncGenerator[Change]:
        """Every change of the connection's consents, once and in order, without end.

        The bookmark of a change is stored when the next one is requested, so that a change whose processing was
        interrupted comes again. Outages are waited out. Raises `Problem`; `not_in_history` means that the service was
        restored from an older backup: discard what you know, and start again without bookmarks.
        """
        pause = PAUSE_SECONDS[0]
        while True:
            since = await bookmarks.read() or "0"
            try:
                async with aclosing(self._streamed(since) if streamed else self._long_polled(since)) as changes:
                    async for change in changes:
                        yield change
                        await bookmarks.keep(change.bookmark)
                        pause = PAUSE_SECONDS[0]
                if streamed:
                    # The service ends a stream after some minutes, and the streams of many readers when it stops.
                    await asyncio.sleep(_jittered(PAUSE_SECONDS[0]))
            except Unavailable as unavailable:
                await asyncio.sleep(max(_jittered(pause), unavailable.again_after or 0))
                pause = min(2 * pause, PAUSE_SECONDS[1])

    async def _streamed(self, since: str) -> AsyncGenerator[Change]:
        timeout = httpx2.Timeout(self._client.timeout.connect, read=SILENT_SECONDS)
        try:
            async with self._client.stream("GET", STREAM, params={"since": since}, timeout=timeout) as answer:
                if answer.status_code != 200:
                    await answer.aread()
                    raise error_of(answer)
                async for data in data_of(answer.aiter_bytes()):
                    yield _parsed(Change, data)
        except (httpx2.HTTPError, ValueError) as error:
            raise Unavailable(f"the stream broke off: {type(error).__name__}") from None

    async def _long_polled(self, since: str) -> AsyncGenerator[Change]:
        async for change in self._all(Change, "/v1/consents/changes", 100, since=since, wait=WAIT_SECONDS):
            yield change

    # -- the wire -----------------------------------------------------------------------------------------------------

    async def _all(self, kind: type[SomeView], path: str, limit: int, **query: Any) -> AsyncIterator[SomeView]:
        filters = {name: value for name, value in query.items() if value is not None}
        cursor: str | None = ""
        while cursor is not None:
            params = {**filters, "limit": limit, **({"cursor": cursor} if cursor else {})}
            timeout = self._client.timeout.read or 0.0
            content = await self._send("GET", path, params=params, timeout=timeout + filters.get("wait", 0))
            result = _parsed(Page[kind], content)  # type: ignore[valid-type]
            for item in result.items:
                yield item
            cursor = result.next

    async def _post(self, kind: type[SomeView], path: str, body: dict[str, Any], key: str | None) -> SomeView:
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        return _parsed(kind, await self._send("POST", path, json=body, headers=headers))

    async def _send(self, method: str, path: str, **options: Any) -> bytes:
        """The body of the answer. Requests are retried some times: every write has an idempotency key."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = await self._client.request(method, path, **options)
                if answer.is_success:
                    return answer.content
                error = error_of(answer)
                if not isinstance(error, Unavailable):
                    raise error
            except httpx2.HTTPError as failed:
                error = Unavailable(f"no answer: {type(failed).__name__}")
            except Unavailable as failed:
                error = failed
            if attempt < ATTEMPTS:
                await asyncio.sleep(_jittered(min(error.again_after or PAUSE_SECONDS[0], PAUSE_SECONDS[1])))
        raise error


def _parsed(kind: type[SomeView], body: bytes) -> SomeView:
    try:
        return kind.model_validate_json(body)
    except ValidationError:
        raise Unavailable(f"an answer that is no {kind.__name__}") from None


def _jittered(seconds: float) -> float:
    return random.uniform(seconds / 2, seconds)  # noqa: S311 - no secret
