"""Deletion duties: a partner deletes what it received under an ended grant by an agreed day, and confirms it.

The verwerkersovereenkomst says how many days after the end (AVG art. 28(3)(g)).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import JSON, Column, Index, text
from sqlmodel import Field, SQLModel

from models.columns import Instant
from models.consents.grants import Grant
from models.decision.grant_status import Status
from models.vocabulary.refusals import TransitionNotAllowed

#: Term when no agreement sets one.
DEFAULT_TERM: Final = timedelta(days=30)
#: The term runs from the end of the grant; from the notice to the partner, where that comes later than this.
LATEST_NOTICE: Final = timedelta(days=1)


_OPEN: Final = text("confirmed_at IS NULL AND lapsed_at IS NULL")


class DutyStatus(StrEnum):
    """Where a duty stands. `lapsed`: the school permitted the same again before it was done."""

    DUE = "due"
    OVERDUE = "overdue"
    CONFIRMED = "confirmed"
    LAPSED = "lapsed"


class DeletionDuty(SQLModel, table=True):
    """The duty that follows from the end of one grant. `scopes` are those of the grant at its end."""

    __tablename__ = "deletion_duties"
    __table_args__ = (
        Index("ix_deletion_duties_client_id_brin", "client_id", "brin"),
        Index("ix_deletion_duties_open_due_at", "due_at", postgresql_where=_OPEN, sqlite_where=_OPEN),
        Index("ix_deletion_duties_open_brin", "brin", "due_at", postgresql_where=_OPEN, sqlite_where=_OPEN),
    )

    grant_id: str = Field(foreign_key="grants.grant_id", primary_key=True, max_length=36)
    client_id: str = Field(foreign_key="connections.client_id", max_length=64)
    brin: str = Field(foreign_key="schools.brin", index=True, max_length=4)
    location: str | None = Field(default=None, max_length=6)
    scopes: list[str] = Field(sa_column=Column(JSON, nullable=False))
    ended_at: datetime = Field(sa_type=Instant)
    due_at: datetime = Field(sa_type=Instant)
    confirmed_at: datetime | None = Field(default=None, sa_type=Instant)
    #: Entry of the log with the partner's confirmation and its text.
    confirmed_in_entry: int | None = None
    lapsed_at: datetime | None = Field(default=None, sa_type=Instant)
    #: When the event that it is overdue was logged.
    overdue_told_at: datetime | None = Field(default=None, sa_type=Instant)
    revision: int = Field(index=True)

    def status_at(self, now: datetime) -> DutyStatus:
        """The status at `now`. A duty is overdue from `due_at` on."""
        if self.confirmed_at is not None:
            return DutyStatus.CONFIRMED
        if self.lapsed_at is not None:
            return DutyStatus.LAPSED
        return DutyStatus.OVERDUE if now >= self.due_at else DutyStatus.DUE


def ended_at(grant: Grant) -> datetime | None:
    """When a grant with a final status ceased to permit; None if it never began, or has not ended."""
    if grant.status == Status.EXPIRED:
        return grant.valid_until
    if grant.status == Status.REVOKED and grant.valid_from < grant.changed_at:
        return grant.changed_at
    return None


def due_at(ended: datetime, notified: datetime, retention_days: int | None) -> datetime:
    """The deadline for deletion. Retention of 0 days stands for an agreement that does not say."""
    begins = ended if notified - ended <= LATEST_NOTICE else notified
    return begins + (timedelta(days=retention_days) if retention_days else DEFAULT_TERM)


def is_permitted_again(ended: Grant, opened: Sequence[Grant], now: datetime) -> bool:
    """Whether the grant that counts at the place of an ended one has begun and permits all that it did.

    `opened` are the connection's grants of the school that are not ended. As in the decision, a location's own grant
    counts, and the whole school's only where there is none.
    """
    own = [grant for grant in opened if grant.location == ended.location]
    return any(
        grant.valid_from <= now
        and frozenset(ended.scopes) <= frozenset(grant.scopes)
        and frozenset(ended.purposes) <= frozenset(grant.purposes)
        for grant in own or [grant for grant in opened if grant.location is None]
    )


def require_may_confirm(duty: DeletionDuty, now: datetime) -> None:
    """Raises `TransitionNotAllowed` for a duty that is confirmed or lapsed."""
    if (status := duty.status_at(now)) in (DutyStatus.CONFIRMED, DutyStatus.LAPSED):
        since = (duty.confirmed_at or duty.lapsed_at or now).isoformat(timespec="seconds").replace("+00:00", "Z")
        raise TransitionNotAllowed(f"The duty is {status} since {since}, and that does not change any more.")
