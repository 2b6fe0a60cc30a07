"""A source of facts for tests of the shared read."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from api.snapshot.patience import Patience
from api.snapshot.source import DraftedLines, Reading
from models.decision.decision_log import Line
from models.decision.snapshot import Changes, SchoolFacts
from tests.worlds.world import START


class HandSource:
    """A source of facts that answers when the test says so. A read sees what is true when it starts."""

    def __init__(self, *, reads_store_lines: bool = True) -> None:
        self.reads_store_lines = reads_store_lines
        self.stored: list[list[Line]] = []
        #: Of each draft that came with a read, whether it held.
        self.drafts: list[bool] = []
        self.now = START
        self.revision = 1
        self.started = 0
        self.loads: list[int] = []
        self.connects = 0
        self.drops = 0
        self.connected = False
        self.may_connect, self.may_read, self.may_load = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.may_store = asyncio.Event()
        for gate in (self.may_connect, self.may_read, self.may_load, self.may_store):
            gate.set()
        self.fault: Exception | None = None
        self.load_fault: Exception | None = None
        self.store_fault: Exception | None = None
        self.loaded_at: datetime | None = None

    async def connect(self) -> None:
        if not self.connected:
            self.connects += 1
            await self.may_connect.wait()
            self.connected = True

    async def read(self, within: float, draft: DraftedLines | None = None) -> Reading:
        self.started += 1
        seen, now = self.revision, self.now
        async with Patience(within):
            await self.may_read.wait()
        if self.fault is not None:
            raise self.fault
        if draft is None:
            return Reading(seen, now)
        assert self.reads_store_lines
        holds = draft.revision == seen and draft.since <= now < draft.until
        self.drafts.append(holds)
        if holds:
            await self.store([line._replace(at=now) for line in draft.lines], within)
        return Reading(seen, now, stored=holds)

    async def store(self, lines: Sequence[Line], within: float) -> None:
        async with Patience(within):
            # Others have their turn meanwhile.
            await asyncio.sleep(0.001)
            await self.may_store.wait()
        if self.store_fault is not None:
            raise self.store_fault
        self.stored.append(list(lines))

    async def changes(self, since: int) -> Changes:
        self.loads.append(since)
        seen = self.revision
        await self.may_load.wait()
        if self.load_fault is not None:
            raise self.load_fault
        seen_at = self.loaded_at or START
        return Changes(seen, seen_at=seen_at, schools=(SchoolFacts(f"{seen:02d}AB", None, False),))

    async def drop(self) -> None:
        self.drops += 1
        self.connected = False
