"""A write transaction: records events, seals their texts and appends them to the log as leaves of its tree."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from api.security import sealing
from api.store.log_rows import LogRows, store
from models.log.events import Event
from models.log.log_entries import leaf_of
from models.log.merkle import Node, Peaks
from models.log.sealed_texts import SealedText

#: Role of the system itself, whose name and reasons are no person's and are not sealed.
SYSTEM_ROLE: Final = "system"

#: Most events per statement; larger ones would exceed what a store accepts.
_EVENTS_PER_STATEMENT: Final = 1_000
_SET_REVISION: Final = text("UPDATE consent_revision SET revision = :revision WHERE id = 1")
_COUNT_ERASURE: Final = text("UPDATE consent_revision SET erasures = erasures + 1 WHERE id = 1")


@dataclass
class Write:
    """A write transaction. Everything that it records shares its `revision` and its `now`.

    It holds the lock on the row that counts revisions, so that nobody else appends. `peaks` are those of the log before
    it, which has `events_before` entries.
    """

    session: AsyncSession
    revision: int
    now: datetime
    events_before: int
    peaks: bytes
    #: Whether there was any subscription to send messages to.
    has_subscriptions: bool
    mark: str = field(default_factory=lambda: secrets.token_hex(16))
    events: list[Event] = field(default_factory=list)
    #: Whether a text was destroyed, whose bytes must not stay in the file.
    destroys: bool = False

    @property
    def next_number(self) -> int:
        """The number of the next event."""
        return self.events_before + len(self.events) + 1

    async def append(self) -> None:
        """Appends the recorded events to the log."""
        texts = [text for event in self.events for text in await self._sealed(event)]
        await self.session.flush()
        await self._add(self.events, texts)

    async def append_restored(self, events: Sequence[Event]) -> None:
        """Appends events of a log to be restored, unchanged; events recorded later follow them."""
        await self._add(events, ())
        self.revision = events[-1].revision + 1
        connection = await self.session.connection()
        await connection.execute(_SET_REVISION, {"revision": self.revision})

    async def destroy(self, row: SQLModel) -> None:
        """Deletes the row. SQLite overwrites its bytes; PostgreSQL does so when it vacuums."""
        self.destroys = True
        connection = await self.session.connection()
        if connection.dialect.name == "sqlite":
            await connection.execute(text("PRAGMA secure_delete = ON"))
        await self.session.delete(row)
        await connection.execute(_COUNT_ERASURE)

    async def _sealed(self, event: Event) -> list[SealedText]:
        """Replaces actor and reason by commitments. Returns the sealed reason to store."""
        if event.actor_role == SYSTEM_ROLE:
            return []
        event.actor = await sealing.person(self.session, event.actor)
        if event.reason is None:
            return []
        sealed = sealing.reason(self.session, event.reason)
        event.reason = sealed.commitment
        return [sealed]

    async def _add(self, events: Sequence[Event], texts: Sequence[SealedText]) -> None:
        await self._add_batch(events[:_EVENTS_PER_STATEMENT], texts)
        for first in range(_EVENTS_PER_STATEMENT, len(events), _EVENTS_PER_STATEMENT):
            await self._add_batch(events[first : first + _EVENTS_PER_STATEMENT], ())

    async def _add_batch(self, events: Sequence[Event], texts: Sequence[SealedText]) -> None:
        peaks, nodes = Peaks.of(self.events_before, self.peaks), list[Node]()
        for event in events:
            event.leaf = leaf_of(event)
            peaks, completed = peaks.appended(event.leaf)
            nodes += completed
        connection = await self.session.connection()
        await store(connection, LogRows(events, texts, nodes, self.mark, peaks, self.has_subscriptions))
        self.events_before, self.peaks = peaks.size, peaks.packed
