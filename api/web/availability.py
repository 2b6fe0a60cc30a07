"""When the store is away every answer says so in time, whatever it was waiting for.

Decisions have a deadline of their own (`api/snapshot/current.py`). All other routes wait for sessions, whose timeouts
must allow for a lock that somebody holds; here the two cases are told apart: as long as the store answers decisions, a
request may wait for it; once it does not, no request waits any longer.
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

#: How long a request goes on before the store is looked at again.
LOOK_SECONDS: Final = 0.03
#: The same for one that says in its state that it waits for something to happen.
PATIENT_SECONDS: Final = 1.0


class WhileReachable:
    """Lets requests below `/v1/`, or another room, go on for as long as the store answers; `answer` says that not."""

    def __init__(
        self,
        app: ASGIApp,
        store: Store,
        current: CurrentSnapshot,
        given_up: "set[asyncio.Task[None]]",
        room: str = "/v1/",
        answer: Callable[[StoreUnreachable], Response] = exception_handlers.unreachable,
    ) -> None:
        self.app = app
        self.store = store
        self.current = current
        self.given_up = given_up
        self.room = room
        self.answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(self.room):
            return await self.app(scope, receive, send)
        answer = _Answer(send)
        work: asyncio.Task[None] | None = None
        try:
            await self._look()
            work = asyncio.create_task(self._run(scope, receive, answer))
            while not answer.has_begun and not (await asyncio.wait({work}, timeout=_pause(scope)))[0]:
                await self._look()
            await work
        except StoreUnreachable as error:
            if work is not None and answer.has_begun:
                return await work
            if work is not None:
                self._leave(work, answer)
                self.store.sever()
            await self.answer(error)(scope, receive, send)
        except asyncio.CancelledError:
            if work is not None:
                self._leave(work, answer)
            raise

    async def _run(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        await self.app(scope, receive, answer)

    async def _look(self) -> None:
        # A history that is not the one seen here is for the request itself to refuse: it may only want to read.
        with contextlib.suppress(StoreBehind):
            await self.current.get()

    def _leave(self, work: "asyncio.Task[None]", answer: "_Answer") -> None:
        """Leaves the work to itself: its clean-up may take longer than the caller can wait."""
        answer.is_given_up = True
        self.given_up.add(work)
        work.add_done_callback(self._end)
        # What is cut fails by itself, and in order; a connection that is cancelled while it is made does not.
        asyncio.get_running_loop().call_later(LOOK_SECONDS, work.cancel)

    def _end(self, work: "asyncio.Task[None]") -> None:
        self.given_up.discard(work)
        if not work.cancelled() and (error := work.exception()) is not None:
            log.info("what was given up ended with %r", error)


def _pause(scope: Scope) -> float:
    return PATIENT_SECONDS if scope.get("state", {}).get("waits") else LOOK_SECONDS


class _Answer:
    """`send`, until the answer is given up."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = self.is_given_up = False

    async def __call__(self, message: Message) -> None:
        if not self.is_given_up:
            self.has_begun = True
            await self._send(message)


async def ended(given_up: "set[asyncio.Task[None]]") -> None:
    """Waits for what was given up to have cleaned up after itself."""
    await asyncio.gather(*given_up, return_exceptions=True)
