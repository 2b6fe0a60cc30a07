"""Deletion duties: how they come about, end, and become overdue, each time with an entry in the log.

No write waits for a duty to come about: a job finds what has ended.
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
from api.web.schemas import Moment, Said, Wire
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

#: So many are done at once, while all who write wait, and so long nobody waits in between.
BATCH: Final = 50
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
    statement: Annotated[Said, Field(description="What the partner said when it confirmed; null once that was erased.")]
    revision: int


async def views(
    session: Session, duties: Sequence[DeletionDuty], now: datetime, appended: Iterable[Event] = ()
) -> list[DutyView]:
    """The duties as they stand at `now`. `appended` are events that this write adds."""
    numbers = {duty.confirmed_in_entry for duty in duties if duty.confirmed_in_entry is not None}
    entries = await event_rows.entries(session, numbers)
    entries |= {event.number: event for event in appended}
    said = await sealing.named(session, [event.reason for event in entries.values()])
    words = {number: said.get(event.reason or "") for number, event in entries.items()}
    return [_view(duty, now, words.get(duty.confirmed_in_entry or 0)) for duty in duties]


def confirm(write: Write, duty: DeletionDuty, actor: Actor, statement: str | None) -> None:
    """The partner has deleted what it received. Raises `TransitionNotAllowed` for a duty that is done with."""
    require_may_confirm(duty, write.now)
    duty.confirmed_at, duty.confirmed_in_entry = write.now, write.next_number
    _note(write, duty, EventKind.DELETION_CONFIRMED, actor, statement)


async def lapse(write: Write, given: Grant) -> None:
    """What is permitted again need not be deleted."""
    await _lapse(write, await deletion_rows.open_ones(write.session, given.client_id, given.brin))


class KeepingDuties:
    """The job that finds which grants have ended, and which duties have become overdue."""

    def __init__(self, store: Store) -> None:
        self._store = store
        #: Up to this revision every end has its duty.
        self._seen = -1

    async def run(self) -> int:
        """Up to `BATCH` of each; returns how many. Raises `StoreUnreachable`."""
        async with self._store.reading() as session:
            now, revision = await self._store.now(session), await event_rows.revision(session)
            ended = await deletion_rows.ended_without(session, self._seen, 1)
            overdue = await deletion_rows.overdue(session, now, 1)
        if not ended and not overdue:
            self._seen = revision
            return 0
        async with self._store.writing() as write:
            grants = await deletion_rows.ended_without(write.session, self._seen, BATCH)
            await _require(write, grants)
            late = await deletion_rows.overdue(write.session, write.now, BATCH)
            # A grant that was given for later may have begun meanwhile.
            for duty in await _lapse(write, late):
                duty.overdue_told_at = write.now
                _note(write, duty, EventKind.DELETION_OVERDUE, SYSTEM)
        # In order of their revisions: what is done is not looked at again.
        self._seen = revision if len(grants) < BATCH else grants[-1].revision - 1
        return max(len(grants), len(late))

    async def keep(self, interval: float) -> None:
        """The same every `interval` seconds, for as long as the process runs."""
        # The pause lets other writers in, and on SQLite decisions.
        turn = partial(drain, self.run, BATCH, PAUSE_SECONDS)
        await repeat(turn, every(interval), log, "the deletion duties could not be looked after")


async def _require(write: Write, grants: Sequence[Grant]) -> None:
    """The duties of these ended grants, unless the same is permitted again by now."""
    session = write.session
    agreement_ids = {grant.agreement_id for grant in grants}
    found = await session.exec(select(Agreement).where(col(Agreement.agreement_id).in_(agreement_ids)))
    days = {each.agreement_id: each.retention_days for each in found}
    opened = await deletion_rows.opened_at(session, {(grant.client_id, grant.brin) for grant in grants})
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
        _note(write, duty, EventKind.DELETION_LAPSED if duty.lapsed_at else EventKind.DELETION_REQUIRED, SYSTEM)


async def _lapse(write: Write, duties: Sequence[DeletionDuty]) -> list[DeletionDuty]:
    """Ends those of these whose grant is permitted again; returns the others."""
    if not duties:
        return []
    opened = await deletion_rows.opened_at(write.session, {(duty.client_id, duty.brin) for duty in duties})
    stand: list[DeletionDuty] = []
    for duty in duties:
        ended = await write.session.get_one(Grant, duty.grant_id)
        if is_permitted_again(ended, opened.get((duty.client_id, duty.brin), ()), write.now):
            duty.lapsed_at = write.now
            _note(write, duty, EventKind.DELETION_LAPSED, SYSTEM)
        else:
            stand.append(duty)
    return stand


def _note(write: Write, duty: DeletionDuty, kind: EventKind, actor: Actor, said: str | None = None) -> None:
    duty.revision = write.revision
    write.session.add(duty)
    # Nobody's words are in the log. By its own name, since it is no entry of the grant's own history.
    state = _view(duty, write.now, None).model_dump(mode="json", by_alias=True, exclude={"statement", "grant_id"})
    state["deletionOf"] = duty.grant_id
    record(write, kind, actor, state, brin=duty.brin, client_id=duty.client_id, reason=said)


def _view(duty: DeletionDuty, now: datetime, statement: str | None) -> DutyView:
    status, columns = duty.status_at(now), duty.model_dump(exclude={"brin"})
    return DutyView(school=duty.brin, status=status, statement=statement, **columns)
