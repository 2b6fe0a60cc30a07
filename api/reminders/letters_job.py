"""The job that writes each week's letters: to schools, connections and operators, where there is anything to say.

Every letter is an entry of the log, so that webhooks carry it, and it can be shown that a partner was told.
"""

import asyncio
import logging
import uuid
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, or_
from sqlalchemy import select as plain_select
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.queries import deletion_rows, due_rows, registry_rows
from api.queries.past_events import read_rows
from api.reminders.due_routes import DueItem, DueKind, checks
from api.store.events import SYSTEM, record
from api.store.outage import StoreUnreachable
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

#: Letters that are written at once.
BATCH: Final = 25
INTERVAL_SECONDS: Final = 300.0
PAUSE_SECONDS: Final = 0.05

_RULES: Final = {
    DueKind.GROUND_RULE_CHECK: LetterSubject.GROUND_RULE_CHECK,
    DueKind.GROUND_RULE_END: LetterSubject.GROUND_RULE_END,
}


class Reminding:
    """Writes the letters of the week, some at a time. `operator` is an address; `mails`: whether e-mail is sent."""

    def __init__(self, store: Store, operator: str = "", *, mails: bool = False) -> None:
        self._store = store
        self._operator = operator
        self._mails = mails
        self._week: date | None = None
        #: Up to whom this process has looked in this week; None where all are done.
        self._after: dict[Recipient, str | None] = {}

    async def run(self) -> int:
        """Looks at up to `BATCH` recipients; returns how many. Raises `StoreUnreachable`."""
        drafts: list[Letter] = []
        async with self._store.reading() as session:
            now = await self._store.now(session)
            if self._week != week_of(now):
                self._week, self._after = week_of(now), dict.fromkeys(Recipient, "")
            for kind, after in self._after.items():
                if after is not None:
                    found = await _whom(session, kind, after, now)
                    drafts = await self._drafted(session, kind, found, now)
                    break
            else:
                return 0
        # What there is to say was read before: while a letter is written, nobody else can write.
        if drafts:
            async with self._store.writing() as write:
                for draft in await _without_letter(write, kind, drafts):
                    _write(write, draft)
        more = len(found) == BATCH and kind is not Recipient.OPERATOR
        self._after[kind] = found[-1] if more else None
        return max(len(found), 1)

    async def keep(self, interval: float = INTERVAL_SECONDS) -> None:
        """The same for as long as the process runs, about every `interval` seconds. Several processes may do so."""
        while True:
            await asyncio.sleep(interval)
            try:
                # What many letters cost is spread: decisions go before them.
                while await self.run():  # noqa: ASYNC110 - there is nothing that would tell of the next
                    await asyncio.sleep(PAUSE_SECONDS)
            except StoreUnreachable as error:
                log.warning("the store did not answer: %s", error)
            except Exception:
                log.exception("the reminders could not be written")

    async def _drafted(
        self, session: AsyncSession, kind: Recipient, recipients: Iterable[str], now: datetime
    ) -> list[Letter]:
        """The letters to those of these to whom there is anything to say."""
        known = await due_rows.ground_rules_in_force(session) if kind is not Recipient.SCHOOL else ()
        rules = list(checks(known, now, now + AHEAD))
        drafts: list[Letter] = []
        for recipient in recipients:
            parts = written(await _parts(session, kind, recipient, rules, now))
            if parts:
                reached = self._mails and await address_of(session, kind, recipient, self._operator) is not None
                drafts.append(_draft(kind, recipient, parts, now, reached=reached))
        return drafts


def _draft(kind: Recipient, recipient: str, parts: list[dict[str, Any]], now: datetime, *, reached: bool) -> Letter:
    return Letter(
        letter_id=str(uuid.uuid4()),
        kind=kind,
        recipient=recipient,
        week=week_of(now),
        parts=parts,
        made_at=now,
        mail=Mail.WAITING if reached else Mail.NONE,
        next_at=now if reached else None,
    )


