"""Middleware that answers 503 soon after the store stops answering, whatever the request is waiting for.

Decisions have a deadline of their own (`api/snapshot/current.py`). All other routes wait for sessions, whose timeouts
must allow for a lock that another transaction holds. The middleware tells the two cases apart: while the store answers
the snapshot's read, a request may wait for a lock; once it does not, no request waits any longer.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.snapshot.current import CurrentSnapshot
from api.store.outage import StoreBehind, StoreUnreachable
from api.store.store import Store
from api.web import exception_handlers

log = logging.getLogger("privacy_manager.reachable")

#: Seconds between two probes of the store while a request has no answer yet.
PROBE_SECONDS: Final = 0.03
#: The same for a request whose state says that it listens for changes (`request.state.waits`).
PROBE_SECONDS_WHILE_LISTENING: Final = 1.0


class StoreAvailability:
    """Runs requests below `prefix` while the store answers its probes; sends `answer` and abandons them once not."""

    def __init__(
        self,
        app: ASGIApp,
        store: Store,
        current: CurrentSnapshot,
        abandoned: "set[asyncio.Task[None]]",
        prefix: str = "/v1/",
        answer: Callable[[StoreUnreachable], Response] = exception_handlers.unreachable,
    ) -> None:
        self.app = app
        self.store = store
        self.current = current
        self.abandoned = abandoned
        self.prefix = prefix
        self.answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(self.prefix):
            return await self.app(scope, receive, send)
        answer = _AbandonableSend(send)
        work: asyncio.Task[None] | None = None
        try:
            await self._probe()
            work = asyncio.create_task(self._run(scope, receive, answer))
            while not answer.has_begun and not (await asyncio.wait({work}, timeout=_probe_interval(scope)))[0]:
                await self._probe()
            await work
        except StoreUnreachable as error:
            if work is not None and answer.has_begun:
                return await work
            if work is not None:
                self._abandon(work, answer)
                self.store.sever()
            await self.answer(error)(scope, receive, send)
        except asyncio.CancelledError:
            if work is not None:
                self._abandon(work, answer)
            raise

    async def _run(self, scope: Scope, receive: Receive, answer: "_AbandonableSend") -> None:
        await self.app(scope, receive, answer)

    async def _probe(self) -> None:
        # `StoreBehind` (a history other than this process has seen) is left to the request: a read may still be fine.
        with contextlib.suppress(StoreBehind):
            await self.current.get()

    def _abandon(self, work: "asyncio.Task[None]", answer: "_AbandonableSend") -> None:
        """Lets the work end in the background: its clean-up may take longer than the caller can wait."""
        answer.is_abandoned = True
        self.abandoned.add(work)
        work.add_done_callback(self._log_end)
        # Severed connections fail by themselves, and in order; one that is cancelled while it is made does not.
        asyncio.get_running_loop().call_later(PROBE_SECONDS, work.cancel)

    def _log_end(self, work: "asyncio.Task[None]") -> None:
        self.abandoned.discard(work)
        if not work.cancelled() and (error := work.exception()) is not None:
            log.info("an abandoned request ended with %r", error)


def _probe_interval(scope: Scope) -> float:
    return PROBE_SECONDS_WHILE_LISTENING if scope.get("state", {}).get("waits") else PROBE_SECONDS


class _AbandonableSend:
    """An ASGI `send` that drops every message once the request is abandoned."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = self.is_abandoned = False

    async def __call__(self, message: Message) -> None:
        if not self.is_abandoned:
            self.has_begun = True
            await self._send(message)


async def wait_for_abandoned(abandoned: "set[asyncio.Task[None]]") -> None:
    """Waits until all abandoned requests have cleaned up."""
    await asyncio.gather(*abandoned, return_exceptions=True)
