"""The release layer: between partners and a LAS, it lets through what the school granted, and nothing else.

From the top of `_released`: what is asked, by whom, what may be released, the LAS's answer, what may still be released
once it is here, the granted part of it. Whatever fails on the way is one of the standard's faults.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final, TypeVar

import httpx2
from starlette.types import ASGIApp, Receive, Scope, Send

from exchange.answers import OTHERS, AnswerFilter, Released
from exchange.decisions import PrivacyManager
from exchange.faults import fault_message
from exchange.partners import Customers, Partners
from exchange.places import AnswerRefused, Release
from exchange.requests import MOST_BYTES, Asked, RequestRefused, asked_in
from exchange.settings import ExchangeSettings
from exchange.uwlr import SECTIONS, Fault
from models.vocabulary.scopes import CATALOGUE

log = logging.getLogger("privacy_manager.exchange")

#: So much of an answer is filtered before others get their turn: some 2 ms.
PIECE: Final = 64 * 1024
CONNECT_SECONDS: Final = 5.0
#: So long who asked may leave a piece of its answer unread. Until the last one is, the answer takes room here.
SENDING_SECONDS: Final = 60.0
_XML: Final = (b"content-type", b"text/xml; charset=utf-8")
_AROUND: Final = [_XML, (b"cache-control", b"no-store")]


Result = TypeVar("Result")

#: The standard's own names. Any other is the LAS's to choose, and could be somebody's.
_STANDARD: Final = frozenset(
    part.removeprefix("@") for _, path in (*CATALOGUE.fields, *CATALOGUE.never_released) for part in path.split("/")
).union(SECTIONS, ("vestigingen", "school", "groep", "samengestelde_groep", "leerling", "leerkracht"))


class ReleaseLayer:
    """The release layer as an ASGI application."""

    def __init__(self, settings: ExchangeSettings) -> None:
        self.settings = settings
        self.customers = Customers.read(settings.credentials)
        self.transfers = asyncio.Semaphore(settings.most_transfers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._live(receive, send)
        if scope["type"] != "http":
            return None
        if scope["method"] != "POST":
            await send({"type": "http.response.start", "status": 405, "headers": [(b"allow", b"POST")]})
            return await send({"type": "http.response.body", "body": b""})
        begun = time.monotonic()
        try:
            asked = asked_in(await _body(receive))
            place, released = await _while_there(receive, self._released(scope, asked))
        except _Gone:
            return log.info("given up: who asked went away")
        except RequestRefused as refused:
            log.info("refused: %s, %s", refused.fault, refused)
            return await _send_fault(send, refused.fault, str(refused))
        except Exception as error:
            # Its text may hold what is nobody's to read.
            log.error("failed: %s", type(error).__name__)
            return await _send_fault(send, Fault.INTERNAL)
        _log(asked, place, released, time.monotonic() - begun)
        try:
            async with asyncio.timeout(self.settings.transfer_deadline):
                await _send(send, released)
        except TimeoutError:
            # Without its end it is no answer: the server closes the connection.
            log.info("given up: who asked does not read its answer")

    async def _released(self, scope: Scope, asked: Asked) -> tuple[str, Released]:
        """The place that was asked about, and what is released of it. Raises `RequestRefused`."""
        client_id = await self.partners.client_id(scope["headers"], asked.credential)
        place, release = await self._may_be_released(client_id, asked)
        async with self._turn():
            released = await self._filtered(asked, place, release)
        try:
            # What was revoked while the LAS answered is not released any more; what was granted meanwhile not yet.
            still_place, still = await self._may_be_released(client_id, asked)
            if still_place != place:
                raise RequestRefused(Fault.NOT_AUTHORISED, "the schoolkey stands for another school now")
            both = {kind: fields & still[kind] for kind, fields in release.items()}
            if both != release:
                released = await asyncio.to_thread(released.narrowed, asked.expected(place), both)
        except BaseException:
            released.discard()
            raise
        return place, released

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One of the transfers that there may be at once. Raises `RequestRefused` when none ends in time."""
        try:
            async with asyncio.timeout(self.settings.upstream_deadline):
                await self.transfers.acquire()
        except TimeoutError:
            raise RequestRefused(Fault.UNAVAILABLE, "too many transfers at once") from None
        try:
            yield
        finally:
            self.transfers.release()

    async def _may_be_released(self, client_id: str, asked: Asked) -> tuple[str, Release]:
        """The place that is asked about, and what may be released of it now. Raises `RequestRefused`."""
        place = asked.place or await self.manager.place_of(asked.schoolkey or "")
        return place, await self.manager.release(client_id, place, asked.call)

    async def _filtered(self, asked: Asked, place: str, release: Release) -> Released:
        """The granted part of what the LAS answers. Raises `RequestRefused`."""
        filtering = AnswerFilter(asked.call, asked.expected(place), release)
        released: Released | None = None
        try:
            async with asyncio.timeout(self.settings.transfer_deadline):
                async for piece in self._answer(asked):
                    filtering.feed(piece)
                    await asyncio.sleep(0)
                released = await asyncio.to_thread(filtering.close)
        except AnswerRefused as refused:
            raise RequestRefused(Fault.INTERNAL, f"the LAS's answer is not taken: {refused}") from None
        except (httpx2.ConnectError, httpx2.TimeoutException, TimeoutError) as error:
            raise RequestRefused(Fault.UNAVAILABLE, f"the LAS did not answer: {type(error).__name__}") from None
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            raise RequestRefused(Fault.INTERNAL, f"the LAS's answer broke off: {type(error).__name__}") from None
        finally:
            if released is None:
                filtering.discard()
        if not released.has_data:
            released.discard()
            raise RequestRefused(Fault.INTERNAL, "the LAS's answer holds nothing of what it must")
        return released

    async def _answer(self, asked: Asked) -> AsyncIterator[bytes]:
        headers = {
            "Content-Type": "text/xml; charset=utf-8",
            "SOAPAction": f'"{asked.call.action}"',
            "Accept-Encoding": "identity",
        }
        upstream = self.upstream.stream("POST", self.settings.upstream, content=asked.message(), headers=headers)
        async with upstream as answer:
            if answer.status_code == 503:
                raise RequestRefused(Fault.UNAVAILABLE, "the LAS is not available")
            if answer.status_code != 200 or "content-encoding" in answer.headers:
                raise RequestRefused(Fault.INTERNAL, f"the LAS answered with status {answer.status_code}")
            size, held = 0, bytearray()
            async for chunk in answer.aiter_raw(PIECE):
                size += len(chunk)
                held += chunk
                if size > self.settings.most_megabytes * 1024 * 1024:
                    raise RequestRefused(Fault.INTERNAL, "the LAS's answer is too large")
                if len(held) >= PIECE:
                    yield bytes(held)
                    held.clear()
            yield bytes(held)

    async def _live(self, receive: Receive, send: Send) -> None:
        async with contextlib.AsyncExitStack() as stack:
            await receive()
            # Nothing of the environment decides where requests go, and no redirect does.
            asking = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False, cookies=_no_cookies()))
            silence = httpx2.Timeout(self.settings.upstream_deadline, connect=CONNECT_SECONDS)
            self.upstream = await stack.enter_async_context(
                httpx2.AsyncClient(timeout=silence, trust_env=False, cookies=_no_cookies())
            )
            self.manager = PrivacyManager(asking, self.settings.manager, self._token, self.settings.manager_deadline)
            self.partners = Partners(self.customers, self.manager, self.settings.trust_client_id)
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    def _token(self) -> str:
        path = self.settings.token_file
        return path.read_text(encoding="ascii").strip() if path is not None else self.settings.token


