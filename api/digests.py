"""The digest of a day of the decision log: how it is made of the day's lines, and whether they are still those."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from sqlalchemy import inspect, literal, tuple_
from sqlalchemy import select as plain_select
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.columns import Instant
from models.decision_log import Digest, LoggedDecision, Members
from models.events import Event, EventKind

#: Lines that are read and hashed at once: more would hold up decisions.
PART: Final = 250
_DAY: Final = timedelta(days=1)


async def digest_of_day(session: AsyncSession, day: date) -> Digest:
    """The digest of the lines that were decided on this day (in UTC). They are hashed in a thread.

    Raises `ValueError` for a line that the service cannot have stored.
    """
    digest = Digest()
    async for lines in _lines_of(session, day):
        await asyncio.to_thread(digest.add, lines)
    return digest


async def decision_log_faults(session: AsyncSession, now: datetime, kept_days: int) -> list[str]:
    """What of the lines is not as the log's digests tell, a sentence for each day.

    Lines older than `kept_days` may be gone, the oldest first; of the day that they end in what is left cannot be told.
    """
    recorded = await _recorded(session, now)
    may_be_gone = now - timedelta(days=kept_days)
    found, is_one_kept = [], False
    for day, (lines, sha256) in sorted(recorded.items()):
        try:
            digest = await digest_of_day(session, day)
        except ValueError as error:
            found.append(f"The lines of the decision log of {day} cannot be read: {error}.")
            continue
        is_whole = (digest.lines, digest.sha256) == (lines, sha256)
        has_begun_to_go = _midnight(day) < may_be_gone and digest.lines < lines
        if not is_whole and (is_one_kept or not has_begun_to_go):
            found.append(_fault(day, lines, digest.lines))
        is_one_kept |= digest.lines > 0
    return found


def _fault(day: date, recorded: int, kept: int) -> str:
    if kept == recorded:
        return f"The lines of the decision log of {day} are not those of its digest."
    return f"Of {day} the decision log has {kept} lines, its digest is of {recorded}."


async def _recorded(session: AsyncSession, now: datetime) -> dict[date, tuple[int, str]]:
    """How many lines each day had, and their hash. The last digest of a day counts, of no later time than now."""
    query = select(Event.state).where(Event.kind == EventKind.DECISIONS_DIGESTED, Event.at <= now)
    states = await session.exec(query.order_by(col(Event.number)))
    return {date.fromisoformat(state["day"]): (state["lines"], state["sha256"]) for state in states}


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


async def _lines_of(session: AsyncSession, day: date) -> AsyncIterator[Sequence[Members]]:
    """The lines that were decided on this day, in order of time and then of number, some at a time."""
    begin = _midnight(day)
    at, number = col(LoggedDecision.at), col(LoggedDecision.id)
    columns = plain_select(*inspect(LoggedDecision).columns)
    query = columns.where(at < begin + _DAY).order_by(at, number).limit(PART)
    connection = await session.connection()
    lines = (await connection.execute(query.where(at >= begin))).mappings().all()
    while lines:
        yield lines
        # By this alone, so that the index is entered where the part before ended.
        behind = tuple_(at, number) > tuple_(literal(lines[-1]["at"], Instant), literal(lines[-1]["id"]))
        last = lines[-1]
        lines = (await connection.execute(query.where(behind))).mappings().all()
        if lines and (lines[0]["at"], lines[0]["id"]) <= (last["at"], last["id"]):
            # On SQLite a time is a text: one in another form has another place in the order.
            raise ValueError(f"{last['at'].isoformat()} is written in another form than the service writes")
