"""The digest of a day of the decision log: how it is made of the day's lines, and whether they are still those."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from sqlalchemy import ColumnElement, func, inspect, literal, tuple_
from sqlalchemy import select as plain_select
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.store.store import Store
from models.columns import Instant
from models.decision.decision_log import Digest, Members
from models.log.events import Event
from models.log.log_entries import NO_SENSE
from models.log.logged_decisions import LoggedDecision
from models.vocabulary.event_kinds import EventKind

#: Lines that are read and hashed at once: more would hold up decisions.
PART: Final = 250
#: A day that ended so long before the log's last entry has a digest.
DIGESTED_WITHIN: Final = timedelta(days=2)
_DAY: Final = timedelta(days=1)


async def digest_of_day(session: AsyncSession, day: date) -> Digest:
    """The digest of the lines that were decided on this day (in UTC). They are hashed in a thread.

    Raises one of `NO_SENSE` for a line that the service cannot have stored.
    """
    digest = Digest()
    async for lines in _lines_of(session, day):
        await asyncio.to_thread(digest.add, lines)
    return digest


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is there of a day that has a digest."""

    day: date
    recorded: int
    kept: int
    is_whole: bool
    may_be_gone: datetime

    @property
    def may_have_begun_to_go(self) -> bool:
        return midnight(self.day) < self.may_be_gone and self.kept < self.recorded


async def decision_log_faults(store: Store, kept_days: int) -> AsyncIterator[str]:
    """What of the lines is not as the log's digests tell, in sentences. Raises `StoreUnreachable`.

    Lines older than `kept_days` may be gone, the oldest first; of the day that they end in what is left cannot be told.
    """
    async with store.reading() as session:
        recorded, senseless = await _recorded(session, await store.now(session))
        undigested = await _undigested(session, recorded)
    for sentence in (*senseless, *undigested):
        yield sentence
    found: list[_Kept] = []
    # Each day in a transaction of its own, which holds up nobody, and the newest first: of a later day that was read
    # before lines were deleted, none can have been deleted while an earlier one has some.
    for day in sorted(recorded, reverse=True):
        try:
            found.append(await _kept(store, day, *recorded[day], timedelta(days=kept_days)))
        except NO_SENSE as error:
            yield f"The lines of the decision log of {day} cannot be read: {error}."
    for sentence in _differences(sorted(found, key=lambda each: each.day), kept_days):
        yield sentence


async def _kept(store: Store, day: date, lines: int, sha256: str, kept_for: timedelta) -> _Kept:
    async with store.reading() as session:
        may_be_gone = await store.now(session) - kept_for
        digest = await digest_of_day(session, day)
        return _Kept(day, lines, digest.lines, (digest.lines, digest.sha256) == (lines, sha256), may_be_gone)


def _differences(found: Sequence[_Kept], kept_days: int) -> list[str]:
    """`found` is in order of the days."""
    first = next((index for index, each in enumerate(found) if each.kept), len(found))
    gone = [each for each in found[:first] if each.recorded and not each.may_have_begun_to_go]
    sentences = []
    if gone:
        many = sum(each.recorded for each in gone)
        sentences.append(
            f"From {gone[0].day} to {gone[-1].day} the decision log has none of {many} lines, which are kept for"
            f" {kept_days} days."
        )
    for index, each in enumerate(found[first:]):
        if not each.is_whole and (index > 0 or not each.may_have_begun_to_go):
            sentences.append(_difference(each))
    return sentences


def _difference(each: _Kept) -> str:
    if each.kept == each.recorded:
        return f"The lines of the decision log of {each.day} are not those of its digest."
    return f"Of {each.day} the decision log has {each.kept} lines, its digest is of {each.recorded}."


async def _recorded(session: AsyncSession, now: datetime) -> tuple[dict[date, tuple[int, str]], list[str]]:
    """How many lines each day had, and their hash; and what is wrong with digests.

    The last digest of a day counts, of no later time than now: another was recorded by a clock that was ahead.
    """
    query = select(Event.number, Event.state).where(Event.kind == EventKind.DECISIONS_DIGESTED, Event.at <= now)
    recorded, senseless = {}, []
    for number, state in await session.exec(query.order_by(col(Event.number))):
        try:
            day, digest = date.fromisoformat(state["day"]), (int(state["lines"]), str(state["sha256"]))
            has_ended = day < now.astimezone(UTC).date()
        except NO_SENSE:
            has_ended = False
        if has_ended:
            recorded[day] = digest
        else:
            senseless.append(f"Entry {number} says what no digest of a day could.")
    return recorded, senseless


async def _undigested(session: AsyncSession, recorded: dict[date, tuple[int, str]]) -> list[str]:
    """Lines that should be in a digest, and are of a day that has none.

    What is late counts by the log's own last entry: a backup that is looked at a year later is not late.
    """
    last = (await session.exec(select(func.max(Event.at)))).one()
    if last is None:
        return []
    at, sentences = col(LoggedDecision.at), []
    end = midnight((last - DIGESTED_WITHIN).astimezone(UTC).date())
    behind = at < end
    if recorded:
        first = min(recorded)
        before = await _counted(session, at < midnight(first))
        if before:
            sentences.append(f"Before {first}, the first day that has a digest, the decision log has {before} lines.")
        behind &= at >= midnight(max(recorded)) + _DAY
    late = await _counted(session, behind)
    if late:
        sentences.append(f"Before {end.date()} the decision log has {late} lines of days that have no digest.")
    return sentences


async def _counted(session: AsyncSession, condition: ColumnElement[bool]) -> int:
    return (await session.exec(select(func.count()).select_from(LoggedDecision).where(condition))).one()


def midnight(day: date) -> datetime:
    """When a day of the decision log begins, in UTC."""
    return datetime.combine(day, time(), UTC)


async def _lines_of(session: AsyncSession, day: date) -> AsyncIterator[Sequence[Members]]:
    """The lines that were decided on this day, in order of time and then of number, some at a time."""
    begin = midnight(day)
    end = begin + _DAY
    at, number = col(LoggedDecision.at), col(LoggedDecision.id)
    columns = plain_select(*inspect(LoggedDecision).columns)
    query = columns.where(at < end).order_by(at, number).limit(PART)
    connection = await session.connection()
    lines = (await connection.execute(query.where(at >= begin))).mappings().all()
    last = begin, 0
    while lines:
        last = _last_in_order(lines, last, end)
        yield lines
        # By this alone, so that the index is entered where the part before ended.
        behind = tuple_(at, number) > tuple_(literal(lines[-1]["at"], Instant), literal(lines[-1]["id"]))
        lines = (await connection.execute(query.where(behind))).mappings().all()


def _last_in_order(lines: Sequence[Members], before: tuple[datetime, int], end: datetime) -> tuple[datetime, int]:
    """Where these lines end. Raises `ValueError` where they are not in order.

    On SQLite a time is a text: what is written in another form than the service's has another place in the order, and
    the lines behind it would be read again and again.
    """
    for line in lines:
        here = line["at"], line["id"]
        if not before < here or not line["at"] < end:
            raise ValueError(f"line {line['id']} has its time in another form than the service writes")
        before = here
    return before
