"""The retention job of the decision log: records a digest of each day's lines as an event, and deletes old lines.

Several processes may run it at once. No decision waits for it: it reads lines in small parts, past the ORM, and hashes
them in a thread.

The store's clock may be wrong for a while. A digest with a time later than now was recorded by such a clock and does
not count: its day gets another digest once it has ended. Lines are deleted only as far as the digests have come, day by
day, so that a clock that jumps ahead can delete only lines that are due within days.
"""

import asyncio
import logging
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, tuple_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.history.daily_digests import digest_of_day, midnight
from api.store.events import SYSTEM, record
from api.store.jobs import about_every, repeat
from api.store.store import Store
from models.log.entry_states import DigestState
from models.log.events import Event
from models.log.logged_decisions import LoggedDecision
from models.vocabulary.event_kinds import EventKind

log = logging.getLogger("privacy_manager.retention")

#: The time after the end of a day before it is digested: by then each of its lines is stored, or never will be.
MARGIN: Final = timedelta(minutes=10)
#: Lines that one statement deletes.
BATCH: Final = 5_000
#: Days that one run digests at most; bounds what a clock that jumps ahead for a moment can add to the log.
MOST_DAYS: Final = 7
#: The days on which digests must have been recorded before lines are deleted by the store's time.
DAYS_WITH_DIGESTS: Final = 7
#: The oldest day that the first digest may be of, in days before yesterday.
DAYS_BACK: Final = 400
INTERVAL_SECONDS: Final = 300.0


async def digest_days(store: Store) -> int:
    """Records the digest of each day that has ended since the last one that has a digest; returns how many.

    Without any digest it begins with the first day that has lines, or with yesterday. Records at most `MOST_DAYS`.
    Raises `StoreUnreachable`.
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
            # Writers are serialized. Another process may have recorded the digest since the read above.
            if await _next_day(write.session, write.now) in (None, day):
                state = {"day": day.isoformat(), "lines": digest.lines, "sha256": digest.sha256}
                record(write, EventKind.DECISIONS_DIGESTED, SYSTEM, state)
                recorded += 1
    return recorded


async def delete_old(store: Store, days: int) -> int:
    """Deletes up to `BATCH` lines that are older than `days` days; returns how many. Raises `StoreUnreachable`.

    Deletes no line of a day after the last digested one, and none until digests were recorded on `DAYS_WITH_DIGESTS`
    days.
    """
    async with store.reading() as session:
        now = await store.now(session)
        digested_until, trusted_until = await _next_day(session, now), await _trusted_until(session, now)
    if digested_until is None or trusted_until is None:
        return 0
    last = midnight(digested_until)
    return await store.deleting(lambda now: _oldest(min(min(now, trusted_until) - timedelta(days=days), last)))


async def run_retention_job(store: Store, days: int, *, digests: bool, interval: float = INTERVAL_SECONDS) -> None:
    """Digests and deletes about every `interval` seconds, for as long as the process runs.

    Without `digests` it records digests only while there are lines. A process that finds the day digested already
    computes nothing.
    """

    async def turn() -> None:
        if digests or await _has_lines(store):
            await digest_days(store)
        await _delete_all_old(store, days)

    await repeat(turn, about_every(interval), log, "the decision log could not be looked after")


async def _delete_all_old(store: Store, days: int) -> None:
    deleted = await delete_old(store, days)
    while deleted == BATCH:
        # A pause for decisions, which write to the same table, and on SQLite wait for the same lock.
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
    """The day after the last one with a digest that counts at `now`; None before the first digest."""
    counts = Event.kind == EventKind.DECISIONS_DIGESTED, Event.at <= now
    last = (await session.exec(select(Event.state).where(*counts).order_by(col(Event.number).desc()).limit(1))).first()
    return None if last is None else DigestState.of(last).day + timedelta(days=1)


async def _first_day(session: AsyncSession, yesterday: date) -> date:
    """The day of the oldest line, at most `DAYS_BACK` before yesterday (its clock may have erred); or yesterday."""
    oldest = (await session.exec(select(LoggedDecision.at).order_by(col(LoggedDecision.at)).limit(1))).first()
    if oldest is None:
        return yesterday
    return min(yesterday, max(oldest.astimezone(UTC).date(), yesterday - timedelta(days=DAYS_BACK)))


async def _trusted_until(session: AsyncSession, now: datetime) -> datetime | None:
    """The latest store time that deletion trusts: `DAYS_WITH_DIGESTS` + 1 days after the start of the day that is the
    `DAYS_WITH_DIGESTS`-th last on which digests were recorded.

    None before there are so many such days. A correct clock is trusted up to now, whenever in the day digests come.
    """
    counts = Event.kind == EventKind.DECISIONS_DIGESTED, Event.at <= now
    newest = select(Event.at).where(*counts).order_by(col(Event.number).desc()).limit(DAYS_WITH_DIGESTS * 100)
    on_days = sorted({at.astimezone(UTC).date() for at in await session.exec(newest)})
    if len(on_days) < DAYS_WITH_DIGESTS:
        return None
    return midnight(on_days[-DAYS_WITH_DIGESTS] + timedelta(days=DAYS_WITH_DIGESTS + 1))