def _write(write: Write, letter: Letter) -> None:
    write.session.add(letter)
    told = {"letterId": letter.letter_id, "recipient": letter.kind, "week": letter.week.isoformat()}
    brin = letter.recipient if letter.kind == Recipient.SCHOOL else None
    client_id = letter.recipient if letter.kind == Recipient.CONNECTION else None
    state = {**told, "parts": letter.parts}
    record(write, EventKind.REMINDER_GIVEN, SYSTEM, state, brin=brin, client_id=client_id)


async def address_of(session: AsyncSession, kind: str, recipient: str, operator: str) -> str | None:
    """Where a letter goes: the address that was given; of a connection also the one of its application."""
    if kind == Recipient.OPERATOR:
        return operator or None
    contact = await session.get(Contact, (kind, recipient))
    if contact is not None:
        return contact.email
    return await due_rows.address_applied_with(session, recipient) if kind == Recipient.CONNECTION else None


async def _without_letter(write: Write, kind: Recipient, drafts: Sequence[Letter]) -> list[Letter]:
    """Another process may have been here."""
    query = select(Letter.recipient).where(Letter.kind == kind, Letter.week == drafts[0].week)
    had = set(await write.session.exec(query.where(col(Letter.recipient).in_([each.recipient for each in drafts]))))
    return [draft for draft in drafts if draft.recipient not in had]


# -- whom, and of what ------------------------------------------------------------------------------------------------


async def _whom(session: AsyncSession, kind: Recipient, after: str, now: datetime) -> list[str]:
    """The next to whom there may be anything to say, in order."""
    if kind is Recipient.OPERATOR:
        return [""]
    if kind is Recipient.CONNECTION:
        return [each.client_id for each in (await registry_rows.connections(session, after, BATCH))[:BATCH]]
    brins: set[str] = set()
    for query, brin in (
        *((select(Grant.brin).where(said), col(Grant.brin)) for _, said, _ in _of_grants(now, year_to_confirm(now))),
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


def _of_grants(
    now: datetime, begun: datetime | None
) -> list[tuple[LetterSubject, ColumnElement[bool], ColumnElement[Any]]]:
    """Of which grants something is said at `now`, and by which moment they are told in order."""
    valid_until, reconfirm_by = col(Grant.valid_until), col(Grant.reconfirm_by)
    is_open = and_(col(Grant.status).in_(OPEN), or_(valid_until.is_(None), valid_until > now))
    asked = or_(col(Grant.status) == Status.NEEDS_RECONFIRMATION, reconfirm_by <= now + AHEAD)
    said = [
        (LetterSubject.GRANT_ENDS, and_(is_open, valid_until <= now + AHEAD), valid_until),
        (LetterSubject.NEEDS_RECONFIRMATION, and_(is_open, asked), reconfirm_by),
    ]
    if begun is not None:
        unlooked = and_(is_open, col(Grant.changed_at) < begun)
        said.append((LetterSubject.SCHOOL_YEAR, unlooked, col(Grant.changed_at)))
    return said  # type: ignore[return-value]


async def _grants(
    session: AsyncSession, whose: ColumnElement[bool], now: datetime, begun: datetime | None
) -> list[Part]:
    parts = []
    for subject, said, at in _of_grants(now, begun):
        columns = (Grant.grant_id, Grant.client_id, func.coalesce(Grant.location, Grant.brin), at)
        parts.append(await _part(session, subject, columns, and_(whose, said)))
    return parts


async def _duties(session: AsyncSession, subject: LetterSubject, which: ColumnElement[bool]) -> Part:
    place = func.coalesce(DeletionDuty.location, DeletionDuty.brin)
    columns = (DeletionDuty.grant_id, DeletionDuty.client_id, place, DeletionDuty.due_at)
    return await _part(session, subject, columns, which)


async def _part(session: AsyncSession, subject: LetterSubject, columns: Any, which: ColumnElement[bool]) -> Part:
    query = plain_select(*columns, func.count().over()).where(which).order_by(columns[3], columns[0])
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
