"""Who waits for something to change: one look at the store for all of them, and only those wake whom it concerns."""

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

#: Between two looks while anybody waits.
LOOK_SECONDS: Final = 0.2
#: After which a refused one may ask again.
AGAIN_SECONDS: Final = 25
#: So many of one connection's requests may wait in this process, and so many of all.
MOST_OF_ONE: Final = 4
MOST: Final = 1_000
#: So many of those who were woken read at once: one change may concern all who wait, and others need the store too.
MOST_READING: Final = 4


class Listener:
    """One who waits, again and again."""

    def __init__(self, awaited: "AwaitedChanges") -> None:
        self._awaited = awaited
        self._news: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def changed(self) -> None:
        """Until something may have changed since this was last awaited, or, the first time, since it was made.

        Nothing needs to have changed, as when the store went away: whoever wakes looks. Ends at once when the process
        stops.
        """
        if not self._awaited.is_stopping:
            # Not by itself: who gives up waiting must not take the news with it.
            await asyncio.wait({self._news})
            self._news = asyncio.get_running_loop().create_future()

    def tell(self) -> None:
        """Wakes it, now or when it next waits."""
        if not self._news.done():
            self._news.set_result(None)


class AwaitedChanges:
    """Wakes those who wait for a change of a connection's consents. Nobody is asked for while nobody waits."""

    def __init__(self, store: Store, current: CurrentSnapshot) -> None:
        self._store = store
        self._current = current
        self._waiting: dict[str, set[Listener]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._seen = 0
        self.reading = asyncio.Semaphore(MOST_READING)
        self.is_stopping = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    @contextmanager
    def listening(self, client_id: str) -> Iterator[Listener]:
        """Who hears of the changes of this connection's consents. Raises `Refused` when too many wait."""
        own = self._waiting.setdefault(client_id, set())
        if len(own) >= MOST_OF_ONE or self.waiting >= MOST:
            raise Refused(TOO_MANY_REQUESTS, "Too many requests wait for changes.", {"Retry-After": str(AGAIN_SECONDS)})
        listener = Listener(self)
        own.add(listener)
        if self._looking is None:
            self._seen = self._current.revision
            self._looking = asyncio.create_task(self._look_on())
        try:
            yield listener
        finally:
            own.discard(listener)
            if not own and self._waiting.get(client_id) is own:
                del self._waiting[client_id]

    def stop(self) -> None:
        """Wakes everybody for good: the process stops."""
        self.is_stopping = True
        self._wake(list(self._waiting))

    async def aclose(self) -> None:
        """Stops, and looks no more."""
        self.stop()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look_on(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(LOOK_SECONDS)
                try:
                    await self._look()
                except (StoreUnreachable, StoreBehind):
                    # Each finds out for itself, and says so.
                    self._wake(list(self._waiting))
                except Exception:
                    log.exception("the look for changes failed")
                    self._wake(list(self._waiting))
        finally:
            self._looking = None

    async def _look(self) -> None:
        found = (await self._current.get()).snapshot.revision
        if found > self._seen:
            async with self._store.reading() as session:
                self._wake(await event_rows.clients_changed(session, self._seen))
            self._seen = found

    def _wake(self, client_ids: list[str]) -> None:
        for client_id in client_ids:
            for listener in self._waiting.get(client_id, ()):
                listener.tell()
