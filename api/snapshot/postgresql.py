"""The facts on PostgreSQL: one connection of the driver itself, on which nothing else is done."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any, Final

import asyncpg

from api.snapshot.decision_lines import DURABLE, READ_AND_STORE, STORE_ON_POSTGRESQL, as_json
from api.snapshot.fact_rows import CHANGED, CHANGED_GRANTS, ROWS_AT_ONCE, WHAT_CHANGED, GrantsRead, changes_of
from api.snapshot.source import Drafted, Reading
from api.store.timing import STATEMENT_SECONDS, Clock
from models.decision.decision_log import Line
from models.decision.snapshot import (
    Changes,
)

#: Decisions do not wait for a connection: who makes it tries again soon.
CONNECT_SECONDS: Final = 1


REVISION_AND_TIME: Final = "SELECT revision, mark, clock_timestamp() FROM consent_revision WHERE id = 1"


STEP_SECONDS: Final = 1.0


class PostgresqlFacts:
    """The facts on PostgreSQL's primary, over one connection of the driver itself."""

    lines_ride_along = True

    def __init__(self, arguments: Mapping[str, Any], clock: Clock | None) -> None:
        self._arguments = {name: value for name, value in arguments.items() if not name.startswith("prepared_")}
        self._clock = clock
        self._connection: Any = None
        self._reading: Any = None
        self._drafting: Any = None
        self._storing: Any = None

    async def connect(self) -> None:
        if self._connection is None or self._connection.is_closed():
            await self._connect()

    async def read(self, within: float, draft: Drafted | None = None) -> Reading:
        if draft is not None:
            lines, *holds = draft
            clock = None if self._clock is None else self._clock()
            # All rows: with one alone asked for, the statement would not be over when it answers.
            [(revision, mark, now, stored)] = await self._drafting.fetch(as_json(lines), *holds, clock, timeout=within)
            return Reading(revision, now, mark, stored)
        revision, mark, now = await self._reading.fetchrow(timeout=within)
        return Reading(revision, now if self._clock is None else self._clock(), mark)

    async def store(self, lines: Sequence[Line], within: float) -> None:
        await self.connect()
        await self._storing.fetch(as_json(lines), timeout=within)

    async def changes(self, since: int) -> Changes:
        await self.connect()
        connection = self._connection
        grants = GrantsRead()
        rows: dict[str, Sequence[Any]] = {}
        # By steps: however much there is to read, a line that went dead is noticed soon. What fails is not rolled back,
        # for which such a line would have to answer: whoever called lets go of the connection.
        async with asyncio.timeout(STEP_SECONDS) as step:
            transaction = connection.transaction(isolation="repeatable_read", readonly=True)
            await transaction.start()
            revision, mark, now, mark_before, *changed = await connection.fetchrow(WHAT_CHANGED, since)
            for name in compress(CHANGED, changed):
                rows[name] = await connection.fetch(CHANGED[name], since)
                _go_on(step)
            cursor = await connection.cursor(CHANGED_GRANTS, since)
            while some := await cursor.fetch(ROWS_AT_ONCE):
                grants.add(some)
                _go_on(step)
                if len(some) < ROWS_AT_ONCE:
                    break
            # Nothing was written.
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
                self._drafting = await connection.prepare(READ_AND_STORE)
                self._storing = await connection.prepare(STORE_ON_POSTGRESQL)
                self._reading = await connection.prepare(REVISION_AND_TIME)
                # A statement that is only prepared leaves its implicit transaction open, in which none can begin.
                await self._reading.fetchrow()
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection


def _go_on(step: asyncio.Timeout) -> None:
    step.reschedule(asyncio.get_running_loop().time() + STEP_SECONDS)
