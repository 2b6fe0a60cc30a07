"""Facts read from PostgreSQL over a dedicated connection of the driver."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any, Final

import asyncpg

from api.snapshot.decision_lines import DURABLE, READ_AND_STORE, STORE_ON_POSTGRESQL, as_json
from api.snapshot.fact_rows import CHANGED, CHANGED_GRANTS, ROWS_AT_ONCE, WHAT_CHANGED, GrantPacker, changes_of
from api.snapshot.patience import Patience
from api.snapshot.source import DraftedLines, Reading
from api.store.timing import STATEMENT_SECONDS, Clock
from models.decision.decision_log import Line
from models.decision.snapshot import (
    Changes,
)

#: Decisions do not wait for a connection; connecting is retried soon.
CONNECT_SECONDS: Final = 1


REVISION_AND_TIME: Final = "SELECT revision, mark, clock_timestamp() FROM consent_revision WHERE id = 1"


STEP_SECONDS: Final = 1.0


class PostgresqlFacts:
    """Facts from PostgreSQL's primary, over a dedicated connection of the driver."""

    reads_store_lines = True

    def __init__(self, arguments: Mapping[str, Any], clock: Clock | None) -> None:
        self._arguments = {name: value for name, value in arguments.items() if not name.startswith("prepared_")}
        self._clock = clock
        self._connection: Any = None
        self._read_statement: Any = None
        self._read_and_store_statement: Any = None
        self._store_statement: Any = None

    async def connect(self) -> None:
        if self._connection is None or self._connection.is_closed():
            await self._connect()

    async def read(self, within: float, draft: DraftedLines | None = None) -> Reading:
        if draft is not None:
            lines, *conditions = draft
            clock = None if self._clock is None else self._clock()
            # All rows are fetched: with fetchrow() the statement would not be complete when it returns.
            async with Patience(within):
                rows = await self._read_and_store_statement.fetch(as_json(lines), *conditions, clock)
            [(revision, mark, now, stored)] = rows
            return Reading(revision, now, mark, stored)
        async with Patience(within):
            revision, mark, now = await self._read_statement.fetchrow()
        return Reading(revision, now if self._clock is None else self._clock(), mark)

    async def store(self, lines: Sequence[Line], within: float) -> None:
        await self.connect()
        async with Patience(within):
            await self._store_statement.fetch(as_json(lines))

    async def changes(self, since: int) -> Changes:
        await self.connect()
        connection = self._connection
        grants = GrantPacker()
        rows: dict[str, Sequence[Any]] = {}
        # The timeout applies to each step, so that a dead connection is noticed soon however much there is to read. On
        # failure there is no rollback, which would wait for that connection; the caller discards it.
        async with asyncio.timeout(STEP_SECONDS) as step:
            transaction = connection.transaction(isolation="repeatable_read", readonly=True)
            await transaction.start()
            revision, mark, now, mark_before, *changed = await connection.fetchrow(WHAT_CHANGED, since)
            for name in compress(CHANGED, changed):
                rows[name] = await connection.fetch(CHANGED[name], since)
                _extend(step)
            cursor = await connection.cursor(CHANGED_GRANTS, since)
            while batch := await cursor.fetch(ROWS_AT_ONCE):
                grants.add(batch)
                _extend(step)
                if len(batch) < ROWS_AT_ONCE:
                    break
            # Ends a read-only transaction.
            await transaction.rollback()
        reading = Reading(revision, now if self._clock is None else self._clock(), mark)
        return changes_of(reading, mark_before or "", rows, grants)

    async def drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _connect(self) -> None:
        connection = await asyncpg.connect(
            **self._arguments,
            timeout=CONNECT_SECONDS,
            command_timeout=STATEMENT_SECONDS,
            target_session_attrs="primary",
            server_settings={"application_name": "privacy-manager-decisions"},
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.execute(DURABLE)
                self._read_and_store_statement = await connection.prepare(READ_AND_STORE)
                self._store_statement = await connection.prepare(STORE_ON_POSTGRESQL)
                self._read_statement = await connection.prepare(REVISION_AND_TIME)
                # A statement that is only prepared leaves an implicit transaction open, in which no other can begin.
                await self._read_statement.fetchrow()
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection


def _extend(step: asyncio.Timeout) -> None:
    step.reschedule(asyncio.get_running_loop().time() + STEP_SECONDS)
