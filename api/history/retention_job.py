"""The job of the decision log: a digest of each day's lines goes into the log of all changes, and old lines go.

Both may run in several processes at once. No decision waits for either: lines are read in small parts, past the ORM,
and hashed in a thread.

The store's clock may be wrong for a while. A digest that was recorded later than now was made by such a clock, and does
not count: its day gets another once it has ended. And lines go only as far as the digests have come day by day, so that
a clock which jumps ahead deletes nothing that was not due within days.
"""

import asyncio
import logging
from datetime import UTC, date, datetime, timedelta
from random import SystemRandom
from typing import Any, Final

from sqlalchemy import delete, tuple_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.history.daily_digests import digest_of_day, midnight
from api.store.events import SYSTEM, record
from api.store.jobs import about_every, repeat
from api.store.store import Store
from models.log.events import Event
from models.log.logged_decisions import LoggedDecision
from models.vocabulary.event_kinds import EventKind

log = logging.getLogger("privacy_manager.retention")

#: How long after its end a day is digested: by then every line that was decided in it is stored, or never will be.
MARGIN: Final = timedelta(minutes=10)
#: Lines that are deleted at once.
BATCH: Final = 5_000
#: Days that are made up for at once: what a clock that jumped ahead for a moment can add to the log is bounded.
MOST_DAYS: Final = 7
#: On so many days digests must have been recorded before lines go by the time that it was then.
DAYS_AT_IT: Final = 7
#: So far back the first digest may be.
DAYS_BACK: Final = 400
INTERVAL_SECONDS: Final = 300.0
#: Of the system: what is seeded to be repeated is not disturbed by a job that runs beside it.
_RANDOM: Final = SystemRandom()


async def digest_days(store: Store) -> int:
    """Records the digest of each day that has ended since the last one that has a digest; returns how many.

    Without any, it begins with the first that has lines, or with yesterday. At most `MOST_DAYS` at once. Raises
    `StoreUnreachable`.
    """
    recorded = 0
    for _ in range(MOST_DAYS):
        async with store.reading() as session:
            now = await store.now(session)
            today = (now - MARGIN).astimezone(UTC).date()
            day = await _next_day(session, now) or await _first_day(session, today - timedelta(days=1))
            if day >= today:
                break
            digest = await digest_of_day(session, day)
        async with store.writing() as write:
            # Whoever writes is alone: another process may have been here since.
            if await _next_day(write.session, write.now) in (None, day):
                state = {"day": day.isoformat(), "lines": digest.lines, "sha256": digest.sha256}
                record(write, EventKind.DECISIONS_DIGESTED, SYSTEM, state)
                recorded += 1
    return recorded


async def delete_old(store: Store, days: int) -> int:
    """Deletes up to `BATCH` lines that are older than so many days; returns how many. Raises `StoreUnreachable`.

    Nothing of a day that is later than the last that has a digest; and nothing before digests were recorded on
    `DAYS_AT_IT` days.
    """
    async with store.reading() as session:
        now = await store.now(session)
        digested_until, believed = await _next_day(session, now), await _believed(session, now)
    if digested_until is None or believed is None:
        return 0
    last = midnight(digested_until)
    return await store.deleting(lambda now: _oldest(min(min(now, believed) - timedelta(days=days), last)))


async def keep_log(store: Store, days: int, *, digests: bool, interval: float = INTERVAL_SECONDS) -> None:
    """Does both about every `interval` seconds, for as long as the process runs; digests as long as there are lines.

    The processes that find the day digested already compute nothing.
    """

    async def turn() -> None:
        if digests or await _has_lines(store):
            await digest_days(store)
        await _delete_all_old(store, days)

    await repeat(turn, about_every(interval), log, "the decision log could not be looked after")


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


async def _has_lines(store: Store) -> bool:
    async with store.reading() as session:
        return (await session.exec(select(LoggedDecision.id).limit(1))).first() is not None


async def _next_day(session: AsyncSession, now: datetime) -> date | None:
    """The day after the last one that has a digest which counts at `now`; None before the first."""
    counts = Event.kind == EventKind.DECISIONS_DIGESTED, Event.at <= now
    last = (await session.exec(select(Event.state).where(*counts).order_by(col(Event.number).desc()).limit(1))).first()
    return None if last is None else date.fromisoformat(last["day"]) + timedelta(days=1)


async def _first_day(session: AsyncSession, yesterday: date) -> date:
    """The day of the oldest line, or yesterday; at most `DAYS_BACK` before: that line's clock may have erred."""
    oldest = (await session.exec(select(LoggedDecision.at).order_by(col(LoggedDecision.at)).limit(1))).first()
    if oldest is None:
        return yesterday
    return min(yesterday, max(oldest.astimezone(UTC).date(), yesterday - timedelta(days=DAYS_BACK)))


async def _believed(session: AsyncSession, now: datetime) -> datetime | None:
    """Up to when the store's time is believed: as far as days go on from the one `DAYS_AT_IT` days with digests ago.

    None before there are so many. A clock that is right is believed up to now, whenever in the day digests come.
    """
    counts = Event.kind == EventKind.DECISIONS_DIGESTED, Event.at <= now
    newest = select(Event.at).where(*counts).order_by(col(Event.number).desc()).limit(DAYS_AT_IT * 100)
    on_days = sorted({at.astimezone(UTC).date() for at in await session.exec(newest)})
    if len(on_days) < DAYS_AT_IT:
        return None
    return midnight(on_days[-DAYS_AT_IT] + timedelta(days=DAYS_AT_IT + 1))
