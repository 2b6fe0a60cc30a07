"""The job of the decision log: a digest of each day's lines goes into the log of all changes, and old lines go.

Both may run in several processes at once. No decision waits for either.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, literal, tuple_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.events import SYSTEM, record
from api.store import Store, StoreUnreachable
from models.columns import Instant
from models.decision_log import Digest, LoggedDecision
from models.events import Event, EventKind

log = logging.getLogger("privacy_manager.retention")

#: How long after its end a day is digested: by then every line that was decided in it is stored, or never will be.
MARGIN: Final = timedelta(minutes=10)
#: Lines that are read, or deleted, at once.
BATCH: Final = 5_000
INTERVAL_SECONDS: Final = 300.0


async def digest_days(store: Store) -> int:
    """Records the digest of each day that has ended since the last one that has a digest; returns how many.

    Without any, it begins with yesterday. Raises `StoreUnreachable`.
    """
    recorded = 0
    while True:
        async with store.reading() as session:
            today = (await store.now(session) - MARGIN).astimezone(UTC).date()
            day = await _next_day(session) or today - timedelta(days=1)
            if day >= today:
                return recorded
            digest = Digest()
            async for lines in _lines_of(session, day):
                digest.add(lines)
        async with store.writing() as write:
            # Whoever writes is alone: another process may have been here since.
            if await _next_day(write.session) in (None, day):
                state = {"day": day.isoformat(), "lines": digest.lines, "sha256": digest.sha256}
                record(write, EventKind.DECISIONS_DIGESTED, SYSTEM, state)
                recorded += 1


async def delete_old(store: Store, days: int) -> int:
    """Deletes up to `BATCH` lines that are older than so many days; returns how many. Raises `StoreUnreachable`."""
    return await store.deleting(lambda now: _oldest(now - timedelta(days=days)))


async def keep_log(store: Store, days: int, *, digests: bool, interval: float = INTERVAL_SECONDS) -> None:
    """Does both for as long as the process runs, every `interval` seconds; digests only where lines are stored."""
    while True:
        await asyncio.sleep(interval)
        try:
            if digests:
                await digest_days(store)
            await _delete_all_old(store, days)
        except StoreUnreachable as error:
            log.warning("the store did not answer: %s", error)
        except Exception:
            log.exception("the decision log could not be looked after")


async def _delete_all_old(store: Store, days: int) -> None:
    deleted = await delete_old(store, days)
    while deleted == BATCH:
        # Decisions write to the same table, and on SQLite wait for the same lock.
        await asyncio.sleep(0.1)
        deleted = await delete_old(store, days)


def _oldest(before: datetime) -> Any:
    at, number = col(LoggedDecision.at), col(LoggedDecision.id)
    oldest = select(at, number).where(at < before).order_by(at, number).limit(BATCH)
    return delete(LoggedDecision).where(tuple_(at, number).in_(oldest))


async def _next_day(session: AsyncSession) -> date | None:
    """The day after the last one that has a digest; None before the first."""
    digested = select(Event).where(Event.kind == EventKind.DECISIONS_DIGESTED).order_by(col(Event.number).desc())
    last = (await session.exec(digested.limit(1))).first()
    return None if last is None else date.fromisoformat(last.state["day"]) + timedelta(days=1)


async def _lines_of(session: AsyncSession, day: date) -> AsyncIterator[Sequence[LoggedDecision]]:
    """The lines that were decided on this day, in order of time and then of number, some at a time."""
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    at, number = col(LoggedDecision.at), col(LoggedDecision.id)
    query = select(LoggedDecision).where(at >= begin, at < begin + timedelta(days=1)).order_by(at, number).limit(BATCH)
    lines = (await session.exec(query)).all()
    while lines:
        yield lines
        last = lines[-1]
        session.expunge_all()
        behind = tuple_(at, number) > tuple_(literal(last.at, Instant), literal(last.id))
        lines = (await session.exec(query.where(behind))).all()
