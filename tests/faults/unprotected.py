"""The same service with a cache as people would build one: it answers from memory, and listens for what changed.

It exists to show that the probe finds leaks where there are any. Nothing of the product can reach it.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import asyncpg

import api.app
from api.settings import Settings
from api.snapshot.current import Answer, CurrentSnapshot
from api.snapshot.pending_decision import Logged
from api.snapshot.postgresql import PostgresqlFacts
from api.store.outage import StoreUnreachable
from models.decision.snapshot import Snapshot


class Listening(CurrentSnapshot):
    """Refreshes its memory when it is told of a change, and asks nobody before it answers."""

    _refreshing: asyncio.Task[None] | None = None

    async def decide(self, decide: Callable[[Snapshot, datetime], Logged[Answer]]) -> Answer:
        if self._refreshing is None:
            await self.get()
            self._refreshing = asyncio.create_task(self._listen())
        assert self._snapshot is not None
        return decide(self._snapshot, self._told_at).answer

    async def _listen(self) -> None:
        assert isinstance(self._source, PostgresqlFacts)
        arguments = {**self._source._arguments, "server_settings": {"application_name": "unprotected"}}
        told = asyncio.Event()
        connection = await asyncpg.connect(**arguments)
        await connection.add_listener("revision", lambda *_: told.set())
        while True:
            await told.wait()
            try:
                told.clear()
                self._told_at = (await self.get()).now
            except StoreUnreachable:
                # Even the best of listeners, which tries until it has what it was told of, is too late.
                told.set()

    async def load(self) -> None:
        await super().load()
        self._told_at = (await self.get()).now


def application() -> Any:
    """The application, unprotected."""
    api.app.CurrentSnapshot = Listening  # type: ignore[misc]
    return api.app.create_app(Settings())
