"""Listeners for changes of a connection's consents: one poll of the store per process wakes those that it concerns."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from api.edge.problems import TOO_MANY_REQUESTS, Refused
from api.queries import event_rows
from api.snapshot.current import CurrentSnapshot
from api.store.outage import StoreBehind, StoreUnreachable
from api.store.store import Store

log = logging.getLogger("privacy_manager.awaited")

#: Seconds between two polls while there is any listener.
POLL_SECONDS: Final = 0.2
#: The `Retry-After`, in seconds, of a refused request.
RETRY_AFTER_SECONDS: Final = 25
#: Listeners in this process: of one connection, and of all.
MOST_OF_ONE: Final = 4
MOST: Final = 1_000
#: Woken listeners that read the store at once: one change may wake them all, and other requests need the store too.
MOST_READING: Final = 4


class Listener:
    """The wake-up signal of one request or stream, which may wait for it many times."""

    def __init__(self, listeners: "ChangeListeners") -> None:
        self._listeners = listeners
        self._signal: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def changed(self) -> None:
        """Returns once something may have changed since the last call returned, or since the listener was made.

        A wake-up may be spurious, as when the store went away: the caller reads the store. Returns at once when the
        process stops.
        """
        if not self._listeners.is_stopping:
            # `asyncio.wait` leaves the future alone when the caller is cancelled: the signal must not be lost with it.
            await asyncio.wait({self._signal})
            self._signal = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        """Wakes the listener, now or at its next call of `changed`."""
        if not self._signal.done():
            self._signal.set_result(None)


class ChangeListeners:
    """The listeners of this process, by client id, and the task that polls the store while there are any."""

    def __init__(self, store: Store, current: CurrentSnapshot) -> None:
        self._store = store
        self._current = current
        self._waiting: dict[str, set[Listener]] = {}
        self._polling: asyncio.Task[None] | None = None
        self._seen = 0
        self.reading = asyncio.Semaphore(MOST_READING)
        self.is_stopping = False

    @property
    def waiting(self) -> int:
        """The number of listeners."""
        return sum(map(len, self._waiting.values()))

    @contextmanager
    def listening(self, client_id: str) -> Iterator[Listener]:
        """A listener for changes of the connection's consents, for the block. Raises `Refused` (429) beyond limits."""
        own = self._waiting.setdefault(client_id, set())
        if len(own) >= MOST_OF_ONE or self.waiting >= MOST:
            retry = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            raise Refused(TOO_MANY_REQUESTS, "Too many requests wait for changes.", retry)
        listener = Listener(self)
        own.add(listener)
        if self._polling is None:
            self._seen = self._current.revision
            self._polling = asyncio.create_task(self._poll_while_listening())
        try:
            yield listener
        finally:
            own.discard(listener)
            if not own and self._waiting.get(client_id) is own:
                del self._waiting[client_id]

    def stop(self) -> None:
        """Wakes all listeners, whose `changed` from now on returns at once: the process stops."""
        self.is_stopping = True
        self._wake(list(self._waiting))

    async def aclose(self) -> None:
        """Wakes all listeners, and ends the polling."""
        self.stop()
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)

    async def _poll_while_listening(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(POLL_SECONDS)
                try:
                    await self._poll()
                except (StoreUnreachable, StoreBehind):
                    # Each listener's own read then fails with the same error, which answers its request.
                    self._wake(list(self._waiting))
                except Exception:
                    log.exception("the poll for changes failed")
                    self._wake(list(self._waiting))
        finally:
            self._polling = None

    async def _poll(self) -> None:
        revision = (await self._current.get()).snapshot.revision
        if revision > self._seen:
            async with self._store.reading() as session:
                self._wake(await event_rows.clients_changed(session, self._seen))
            self._seen = revision

    def _wake(self, client_ids: list[str]) -> None:
        for client_id in client_ids:
            for listener in self._waiting.get(client_id, ()):
                listener.wake()
