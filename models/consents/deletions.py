"""A deletion duty: what a partner received under a grant that has ended is deleted by an agreed day, and it says so.

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

#: Where no agreement says when.
UNLESS_AGREED: Final = timedelta(days=30)
#: A duty of which its partner is told later than this counts from then.
TOLD_WITHIN: Final = timedelta(days=1)


_OPEN: Final = text("confirmed_at IS NULL AND lapsed_at IS NULL")


class DutyStatus(StrEnum):
    """Where a duty stands. `lapsed`: the school permitted the same again before it was done."""

    DUE = "due"
    OVERDUE = "overdue"
    CONFIRMED = "confirmed"
    LAPSED = "lapsed"


class DeletionDuty(SQLModel, table=True):
    """The duty that comes of the end of one grant. `scopes` are what it permitted last."""

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
    #: The entry of the log in which the partner confirmed, with what it said.
    confirmed_in_entry: int | None = None
    lapsed_at: datetime | None = Field(default=None, sa_type=Instant)
    #: When the log said that it is overdue.
    overdue_told_at: datetime | None = Field(default=None, sa_type=Instant)
    revision: int = Field(index=True)

    def status_at(self, now: datetime) -> DutyStatus:
        """Where it stands at `now`. It is overdue from `due_at` on."""
        if self.confirmed_at is not None:
            return DutyStatus.CONFIRMED
        if self.lapsed_at is not None:
            return DutyStatus.LAPSED
        return DutyStatus.OVERDUE if now >= self.due_at else DutyStatus.DUE


def ended_at(grant: Grant) -> datetime | None:
    """When a grant that is written down as ended stopped to permit; None for one that never began, or has not ended."""
    if grant.status == Status.EXPIRED:
        return grant.valid_until
    if grant.status == Status.REVOKED and grant.valid_from < grant.changed_at:
        return grant.changed_at
    return None


def due_at(ended: datetime, told: datetime, retention_days: int | None) -> datetime:
    """By when what was received is deleted. No agreement keeps data for no day at all: 0 is one that does not say."""
    begins = ended if told - ended <= TOLD_WITHIN else told
    return begins + (timedelta(days=retention_days) if retention_days else UNLESS_AGREED)


def is_permitted_again(ended: Grant, opened: Sequence[Grant], now: datetime) -> bool:
    """Whether the grant that counts at the place of an ended one permits all that it did, and has begun.

    `opened` are the connection's grants of the school that are not ended. As in the decision, a location's own counts,
    and the whole school's only where there is none.
    """
    own = [grant for grant in opened if grant.location == ended.location]
    return any(
        grant.valid_from <= now
        and frozenset(ended.scopes) <= frozenset(grant.scopes)
        and frozenset(ended.purposes) <= frozenset(grant.purposes)
        for grant in own or [grant for grant in opened if grant.location is None]
    )


def require_may_confirm(duty: DeletionDuty, now: datetime) -> None:
    """Raises `TransitionNotAllowed` for a duty that is done with."""
    if (status := duty.status_at(now)) in (DutyStatus.CONFIRMED, DutyStatus.LAPSED):
        since = (duty.confirmed_at or duty.lapsed_at or now).isoformat(timespec="seconds").replace("+00:00", "Z")
        raise TransitionNotAllowed(f"The duty is {status} since {since}, and that does not change any more.")
