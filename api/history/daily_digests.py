"""Daily digests of the decision log: computing the digest of a day's lines, and verifying the lines against it."""

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
from models.log.entry_states import DigestState, StateInvalid
from models.log.events import Event
from models.log.log_entries import TAMPERING_ERRORS
from models.log.logged_decisions import LoggedDecision
from models.vocabulary.event_kinds import EventKind

#: Lines that are read and hashed at once; more would delay decisions.
PART: Final = 250
#: The time after the end of a day within which it gets its digest, measured to the log's last entry.
DIGESTED_WITHIN: Final = timedelta(days=2)
_DAY: Final = timedelta(days=1)


async def digest_of_day(session: AsyncSession, day: date) -> Digest:
    """The digest of the lines of a day (in UTC), hashed in a thread.

    Raises one of `TAMPERING_ERRORS` for a line that the service cannot have stored.
    """
    digest = Digest()
    async for lines in _lines_of(session, day):
        await asyncio.to_thread(digest.add, lines)
    return digest


@dataclass(frozen=True, slots=True)
class _DayLines:
    """The lines of a day with a digest: the number `recorded` in the digest, and the number `kept` in the store.

    `is_whole` says that they match the digest; lines before the instant `may_be_gone` may have been deleted.
    """

    day: date
    recorded: int
    kept: int
    is_whole: bool
    may_be_gone: datetime

    @property
    def may_be_partly_deleted(self) -> bool:
        return midnight(self.day) < self.may_be_gone and self.kept < self.recorded


async def decision_log_faults(store: Store, kept_days: int) -> AsyncIterator[str]:
    """Verifies the stored lines against the log's digests; yields the faults as sentences. Raises `StoreUnreachable`.

    Lines older than `kept_days` may have been deleted, the oldest first; the day at which deletion has arrived cannot
    be verified.
    """
    async with store.reading() as session:
        recorded, faults = await _recorded_digests(session, await store.now(session))
        undigested = await _undigested_faults(session, recorded)
    for sentence in (*faults, *undigested):
        yield sentence
    days: list[_DayLines] = []
    # One short transaction a day, the newest day first. Deletion goes from old to new: while an earlier day still has
    # lines, none of a later day, which was read before, can have been deleted.
    for day in sorted(recorded, reverse=True):
        try:
            days.append(await _lines_of_day(store, day, *recorded[day], timedelta(days=kept_days)))
        except TAMPERING_ERRORS as error:
            yield f"The lines of the decision log of {day} cannot be read: {error}."
    for sentence in _faults_of_days(sorted(days, key=lambda each: each.day), kept_days):
        yield sentence


async def _lines_of_day(store: Store, day: date, lines: int, sha256: str, kept_for: timedelta) -> _DayLines:
    async with store.reading() as session:
        may_be_gone = await store.now(session) - kept_for
        digest = await digest_of_day(session, day)
        return _DayLines(day, lines, digest.lines, (digest.lines, digest.sha256) == (lines, sha256), may_be_gone)


def _faults_of_days(days: Sequence[_DayLines], kept_days: int) -> list[str]:
    """The faults of the days, which are sorted: days whose lines are gone too early, and days that differ."""
    first = next((index for index, each in enumerate(days) if each.kept), len(days))
    gone = [each for each in days[:first] if each.recorded and not each.may_be_partly_deleted]
    sentences = []
    if gone:
        many = sum(each.recorded for each in gone)
        sentences.append(
            f"From {gone[0].day} to {gone[-1].day} the decision log has none of {many} lines, which are kept for"
            f" {kept_days} days."
        )
    for index, each in enumerate(days[first:]):
        if not each.is_whole and (index > 0 or not each.may_be_partly_deleted):
            sentences.append(_fault_of_day(each))
    return sentences


def _fault_of_day(each: _DayLines) -> str:
    if each.kept == each.recorded:
        return f"The lines of the decision log of {each.day} are not those of its digest."
    return f"Of {each.day} the decision log has {each.kept} lines, its digest is of {each.recorded}."


async def _recorded_digests(session: AsyncSession, now: datetime) -> tuple[dict[date, tuple[int, str]], list[str]]:
    """The recorded number of lines and SHA-256 of each day, and the faults of digests themselves.

    The last digest of a day counts. Digests with a time later than `now` do not: a clock that was ahead recorded them.
    """
    query = select(Event.number, Event.state).where(Event.kind == EventKind.DECISIONS_DIGESTED, Event.at <= now)
    recorded, faults = {}, []
    for number, state in await session.exec(query.order_by(col(Event.number))):
        try:
            digest = DigestState.of(state)
            has_ended = digest.day < now.astimezone(UTC).date()
        except StateInvalid:
            has_ended = False
        if has_ended:
            recorded[digest.day] = digest.lines, digest.sha256
        else:
            faults.append(f"Entry {number} says what no digest of a day could.")
    return recorded, faults


async def _undigested_faults(session: AsyncSession, recorded: dict[date, tuple[int, str]]) -> list[str]:
    """Faults of lines that lie in days without a digest, though one is due.

    A digest is due by the time of the log's own last entry, so that an old backup has no fault for being old.
    """
    last = (await session.exec(select(func.max(Event.at)))).one()
    if last is None:
        return []
    at, sentences = col(LoggedDecision.at), []
    end = midnight((last - DIGESTED_WITHIN).astimezone(UTC).date())
    is_undigested = at < end
    if recorded:
        first = min(recorded)
        before = await _count(session, at < midnight(first))
        if before:
            sentences.append(f"Before {first}, the first day that has a digest, the decision log has {before} lines.")
        is_undigested &= at >= midnight(max(recorded)) + _DAY
    late = await _count(session, is_undigested)
    if late:
        sentences.append(f"Before {end.date()} the decision log has {late} lines of days that have no digest.")
    return sentences


async def _count(session: AsyncSession, condition: ColumnElement[bool]) -> int:
    return (await session.exec(select(func.count()).select_from(LoggedDecision).where(condition))).one()


def midnight(day: date) -> datetime:
    """The instant at which a day of the decision log begins, in UTC."""
    return datetime.combine(day, time(), UTC)


async def _lines_of(session: AsyncSession, day: date) -> AsyncIterator[Sequence[Members]]:
    """The lines of a day, in order of time and then number, in parts of at most `PART`."""
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
        # This condition alone, so that the index scan begins where the last part ended.
        after_last = tuple_(at, number) > tuple_(literal(lines[-1]["at"], Instant), literal(lines[-1]["id"]))
        lines = (await connection.execute(query.where(after_last))).mappings().all()


def _last_in_order(lines: Sequence[Members], before: tuple[datetime, int], end: datetime) -> tuple[datetime, int]:
    """The time and number of the last line. Raises `ValueError` for lines that are not in order.

    On SQLite a time is a text: one in another form than the service's sorts elsewhere, and the lines after it would be
    read again and again.
    """
    for line in lines:
        position = line["at"], line["id"]
        if not before < position or not line["at"] < end:
            raise ValueError(f"line {line['id']} has its time in another form than the service writes")
        before = position
    return before
