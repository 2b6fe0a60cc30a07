"""The job that writes the weekly letters to schools, connections and operators that have anything to be reminded of.

Every letter is an entry of the log, so that webhooks carry it and the log proves that a partner was reminded.
"""

import logging
import uuid
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, or_
from sqlalchemy import select as plain_select
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.queries import deletion_rows, due_rows, registry_rows
from api.queries.past_events import read_rows
from api.reminders.due_routes import DueItem, DueKind, checks
from api.store.events import SYSTEM, record
from api.store.jobs import drain, every, repeat
from api.store.store import Store, Write
from models.consents.deletions import DeletionDuty
from models.consents.grants import Grant
from models.consents.reminders import (
    AHEAD,
    DELETE_AHEAD,
    MOST_NAMED,
    Contact,
    Letter,
    LetterSubject,
    Mail,
    Named,
    Part,
    Recipient,
    week_of,
    written,
    year_to_confirm,
)
from models.decision.grant_status import OPEN, Status
from models.vocabulary.event_kinds import EventKind

log = logging.getLogger("privacy_manager.reminding")

#: Recipients in one turn, and so letters in one transaction.
BATCH: Final = 25
INTERVAL_SECONDS: Final = 300.0
PAUSE_SECONDS: Final = 0.05

_RULES: Final = {
    DueKind.GROUND_RULE_CHECK: LetterSubject.GROUND_RULE_CHECK,
    DueKind.GROUND_RULE_END: LetterSubject.GROUND_RULE_END,
}


class LettersJob:
    """Writes the letters of the week in batches. `operator` is an e-mail address; `mails` says whether mail is sent."""

    def __init__(self, store: Store, operator: str = "", *, mails: bool = False) -> None:
        self._store = store
        self._operator = operator
        self._mails = mails
        self._week: date | None = None
        #: The last recipient of each kind that this process has handled this week; None once all are done.
        self._after: dict[Recipient, str | None] = {}

    async def run(self) -> int:
        """Handles up to `BATCH` recipients; returns how many. Raises `StoreUnreachable`."""
        drafts: list[Letter] = []
        async with self._store.reading() as session:
            now = await self._store.now(session)
            if self._week != week_of(now):
                self._week, self._after = week_of(now), dict.fromkeys(Recipient, "")
            for kind, after in self._after.items():
                if after is not None:
                    found = await _recipients(session, kind, after, now)
                    drafts = await self._drafts(session, kind, found, now)
                    break
            else:
                return 0
        # Letters were drafted in the read before, since no other write can run during this one.
        if drafts:
            async with self._store.writing() as write:
                for draft in await _without_letter(write, kind, drafts):
                    _write(write, draft)
        more = len(found) == BATCH and kind is not Recipient.OPERATOR
        self._after[kind] = found[-1] if more else None
        return max(len(found), 1)

    async def run_every(self, interval: float = INTERVAL_SECONDS) -> None:
        """Runs all batches every `interval` seconds, for as long as the process runs."""
        # The pauses spread the cost of many letters, so that decisions are not delayed.
        turn = partial(drain, self.run, 1, PAUSE_SECONDS)
        await repeat(turn, every(interval), log, "the reminders could not be written")

    async def _drafts(
        self, session: AsyncSession, kind: Recipient, recipients: Iterable[str], now: datetime
    ) -> list[Letter]:
        """The letters to the recipients for whom there is anything to be reminded of."""
        known = await due_rows.ground_rules_in_force(session) if kind is not Recipient.SCHOOL else ()
        rules = list(checks(known, now, now + AHEAD))
        drafts: list[Letter] = []
        for recipient in recipients:
            parts = written(await _parts(session, kind, recipient, rules, now))
            if parts:
                has_address = self._mails and await address_of(session, kind, recipient, self._operator) is not None
                drafts.append(_draft(kind, recipient, parts, now, has_address=has_address))
        return drafts


def _draft(kind: Recipient, recipient: str, parts: list[dict[str, Any]], now: datetime, *, has_address: bool) -> Letter:
    return Letter(
        letter_id=str(uuid.uuid4()),
        kind=kind,
        recipient=recipient,
        week=week_of(now),
        parts=parts,
        made_at=now,
        mail=Mail.WAITING if has_address else Mail.NONE,
        next_at=now if has_address else None,
    )


def _write(write: Write, letter: Letter) -> None:
    write.session.add(letter)
    letter_state = {"letterId": letter.letter_id, "recipient": letter.kind, "week": letter.week.isoformat()}
    brin = letter.recipient if letter.kind == Recipient.SCHOOL else None
    client_id = letter.recipient if letter.kind == Recipient.CONNECTION else None
    state = {**letter_state, "parts": letter.parts}
    record(write, EventKind.REMINDER_GIVEN, SYSTEM, state, brin=brin, client_id=client_id)


async def address_of(session: AsyncSession, kind: str, recipient: str, operator: str) -> str | None:
    """The address of a recipient's letters: the one that it set; for a connection else that of its application."""
    if kind == Recipient.OPERATOR:
        return operator or None
    contact = await session.get(Contact, (kind, recipient))
    if contact is not None:
        return contact.email
    return await due_rows.applicant_address(session, recipient) if kind == Recipient.CONNECTION else None


