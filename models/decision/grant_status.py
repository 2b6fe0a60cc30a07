"""Where a grant stands at an instant: what ends by time has ended, whether or not a job has written it down."""

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


#: A grant that is not ended: at most one a connection and place.
OPEN: Final = frozenset({Status.GRANTED, Status.SUSPENDED, Status.NEEDS_RECONFIRMATION})


#: Never was a permission: no decision looks at it.
NOT_YET: Final = frozenset({Status.REQUESTED, Status.DECLINED})


# A look-up, since calling the class is many times slower, and decisions do it most.
_BY_VALUE: Final = {status.value: status for status in Status}


class Standing(Protocol):
    """What tells where a grant stands: a row, or the same facts in a snapshot."""

    @property
    def status(self) -> str: ...
    @property
    def valid_until(self) -> datetime | None: ...
    @property
    def suspended_until(self) -> datetime | None: ...
    @property
    def reconfirm_by(self) -> datetime | None: ...


def status_at(grant: Standing, now: datetime) -> Status:
    """Where a grant stands at `now`: what ends by time has ended, whether or not a job has written it down."""
    stands = _BY_VALUE[grant.status]
    if grant.valid_until is not None and now >= grant.valid_until and stands in OPEN:
        return Status.EXPIRED
    if stands is Status.SUSPENDED and grant.suspended_until is not None and now >= grant.suspended_until:
        stands = Status.GRANTED
    if stands is Status.GRANTED and grant.reconfirm_by is not None and now >= grant.reconfirm_by:
        return Status.NEEDS_RECONFIRMATION
    return stands
