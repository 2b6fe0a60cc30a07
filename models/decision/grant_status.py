"""The status of a grant at an instant. Times count at once, not only when a job has written the new status."""

from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol


class Status(StrEnum):
    """Where a grant stands."""

    REQUESTED = "requested"
    DECLINED = "declined"
    GRANTED = "granted"
    SUSPENDED = "suspended"
    NEEDS_RECONFIRMATION = "needs_reconfirmation"
    REVOKED = "revoked"
    EXPIRED = "expired"


#: Statuses of grants that are not ended: at most one such grant per connection and place.
OPEN: Final = frozenset({Status.GRANTED, Status.SUSPENDED, Status.NEEDS_RECONFIRMATION})


#: Statuses of grants that never permitted anything; decisions ignore them.
NOT_YET: Final = frozenset({Status.REQUESTED, Status.DECLINED})


# A dict, since calling the class is many times slower and every decision does it.
_BY_VALUE: Final = {status.value: status for status in Status}


class StatusFacts(Protocol):
    """The members of a grant that determine its status: of a row, or of the facts in a snapshot."""

    @property
    def status(self) -> str: ...
    @property
    def valid_until(self) -> datetime | None: ...
    @property
    def suspended_until(self) -> datetime | None: ...
    @property
    def reconfirm_by(self) -> datetime | None: ...


def status_at(grant: StatusFacts, now: datetime) -> Status:
    """The status of a grant at `now`, whether or not a job has already written a change by time."""
    status = _BY_VALUE[grant.status]
    if grant.valid_until is not None and now >= grant.valid_until and status in OPEN:
        return Status.EXPIRED
    if status is Status.SUSPENDED and grant.suspended_until is not None and now >= grant.suspended_until:
        status = Status.GRANTED
    if status is Status.GRANTED and grant.reconfirm_by is not None and now >= grant.reconfirm_by:
        return Status.NEEDS_RECONFIRMATION
    return status
