"""Who waits for something to change: one look at the store for all of them, and only those wake whom it concerns."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from api import rows
from api.current import CurrentSnapshot
from api.problems import TOO_MANY_REQUESTS, Refused
from api.store import Store, StoreBehind, StoreUnreachable

log = logging.getLogger("privacy_manager.awaited")

#: Between two looks while anybody waits.
LOOK_SECONDS: Final = 0.2
MOST_SECONDS: Final = 25
#: So many of one connection's requests may wait in this process, and so many of all.
MOST_OF_ONE: Final = 4
MOST: Final = 1_000


class AwaitedChanges:
    """Wakes those who wait for a change of a connection's consents. Nobody is asked for while nobody waits."""

    def __init__(self, store: Store, current: CurrentSnapshot) -> None:
        self._store = store
        self._current = current
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._seen = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    @contextmanager
    def listening(self, client_id: str) -> Iterator[asyncio.Future[None]]:
        """A future that is done by the next change of this connection's consents after this was entered.

        It may also be done when nothing changed, as when the store went away: whoever wakes looks. Raises `Refused`
        when too many wait.
        """
        own = self._waiting.setdefault(client_id, set())
        if len(own) >= MOST_OF_ONE or self.waiting >= MOST:
            raise Refused(TOO_MANY_REQUESTS, "Too many requests wait for changes.", {"Retry-After": str(MOST_SECONDS)})
        changed = asyncio.get_running_loop().create_future()
        own.add(changed)
        if self._looking is None:
            self._seen = self._current.revision
            self._looking = asyncio.create_task(self._look())
        try:
            yield changed
        finally:
            own.discard(changed)
            if not own and self._waiting.get(client_id) is own:
                del self._waiting[client_id]

    async def aclose(self) -> None:
        """Wakes everybody, and looks no more."""
        self._wake(list(self._waiting))
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(LOOK_SECONDS)
                found = (await self._current.get()).snapshot.revision
                if found > self._seen:
                    async with self._store.reading() as session:
                        self._wake(await rows.clients_changed(session, self._seen))
                    self._seen = found
        except (StoreUnreachable, StoreBehind):
            # Each finds out for itself, and says so.
            self._wake(list(self._waiting))
        except Exception:
            log.exception("the look for changes failed")
            self._wake(list(self._waiting))
        finally:
            self._looking = None

    def _wake(self, client_ids: list[str]) -> None:
        for client_id in client_ids:
            for changed in self._waiting.get(client_id, ()):
                if not changed.done():
                    changed.set_result(None)
