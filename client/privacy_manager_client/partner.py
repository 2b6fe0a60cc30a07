"""The partner's side: where its connection has permission, what it asks of schools, and what changes."""

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
#: The service says something at least every 15 seconds; a stream that is silent for so long is dead.
SILENT_SECONDS: Final = 40.0
#: How long one request for changes waits, where it is no stream.
WAIT_SECONDS: Final = 25
#: Between two attempts, at first and at most; each is drawn anew, so that not all readers come back at once.
PAUSE_SECONDS: Final = 1.0, 60.0
ATTEMPTS: Final = 3

Shown = TypeVar("Shown", bound=View)


class Partner:
    """Speaks for the one connection that the token names. `deadline` is in seconds, for each request.

    Raises `Problem` when the service refuses, and `Unavailable` when there is no answer after some attempts.
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
        """All consents of the connection, page by page as they are asked for; with `school` of that place alone."""
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
        """Asks schools, or all of a board, for what the connection needs.

        A repeat with the same `key` asks nobody twice, and gets the first answer again.
        """
        said = {"schools": schools, "boardNumber": board_number, "scopes": scopes, "purposes": purposes}
        body = {name: value for name, value in {**said, "message": message}.items() if value is not None}
        return await self._written(Asked, "/v1/consents/requests", body, key)

    def requests(
        self, *, school: str | None = None, status: str | None = None, page: int = 500
    ) -> AsyncIterator[Request]:
        """What the connection asked, of whom, and how it stands."""
        return self._all(Request, "/v1/consents/requests", page, school=school, status=status)

    async def request(self, request_id: str) -> Request:
        """One of them, as it stands."""
        return _shown(Request, await self._asked("GET", f"/v1/consents/requests/{uuid.UUID(request_id)}"))

    async def answered(self, request_id: str, *, every: float = 300.0) -> Request:
        """The request once it is not open any more: looked at now, and every so many seconds."""
        found = await self.request(request_id)
        while found.status == "open":
            await asyncio.sleep(every)
            found = await self.request(request_id)
        return found

    async def withdraw(self, request_id: str, reason: str | None = None, *, key: str | None = None) -> Request:
        """Takes a request back that the school has not answered."""
        path = f"/v1/consents/requests/{uuid.UUID(request_id)}/_withdraw"
        return await self._written(Request, path, {} if reason is None else {"reason": reason}, key)

    # -- changes ------------------------------------------------------------------------------------------------------

    async def follow(self, bookmarks: Bookmarks, *, streamed: bool = True) -> AsyncGenerator[Change]:
        """Every change of the connection's consents, once and in order, for ever.

        A change's bookmark is kept when the next one is asked for: who breaks off while dealing with a change gets it
        again. What passes is waited out. Raises `Problem`; `not_in_history` says that the service was restored from an
        older backup: take nothing for known, and begin anew with bookmarks that are empty.
        """
        pause = PAUSE_SECONDS[0]
        while True:
            since = await bookmarks.read() or "0"
            try:
                async with aclosing(self._streamed(since) if streamed else self._waited_for(since)) as changes:
                    async for change in changes:
                        yield change
                        await bookmarks.keep(change.bookmark)
                        pause = PAUSE_SECONDS[0]
                if streamed:
                    # The service ends a stream after some minutes, and those of many readers when it stops.
                    await asyncio.sleep(_about(PAUSE_SECONDS[0]))
            except Unavailable as unavailable:
                await asyncio.sleep(max(_about(pause), unavailable.again_after or 0))
                pause = min(2 * pause, PAUSE_SECONDS[1])

    async def _streamed(self, since: str) -> AsyncGenerator[Change]:
        timeout = httpx2.Timeout(self._client.timeout.connect, read=SILENT_SECONDS)
        try:
            async with self._client.stream("GET", STREAM, params={"since": since}, timeout=timeout) as answer:
                if answer.status_code != 200:
                    await answer.aread()
                    raise error_of(answer)
                async for data in data_of(answer.aiter_bytes()):
                    yield _shown(Change, data)
        except (httpx2.HTTPError, ValueError) as error:
            raise Unavailable(f"the stream broke off: {type(error).__name__}") from None

    async def _waited_for(self, since: str) -> AsyncGenerator[Change]:
        async for change in self._all(Change, "/v1/consents/changes", 100, since=since, wait=WAIT_SECONDS):
            yield change

    # -- the wire -----------------------------------------------------------------------------------------------------

    async def _all(self, kind: type[Shown], path: str, limit: int, **query: Any) -> AsyncIterator[Shown]:
        asked = {name: value for name, value in query.items() if value is not None}
        cursor: str | None = ""
        while cursor is not None:
            params = {**asked, "limit": limit, **({"cursor": cursor} if cursor else {})}
            timeout = self._client.timeout.read or 0.0
            said = await self._asked("GET", path, params=params, timeout=timeout + asked.get("wait", 0))
            found = _shown(Page[kind], said)  # type: ignore[valid-type]
            for item in found.items:
                yield item
            cursor = found.next

    async def _written(self, kind: type[Shown], path: str, body: dict[str, Any], key: str | None) -> Shown:
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        return _shown(kind, await self._asked("POST", path, json=body, headers=headers))

    async def _asked(self, method: str, path: str, **more: Any) -> bytes:
        """The body of the answer. What can be repeated is, some times: all that is written carries its key."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = await self._client.request(method, path, **more)
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
                await asyncio.sleep(_about(min(error.again_after or PAUSE_SECONDS[0], PAUSE_SECONDS[1])))
        raise error


def _shown(kind: type[Shown], body: bytes) -> Shown:
    try:
        return kind.model_validate_json(body)
    except ValidationError:
        raise Unavailable(f"an answer that is no {kind.__name__}") from None


def _about(seconds: float) -> float:
    return random.uniform(seconds / 2, seconds)  # noqa: S311 - no secret
