"""Shares of the callers of one process: how much each may ask at once and per second. Only who asks for more waits.

A caller is who its token names, or an address where there is no token. Its requests above `at_once` wait behind its
own; what cannot wait is refused with 429 before its body is read. Revocations, suspensions and stops have a share of
their own, which no other request of the caller uses up.
"""

import asyncio
import contextlib
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.edge import problems
from api.edge.client_address import client_address
from api.edge.problems import TOO_MANY_REQUESTS, Problem, Refused
from api.security.rates import Rates, TooMany

#: Seconds that a request waits for those of the same caller; one that is urgent waits longer.
WAIT_SECONDS: Final = 5.0
URGENT_SECONDS: Final = 15.0
#: Requests that wait for one of those that run, for each of these; of those that are urgent more.
WAITING_FOR_EACH: Final = 20
URGENT_FOR_EACH: Final = 200
#: Seconds of its rate that a caller may use up at once.
BURST_SECONDS: Final = 2

#: Decisions that one gateway may wait for at once, where no setting says otherwise.
MOST_AT_ONCE: Final = 512
_URGENT: Final = ("/_revoke", "/_suspend", "/_stop", "/_end", "/revokes")
_HEALTH: Final = "/health/"
_CHANGES: Final = "/v1/consents/changes"
#: Names `wait` once, with a number of seconds.
_WAITS: Final = re.compile(rb"(?:(?!wait=)[^&]*&)*wait=0*[1-9][0-9]*(?:&(?!wait=)[^&]*)*")


@dataclass(frozen=True)
class Share:
    """The share of one caller in one process."""

    per_second: int
    at_once: int

    @property
    def burst(self) -> int:
        return self.per_second * BURST_SECONDS


@dataclass
class _Turns:
    """The turns of one caller: how many run, and what waits for one of them."""

    running: int = 0
    waiting: deque["asyncio.Future[None]"] = field(default_factory=deque)


class Admission:
    """The shares of all callers of one process."""

    def __init__(self, share: Share, clock: Callable[[], float] = time.monotonic) -> None:
        self.share = share
        self.rates = Rates(share.per_second, share.burst, clock)
        #: Of callers that have a request under way.
        self._turns: dict[Hashable, _Turns] = {}

    @asynccontextmanager
    async def turn(self, who: Hashable, *, holds: bool = True, is_urgent: bool = False) -> AsyncIterator[int]:
        """A turn of this caller, for the block; what is left of its rate. Raises `TooMany`.

        A request that only listens does not hold one of the turns that run at once.
        """
        who = who, is_urgent
        left = self.rates.count(who)
        if not holds:
            yield left
            return
        turns = self._turns.setdefault(who, _Turns())
        if turns.running >= self.share.at_once:
            most, seconds = (URGENT_FOR_EACH, URGENT_SECONDS) if is_urgent else (WAITING_FOR_EACH, WAIT_SECONDS)
            await self._wait(who, turns, most * self.share.at_once, seconds)
        else:
            turns.running += 1
        try:
            yield left
        finally:
            self._end(who, turns)

    async def _wait(self, who: Hashable, turns: _Turns, most: int, seconds: float) -> None:
        """Waits for the turn of one that runs. Raises `TooMany`."""
        if len(turns.waiting) >= most:
            raise TooMany(1)
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        turns.waiting.append(mine)
        try:
            async with asyncio.timeout(seconds):
                await mine
        except TimeoutError:
            if not _was_given(mine):
                _forget(turns, mine)
                raise TooMany(1) from None
        except asyncio.CancelledError:
            if _was_given(mine):
                self._end(who, turns)
            else:
                _forget(turns, mine)
            raise

    def _end(self, who: Hashable, turns: _Turns) -> None:
        """Gives a turn that has ended to who waits first."""
        while turns.waiting:
            following = turns.waiting.popleft()
            if not following.done():
                following.set_result(None)
                return
        turns.running -= 1
        if not turns.running:
            self._turns.pop(who, None)


def _forget(turns: _Turns, waiting: "asyncio.Future[None]") -> None:
    with contextlib.suppress(ValueError):  # whose turn would have come meanwhile found it gone
        turns.waiting.remove(waiting)


def _was_given(turn: "asyncio.Future[None]") -> bool:
    return turn.done() and not turn.cancelled()


class AtOnce:
    """How much each of many may wait for at once; more is refused."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[Hashable, int] = {}

    def enter(self, who: Hashable) -> None:
        """Raises `Refused` (429) where so much is waited for already; else `leave` must follow."""
        waiting = self._waiting.get(who, 0)
        if waiting >= self._most:
            raise Refused(TOO_MANY_REQUESTS, f"At most {self._most} of these at once.", {"Retry-After": "1"})
        self._waiting[who] = waiting + 1

    def leave(self, who: Hashable) -> None:
        left = self._waiting[who] - 1
        if left:
            self._waiting[who] = left
        else:
            del self._waiting[who]


class AdmissionControl:
    """Middleware behind the authentication: gives requests their turns, and says what is left of a share."""

    def __init__(
        self,
        app: ASGIApp,
        admission: Admission,
        elsewhere: str = "",
        answer: Callable[[Problem, str], Response] = problems.answer,
    ) -> None:
        self.app = app
        self.admission = admission
        #: Paths below this one have a control of their own.
        self.elsewhere = elsewhere
        self.answer = answer
        self._window = admission.rates.window
        self._policy = b'"caller";q=%d;w=%d' % (admission.share.burst, self._window)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_free(scope["path"]):
            return await self.app(scope, receive, send)
        try:
            turn = self.admission.turn(_caller_of(scope), holds=not _listens(scope), is_urgent=_is_urgent(scope))
            async with turn as left:
                await self.app(scope, receive, self._telling(left, send))
        except TooMany as refused:
            refusal = self.answer(TOO_MANY_REQUESTS, "This caller has asked for too much at once: wait a little.")
            refusal.headers["Retry-After"] = str(refused.retry_after)
            refusal.headers["RateLimit-Policy"] = self._policy.decode()
            refusal.headers["RateLimit"] = f'"caller";r=0;t={refused.retry_after}'
            await refusal(scope, receive, send)

    def _is_free(self, path: str) -> bool:
        return path.startswith(_HEALTH) or (self.elsewhere != "" and path.startswith(self.elsewhere))

    def _telling(self, left: int, send: Send) -> Send:
        """Adds the fields of draft-ietf-httpapi-ratelimit-headers to the answer."""
        limit = b'"caller";r=%d;t=%d' % (left, self._window)

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = ((b"ratelimit-policy", self._policy), (b"ratelimit", limit))
                message["headers"] = [*message.get("headers", ()), *told]
            await send(message)

        return telling


def _caller_of(scope: Scope) -> Hashable:
    claims = scope.get("state", {}).get("claims")
    if claims is None:
        return client_address(scope)
    # A person who acts for several schools has a share in each.
    return claims.issuer, claims.subject, claims.client_id, claims.school, claims.board


def _is_urgent(scope: Scope) -> bool:
    """Whether the request takes a permission away."""
    return scope["method"] in {"POST", "PUT"} and scope["path"].endswith(_URGENT)


def _listens(scope: Scope) -> bool:
    """Whether the request waits for changes: of such there are few for each caller (`ChangeListeners`)."""
    if scope["path"] == f"{_CHANGES}/stream":
        return True
    return scope["path"] == _CHANGES and _WAITS.fullmatch(scope["query_string"]) is not None
