"""Deletion duties: a partner must delete what it received once a grant has ended. Each change of a duty is an event.

A job creates the duties of ended grants and marks overdue ones, so that no other write waits for it.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Final

from pydantic import Field
from sqlmodel import col, select

from api.queries import deletion_rows, event_rows
from api.queries.session import Session
from api.security import sealing
from api.store.events import SYSTEM, Actor, record
from api.store.jobs import drain, every, repeat
from api.store.store import Store, Write
from api.web.schemas import Moment, Wire
from models.consents.agreements import Agreement
from models.consents.deletions import (
    DeletionDuty,
    DutyStatus,
    due_at,
    ended_at,
    is_permitted_again,
    require_may_confirm,
)
from models.consents.grants import Grant
from models.log.events import Event
from models.vocabulary.event_kinds import EventKind

log = logging.getLogger("privacy_manager.duties")

#: Grants and duties in one transaction, for which all other writers wait.
BATCH: Final = 50
#: Seconds between two such transactions, in which other writers get the lock.
PAUSE_SECONDS: Final = 0.2


class DutyView(Wire):
    """What a partner has to delete, by when, and how that stands. `scopes` are what the grant permitted last."""

    grant_id: str
    school: str
    location: str | None
    client_id: str
    scopes: list[str]
    ended_at: Moment
    due_at: Moment
    status: DutyStatus
    confirmed_at: Moment | None
    statement: Annotated[
        str | None, Field(description="What the partner said when it confirmed; null once that was erased.")
    ]
    revision: int


async def views(
    session: Session, duties: Sequence[DeletionDuty], now: datetime, appended: Iterable[Event] = ()
) -> list[DutyView]:
    """The views of the duties at `now`. `appended` are events of this write, which the store does not hold yet."""
    numbers = {duty.confirmed_in_entry for duty in duties if duty.confirmed_in_entry is not None}
    entries = await event_rows.entries(session, numbers)
    texts = await sealing.named(session, [event.reason for event in entries.values()])
    statements = {number: texts.get(event.reason or "") for number, event in entries.items()}
    # As typed: the text becomes a commitment when it is appended, and may only look like one until then.
    statements |= {event.number: event.reason for event in appended}
    return [_view(duty, now, statements.get(duty.confirmed_in_entry or 0)) for duty in duties]


def confirm(write: Write, duty: DeletionDuty, actor: Actor, statement: str | None) -> None:
    """Notes the partner's statement that it has deleted the data. Raises `TransitionNotAllowed` for an ended duty."""
    require_may_confirm(duty, write.now)
    duty.confirmed_at, duty.confirmed_in_entry = write.now, write.next_number
    _record_change(write, duty, EventKind.DELETION_CONFIRMED, actor, statement)


async def lapse(write: Write, grant: Grant) -> None:
    """Ends the open duties of data that the new or amended grant permits again."""
    await _lapse(write, await deletion_rows.open_duties(write.session, grant.client_id, grant.brin))


class DutyJob:
    """The job that creates the duties of grants that have ended, and marks the duties that have become overdue."""

    def __init__(self, store: Store) -> None:
        self._store = store
        #: The revision up to which every ended grant has its duty.
        self._seen = -1

    async def run(self) -> int:
        """Handles up to `BATCH` ended grants and as many overdue duties; returns the larger number of the two.

        Raises `StoreUnreachable`.
        """
        async with self._store.reading() as session:
            now, revision = await self._store.now(session), await event_rows.revision(session)
            ended = await deletion_rows.ended_without_duty(session, self._seen, 1)
            overdue = await deletion_rows.overdue(session, now, 1)
        if not ended and not overdue:
            self._seen = revision
            return 0
        async with self._store.writing() as write:
            grants = await deletion_rows.ended_without_duty(write.session, self._seen, BATCH)
            await _create(write, grants)
            late = await deletion_rows.overdue(write.session, write.now, BATCH)
            # A grant that was given for a later period may have begun meanwhile, and permits the data again.
            for duty in await _lapse(write, late):
                duty.overdue_told_at = write.now
                _record_change(write, duty, EventKind.DELETION_OVERDUE, SYSTEM)
        # Grants come in order of their revisions: the next run begins where this one ended.
        self._seen = revision if len(grants) < BATCH else grants[-1].revision - 1
        return max(len(grants), len(late))

    async def run_every(self, interval: float) -> None:
        """Runs all batches every `interval` seconds, for as long as the process runs."""
        # In the pauses other writers get the lock, and on SQLite decisions.
        turn = partial(drain, self.run, BATCH, PAUSE_SECONDS)
        await repeat(turn, every(interval), log, "the deletion duties could not be looked after")


async def _create(write: Write, grants: Sequence[Grant]) -> None:
    """Creates the duty of each ended grant; one whose data another grant permits again by now lapses at once."""
    session = write.session
    agreement_ids = {grant.agreement_id for grant in grants}
    found = await session.exec(select(Agreement).where(col(Agreement.agreement_id).in_(agreement_ids)))
    days = {each.agreement_id: each.retention_days for each in found}
    opened = await deletion_rows.open_grants_of(session, {(grant.client_id, grant.brin) for grant in grants})
    for grant in grants:
        ended = ended_at(grant)
        if ended is None:
            continue
        duty = DeletionDuty(
            **grant.model_dump(include={"grant_id", "client_id", "brin", "location", "scopes"}),
            ended_at=ended,
            due_at=due_at(ended, write.now, days.get(grant.agreement_id or "")),
            revision=write.revision,
        )
        if is_permitted_again(grant, opened.get((grant.client_id, grant.brin), ()), write.now):
            duty.lapsed_at = write.now
        _record_change(
            write, duty, EventKind.DELETION_LAPSED if duty.lapsed_at else EventKind.DELETION_REQUIRED, SYSTEM
        )


async def _lapse(write: Write, duties: Sequence[DeletionDuty]) -> list[DeletionDuty]:
    """Ends the duties whose data a grant permits again; returns the others."""
    if not duties:
        return []
    opened = await deletion_rows.open_grants_of(write.session, {(duty.client_id, duty.brin) for duty in duties})
    remaining: list[DeletionDuty] = []
    for duty in duties:
        ended = await write.session.get_one(Grant, duty.grant_id)
        if is_permitted_again(ended, opened.get((duty.client_id, duty.brin), ()), write.now):
            duty.lapsed_at = write.now
            _record_change(write, duty, EventKind.DELETION_LAPSED, SYSTEM)
        else:
            remaining.append(duty)
    return remaining


def _record_change(write: Write, duty: DeletionDuty, kind: EventKind, actor: Actor, text: str | None = None) -> None:
    duty.revision = write.revision
    write.session.add(duty)
    # Free text stays out of the log. The member is not `grantId`, since the entry is not of the grant's own history.
    state = _view(duty, write.now, None).model_dump(mode="json", by_alias=True, exclude={"statement", "grant_id"})
    state["deletionOf"] = duty.grant_id
    record(write, kind, actor, state, brin=duty.brin, client_id=duty.client_id, reason=text)


def _view(duty: DeletionDuty, now: datetime, statement: str | None) -> DutyView:
    status, columns = duty.status_at(now), duty.model_dump(exclude={"brin"})
    return DutyView(school=duty.brin, status=status, statement=statement, **columns)