def _no_cookies() -> CookieJar:
    """Keeps none: with a session that was begun for one partner, another one would be taken for it."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestRefused(Fault.INVALID_MESSAGE, "the request ended early")
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            raise RequestRefused(Fault.INVALID_MESSAGE, f"at most {MOST_BYTES} bytes")
        if not message.get("more_body", False):
            return bytes(body)


class _Gone(Exception):
    """Who asked went away."""


async def _while_there(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`. Raises `_Gone`, with the work given up, when who asked goes away before it is there."""
    working, gone = asyncio.create_task(work), asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise _Gone
    finally:
        working.cancel()
        gone.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_fault(send: Send, fault: Fault, reason: str | None = None) -> None:
    # What is not the partner's doing is not the partner's to read.
    said = fault_message(fault, reason if fault is Fault.INVALID_MESSAGE else None)
    length = (b"content-length", str(len(said)).encode())
    await send({"type": "http.response.start", "status": 500, "headers": [*_AROUND, length]})
    await send({"type": "http.response.body", "body": said})


async def _send(send: Send, released: Released) -> None:
    try:
        await send({"type": "http.response.start", "status": 200, "headers": _AROUND})
        for chunk in released:
            async with asyncio.timeout(SENDING_SECONDS):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        released.discard()


def _log(asked: Asked, place: str, released: Released, seconds: float) -> None:
    """Which call, what kinds of things and how many; never a value."""
    through = ", ".join(f"{kind} {count}" for kind, count in sorted(released.counts.items())) or "nothing"
    counted: Counter[str] = Counter()
    for name, count in released.dropped.items():
        counted[name if name in _STANDARD else OTHERS] += count
    dropped = ", ".join(f"{name} {count}" for name, count in sorted(counted.items())) or "nothing"
    log.info("%s of %s in %.1f s: through %s; dropped %s", asked.call, place, seconds, through, dropped)


def application() -> ASGIApp:
    """The release layer for a server process of its own."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    return ReleaseLayer(ExchangeSettings())
