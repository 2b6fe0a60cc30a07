"""The release layer: a proxy between partners and a LAS that passes on only what the school granted.

See `_released` for the steps: parse the request, identify the partner, ask for decisions, get and filter the LAS's
answer, ask again, filter by the second decisions too. Every failure becomes one of the standard's faults.
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
from exchange.element_states import AnswerRefused, Release
from exchange.faults import fault_message
from exchange.partners import Customers, Partners
from exchange.requests import MOST_BYTES, RequestRefused, UwlrRequest, parse_request
from exchange.settings import ExchangeSettings
from exchange.uwlr import SECTIONS, Fault
from models.vocabulary.scopes import CATALOGUE

log = logging.getLogger("privacy_manager.exchange")

#: Bytes filtered before other requests get their turn: some 2 ms.
PIECE: Final = 64 * 1024
CONNECT_SECONDS: Final = 5.0
#: Timeout for the partner to read a piece. The answer's buffers are kept until the last one is read.
SENDING_SECONDS: Final = 60.0
_XML: Final = (b"content-type", b"text/xml; charset=utf-8")
_HEADERS: Final = [_XML, (b"cache-control", b"no-store")]


Result = TypeVar("Result")

#: The standard's own names. Other names are the LAS's choice, and could be a person's.
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
        started = time.monotonic()
        try:
            request = parse_request(await _body(receive))
            place, released = await _unless_disconnected(receive, self._released(scope, request))
        except _Disconnected:
            return log.info("given up: the client disconnected")
        except RequestRefused as refused:
            log.info("refused: %s, %s", refused.fault, refused)
            return await _send_fault(send, refused.fault, str(refused))
        except Exception as error:
            # Only the type is logged: the message may contain personal data.
            log.error("failed: %s", type(error).__name__)
            return await _send_fault(send, Fault.INTERNAL)
        _log(request, place, released, time.monotonic() - started)
        try:
            async with asyncio.timeout(self.settings.transfer_deadline):
                await _send(send, released)
        except TimeoutError:
            # The answer is incomplete, so that the server closes the connection.
            log.info("given up: the client does not read its answer")

    async def _released(self, scope: Scope, request: UwlrRequest) -> tuple[str, Released]:
        """The requested place, and what is released of it. Raises `RequestRefused`."""
        client_id = await self.partners.client_id(scope["headers"], request.credential)
        place, release = await self._decide(client_id, request)
        async with self._turn():
            released = await self._filter(request, place, release)
        try:
            # Revocations during the LAS's answer count; grants given meanwhile do not count yet.
            place_now, release_now = await self._decide(client_id, request)
            if place_now != place:
                raise RequestRefused(Fault.NOT_AUTHORISED, "the schoolkey stands for another school now")
            narrower = {kind: fields & release_now[kind] for kind, fields in release.items()}
            if narrower != release:
                released = await asyncio.to_thread(released.narrowed, request.expected(place), narrower)
        except BaseException:
            released.discard()
            raise
        return place, released

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Holds one of the limited transfers. Raises `RequestRefused` when none becomes free in time."""
        try:
            async with asyncio.timeout(self.settings.upstream_deadline):
                await self.transfers.acquire()
        except TimeoutError:
            raise RequestRefused(Fault.UNAVAILABLE, "too many transfers at once") from None
        try:
            yield
        finally:
            self.transfers.release()

    async def _decide(self, client_id: str, request: UwlrRequest) -> tuple[str, Release]:
        """The requested place, and what may be released of it now. Raises `RequestRefused`."""
        place = request.place or await self.manager.place_of(request.schoolkey or "")
        return place, await self.manager.release(client_id, place, request.call)

    async def _filter(self, request: UwlrRequest, place: str, release: Release) -> Released:
        """The granted part of the LAS's answer. Raises `RequestRefused`."""
        filtering = AnswerFilter(request.call, request.expected(place), release)
        released: Released | None = None
        try:
            async with asyncio.timeout(self.settings.transfer_deadline):
                async for piece in self._answer(request):
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

    async def _answer(self, request: UwlrRequest) -> AsyncIterator[bytes]:
        headers = {
            "Content-Type": "text/xml; charset=utf-8",
            "SOAPAction": f'"{request.call.action}"',
            "Accept-Encoding": "identity",
        }
        upstream = self.upstream.stream("POST", self.settings.upstream, content=request.message(), headers=headers)
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
            # Neither proxies of the environment nor redirects change where requests go.
            manager_client = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False, cookies=_no_cookies()))
            silence = httpx2.Timeout(self.settings.upstream_deadline, connect=CONNECT_SECONDS)
            self.upstream = await stack.enter_async_context(
                httpx2.AsyncClient(timeout=silence, trust_env=False, cookies=_no_cookies())
            )
            self.manager = PrivacyManager(
                manager_client, self.settings.manager, self._token, self.settings.manager_deadline
            )
            self.partners = Partners(self.customers, self.manager, self.settings.trust_client_id)
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    def _token(self) -> str:
        path = self.settings.token_file
        return path.read_text(encoding="ascii").strip() if path is not None else self.settings.token


def _no_cookies() -> CookieJar:
    """Keeps no cookies: a session of one partner would be used for another."""
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


class _Disconnected(Exception):
    """The client disconnected."""


async def _unless_disconnected(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`. Cancels it and raises `_Disconnected` when the client disconnects earlier."""
    working, disconnect = asyncio.create_task(work), asyncio.create_task(_disconnect(receive))
    try:
        await asyncio.wait({working, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise _Disconnected
    finally:
        working.cancel()
        disconnect.cancel()
        await asyncio.gather(working, disconnect, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_fault(send: Send, fault: Fault, reason: str | None = None) -> None:
    # Only faults in the partner's own message are explained to the partner.
    message = fault_message(fault, reason if fault is Fault.INVALID_MESSAGE else None)
    length = (b"content-length", str(len(message)).encode())
    await send({"type": "http.response.start", "status": 500, "headers": [*_HEADERS, length]})
    await send({"type": "http.response.body", "body": message})


async def _send(send: Send, released: Released) -> None:
    try:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        for chunk in released:
            async with asyncio.timeout(SENDING_SECONDS):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        released.discard()


def _log(request: UwlrRequest, place: str, released: Released, seconds: float) -> None:
    """Logs call, kinds of elements and their numbers; never a value."""
    through = ", ".join(f"{kind} {count}" for kind, count in sorted(released.counts.items())) or "nothing"
    counted: Counter[str] = Counter()
    for name, count in released.dropped.items():
        counted[name if name in _STANDARD else OTHERS] += count
    dropped = ", ".join(f"{name} {count}" for name, count in sorted(counted.items())) or "nothing"
    log.info("%s of %s in %.1f s: through %s; dropped %s", request.call, place, seconds, through, dropped)


def application() -> ASGIApp:
    """The release layer for a server process of its own."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    return ReleaseLayer(ExchangeSettings())