async def _without_letter(write: Write, kind: Recipient, drafts: Sequence[Letter]) -> list[Letter]:
    """The drafts whose recipients have no letter of this week yet: another process may have written it."""
    query = select(Letter.recipient).where(Letter.kind == kind, Letter.week == drafts[0].week)
    reminded = set(
        await write.session.exec(query.where(col(Letter.recipient).in_([each.recipient for each in drafts])))
    )
    return [draft for draft in drafts if draft.recipient not in reminded]


# -- recipients and parts of letters ----------------------------------------------------------------------------------


async def _recipients(session: AsyncSession, kind: Recipient, after: str, now: datetime) -> list[str]:
    """The next `BATCH` recipients after `after`, in order, that may have anything to be reminded of."""
    if kind is Recipient.OPERATOR:
        return [""]
    if kind is Recipient.CONNECTION:
        return [each.client_id for each in (await registry_rows.connections(session, after, BATCH))[:BATCH]]
    brins: set[str] = set()
    for query, brin in (
        *(
            (select(Grant.brin).where(condition), col(Grant.brin))
            for _, condition, _ in _grant_subjects(now, year_to_confirm(now))
        ),
        (select(DeletionDuty.brin).where(_overdue(now)), col(DeletionDuty.brin)),
    ):
        brins.update(await session.exec(query.where(brin > after).distinct().order_by(brin).limit(BATCH)))
    return sorted(brins)[:BATCH]


async def _parts(
    session: AsyncSession, kind: Recipient, recipient: str, rules: Sequence[DueItem], now: datetime
) -> Sequence[Part]:
    if kind is Recipient.SCHOOL:
        own, owed = col(Grant.brin) == recipient, col(DeletionDuty.brin) == recipient
        return [
            *await _grants(session, own, now, year_to_confirm(now)),
            await _duties(session, LetterSubject.DELETION_OVERDUE, and_(owed, _overdue(now))),
        ]
    if kind is Recipient.OPERATOR:
        return [*_rules(rules), await _duties(session, LetterSubject.DELETION_OVERDUE, _overdue(now))]
    own, owed = col(Grant.client_id) == recipient, col(DeletionDuty.client_id) == recipient
    return [
        *_rules(each for each in rules if each.client_id == recipient),
        *await _grants(session, own, now, None),
        await _duties(session, LetterSubject.DELETION_DUE, and_(owed, _due_soon(now))),
        await _duties(session, LetterSubject.DELETION_OVERDUE, and_(owed, _overdue(now))),
    ]


def _grant_subjects(
    now: datetime, year_start: datetime | None
) -> list[tuple[LetterSubject, ColumnElement[bool], ColumnElement[Any]]]:
    """The subjects about grants at `now`: each with its condition, and the column by which its grants are sorted.

    `year_start` is the start of the school year to confirm; None leaves that subject out.
    """
    valid_until, reconfirm_by = col(Grant.valid_until), col(Grant.reconfirm_by)
    is_open = and_(col(Grant.status).in_(OPEN), or_(valid_until.is_(None), valid_until > now))
    is_asked = or_(col(Grant.status) == Status.NEEDS_RECONFIRMATION, reconfirm_by <= now + AHEAD)
    subjects = [
        (LetterSubject.GRANT_ENDS, and_(is_open, valid_until <= now + AHEAD), valid_until),
        (LetterSubject.NEEDS_RECONFIRMATION, and_(is_open, is_asked), reconfirm_by),
    ]
    if year_start is not None:
        unchanged = and_(is_open, col(Grant.changed_at) < year_start)
        subjects.append((LetterSubject.SCHOOL_YEAR, unchanged, col(Grant.changed_at)))
    return subjects  # type: ignore[return-value]


async def _grants(
    session: AsyncSession, own: ColumnElement[bool], now: datetime, year_start: datetime | None
) -> list[Part]:
    parts = []
    for subject, condition, at in _grant_subjects(now, year_start):
        columns = (Grant.grant_id, Grant.client_id, func.coalesce(Grant.location, Grant.brin), at)
        parts.append(await _part(session, subject, columns, and_(own, condition)))
    return parts


async def _duties(session: AsyncSession, subject: LetterSubject, condition: ColumnElement[bool]) -> Part:
    place = func.coalesce(DeletionDuty.location, DeletionDuty.brin)
    columns = (DeletionDuty.grant_id, DeletionDuty.client_id, place, DeletionDuty.due_at)
    return await _part(session, subject, columns, condition)


async def _part(session: AsyncSession, subject: LetterSubject, columns: Any, condition: ColumnElement[bool]) -> Part:
    query = plain_select(*columns, func.count().over()).where(condition).order_by(columns[3], columns[0])
    found: Sequence[Any] = await read_rows(session, query.limit(MOST_NAMED))
    return Part(subject, found[0][4] if found else 0, [Named(row[0], row[1], row[2], row[3]) for row in found])


def _rules(items: Iterable[DueItem]) -> list[Part]:
    named: dict[LetterSubject, list[Named]] = {}
    for item in sorted(items, key=lambda item: item.key):
        named.setdefault(_RULES[item.kind], []).append(Named(item.id, item.client_id, None, item.due_at))
    return [Part(subject, len(things), things[:MOST_NAMED]) for subject, things in sorted(named.items())]


def _overdue(now: datetime) -> ColumnElement[bool]:
    return and_(deletion_rows.is_open(), col(DeletionDuty.due_at) <= now)


def _due_soon(now: datetime) -> ColumnElement[bool]:
    return and_(deletion_rows.is_open(), col(DeletionDuty.due_at).between(now, now + DELETE_AHEAD))
