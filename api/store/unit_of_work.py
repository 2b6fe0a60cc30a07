"""One transaction that may change things: what it records is appended to the log in it, sealed, each event a leaf."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from api.security import sealing
from api.store.log_rows import Appended, store
from models.log.events import Event
from models.log.log_entries import leaf_of
from models.log.merkle import Node, Peaks
from models.log.sealed_texts import SealedText

#: In whose name nobody acts: its name and its words are nobody's, and stay as they are.
SYSTEM_ROLE: Final = "system"

#: So many events go to the store in one statement: more than that, and it would be larger than a store takes.
_AT_ONCE: Final = 1_000
_TAKE_OTHER: Final = text("UPDATE consent_revision SET revision = :revision WHERE id = 1")
_COUNT_ERASURE: Final = text("UPDATE consent_revision SET erasures = erasures + 1 WHERE id = 1")


@dataclass
class Write:
    """One transaction that may change things. Everything that it records shares its `revision` and its `now`.

    It holds the lock on the row that counts the revisions: nobody else appends meanwhile. `peaks` are those of the log
    before it, which has `events_before` entries.
    """

    session: AsyncSession
    revision: int
    now: datetime
    events_before: int
    peaks: bytes
    #: Whether there was any subscription that could be told.
    tells: bool = True
    mark: str = field(default_factory=lambda: secrets.token_hex(16))
    events: list[Event] = field(default_factory=list)
    #: Something was destroyed: nothing of it may stay behind in the file.
    forgets: bool = False

    @property
    def next_number(self) -> int:
        """The number that the next event gets."""
        return self.events_before + len(self.events) + 1

    async def append(self) -> None:
        """Puts what was recorded behind all that is in the log."""
        texts = [text for event in self.events for text in await self._sealed(event)]
        await self.session.flush()
        await self._add(self.events, texts)

    async def put_back(self, events: Sequence[Event]) -> None:
        """Puts events behind all that is in the log, as they once were; what is recorded then comes after them."""
        await self._add(events, ())
        self.revision = events[-1].revision + 1
        connection = await self.session.connection()
        await connection.execute(_TAKE_OTHER, {"revision": self.revision})

    async def forget(self, row: SQLModel) -> None:
        """Deletes the row. On SQLite its bytes are written over; PostgreSQL does so when it vacuums."""
        self.forgets = True
        connection = await self.session.connection()
        if connection.dialect.name == "sqlite":
            await connection.execute(text("PRAGMA secure_delete = ON"))
        await self.session.delete(row)
        await connection.execute(_COUNT_ERASURE)

    async def _sealed(self, event: Event) -> list[SealedText]:
        """Who acted and why become commitments; what is to be kept of the reason."""
        if event.actor_role == SYSTEM_ROLE:
            return []
        event.actor = await sealing.person(self.session, event.actor)
        if event.reason is None:
            return []
        said = sealing.reason(self.session, event.reason)
        event.reason = said.commitment
        return [said]

    async def _add(self, events: Sequence[Event], texts: Sequence[SealedText]) -> None:
        await self._add_some(events[:_AT_ONCE], texts)
        for first in range(_AT_ONCE, len(events), _AT_ONCE):
            await self._add_some(events[first : first + _AT_ONCE], ())

    async def _add_some(self, events: Sequence[Event], texts: Sequence[SealedText]) -> None:
        peaks, nodes = Peaks.of(self.events_before, self.peaks), list[Node]()
        for event in events:
            event.leaf = leaf_of(event)
            peaks, completed = peaks.appended(event.leaf)
            nodes += completed
        connection = await self.session.connection()
        await store(connection, Appended(events, texts, nodes, self.mark, peaks, self.tells))
        self.events_before, self.peaks = peaks.size, peaks.packed
