"""Deadlines of each connection of a server, and bounds on all of them together.

A timer for each request would cost as much as reading it: one look a second at all connections is enough, since their
number is bounded.
"""

import asyncio
import logging
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from uvicorn.server import ServerState

log = logging.getLogger("privacy_manager.edge")

#: Seconds that a client may take for a head, from its first byte.
HEAD_SECONDS: Final = 10.0
#: A body must bring at least so many bytes in so many seconds.
PACE_SECONDS: Final = 5.0
PACE_BYTES: Final = 10 * 1024
#: Seconds that a connection may do nothing. Gateways keep theirs for up to 60: they should be the ones that close.
IDLE_SECONDS: Final = 75.0
#: Seconds in which what is still being sent is read over, so that an early answer is not lost by a reset.
LINGER_SECONDS: Final = 10.0
#: Seconds that a client may leave an answer unread.
UNREAD_SECONDS: Final = 60.0
#: Seconds that who has not sent all is given when the server stops.
STOP_SECONDS: Final = 4.0

#: Seconds between two looks at all connections.
LOOK_SECONDS: Final = 1.0
MOST_CONNECTIONS: Final = 1_000
#: Bytes of bodies in all that have arrived, and have no answer yet.
MOST_BODY_BYTES_IN_ALL: Final = 64 * 1024 * 1024
#: Bodies up to this size are always taken: they are bounded by the number of connections.
SMALL_BODY_BYTES: Final = 32 * 1024
NEVER: Final = float("inf")


class Watched(Protocol):
    """A connection, as its limits know it."""

    due: float
    write_due: float

    def is_idle(self) -> bool: ...

    def close_idle(self) -> None: ...

    def overdue(self, now: float) -> None: ...

    def abort(self) -> None: ...


class ConnectionLimits:
    """The limits of all connections of one server. `watched` are those that are open."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.watched: set[Watched] = set()
        self.body_bytes = 0
        self._refused = 0
        self._loop = loop
        self._looking: asyncio.TimerHandle | None = None

    def admits(self, connection: Watched) -> bool:
        """Whether there is room for one more connection: else the one that was idle for longest makes room."""
        if len(self.watched) >= MOST_CONNECTIONS:
            idle = min((each for each in self.watched if each.is_idle()), key=lambda each: each.due, default=None)
            if idle is None:
                self._refused += 1
                return False
            idle.close_idle()
        self.watched.add(connection)
        if self._looking is None:
            self._looking = self._loop.call_later(LOOK_SECONDS, self._look)
        return True

    def reserves(self, before: int, size: int) -> bool:
        """Whether so many bytes of a body may be kept, after those that were `before`. `release` gives them back."""
        if before + size > SMALL_BODY_BYTES and self.body_bytes + size > MOST_BODY_BYTES_IN_ALL:
            return False
        self.body_bytes += size
        return True

    def release(self, size: int) -> None:
        self.body_bytes -= size

    def leave(self, connection: Watched) -> None:
        self.watched.discard(connection)

    def _look(self) -> None:
        now = self._loop.time()
        if self._refused:
            log.warning("refused %d connections: %d are open, and none is idle", self._refused, len(self.watched))
            self._refused = 0
        try:
            for connection in [each for each in self.watched if each.due <= now or each.write_due <= now]:
                try:
                    connection.overdue(now)
                except Exception:
                    log.exception("a connection that is overdue is cut off")
                    connection.abort()
        finally:
            self._looking = self._loop.call_later(LOOK_SECONDS, self._look) if self.watched else None


_of_server: WeakKeyDictionary[ServerState, ConnectionLimits] = WeakKeyDictionary()


def limits_of(server: ServerState, loop: asyncio.AbstractEventLoop) -> ConnectionLimits:
    """The limits of the connections of this server."""
    if (limits := _of_server.get(server)) is None:
        limits = _of_server[server] = ConnectionLimits(loop)
    return limits
