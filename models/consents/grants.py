"""A grant (toestemming): a school's explicit permission, and the rules of its lifecycle.

A grant is the controller's instruction to a processor, not the data subject's consent (AVG art. 6(1)(a)).
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import JSON, Column, Index
from sqlmodel import Field, SQLModel

from models.columns import Instant, one_open_a_place
from models.consents.agreements import Agreement
from models.consents.partners import Connection
from models.decision.grant_status import Status
from models.vocabulary import purposes, scopes
from models.vocabulary.refusals import (
    InvalidInput,
    InvalidPeriod,
    PurposeNotOffered,
    RequiredScopeMissing,
    ScopeNotOffered,
    TransitionNotAllowed,
)


class Step(StrEnum):
    """Actions on a grant."""

    GRANT = "grant"
    DECLINE = "decline"
    AMEND = "amend"
    SUSPEND = "suspend"
    RESUME = "resume"
    ASK_AGAIN = "ask_again"
    REVOKE = "revoke"
    EXPIRE = "expire"


#: All transitions of a grant; others are refused.
TRANSITIONS: Final[dict[tuple[Status, Step], Status]] = {
    (Status.REQUESTED, Step.GRANT): Status.GRANTED,
    (Status.REQUESTED, Step.DECLINE): Status.DECLINED,
    (Status.GRANTED, Step.AMEND): Status.GRANTED,
    (Status.GRANTED, Step.SUSPEND): Status.SUSPENDED,
    (Status.GRANTED, Step.ASK_AGAIN): Status.NEEDS_RECONFIRMATION,
    (Status.GRANTED, Step.REVOKE): Status.REVOKED,
    (Status.GRANTED, Step.EXPIRE): Status.EXPIRED,
    (Status.SUSPENDED, Step.RESUME): Status.GRANTED,
    (Status.SUSPENDED, Step.REVOKE): Status.REVOKED,
    (Status.SUSPENDED, Step.EXPIRE): Status.EXPIRED,
    (Status.NEEDS_RECONFIRMATION, Step.AMEND): Status.GRANTED,
    (Status.NEEDS_RECONFIRMATION, Step.REVOKE): Status.REVOKED,
    (Status.NEEDS_RECONFIRMATION, Step.EXPIRE): Status.EXPIRED,
}


_OPEN_SQL: Final = "status IN ('granted', 'suspended', 'needs_reconfirmation')"


class Grant(SQLModel, table=True):
    """A school's permission for one connection, for the whole school or (`location`) for one of its locations.

    It is valid from `valid_from` (inclusive) until `valid_until` (exclusive), in the store's time.
    """

    __tablename__ = "grants"
    __table_args__ = (
        Index("ix_grants_client_id_brin", "client_id", "brin"),
        Index("ix_grants_valid_until", "valid_until"),
        Index("ix_grants_suspended_until", "suspended_until"),
        Index("ix_grants_reconfirm_by", "reconfirm_by"),
        *one_open_a_place("grants", _OPEN_SQL),
    )

    grant_id: str = Field(primary_key=True, max_length=36)
    client_id: str = Field(foreign_key="connections.client_id", max_length=64)
    brin: str = Field(foreign_key="schools.brin", index=True, max_length=4)
    location: str | None = Field(default=None, foreign_key="locations.code", max_length=6)
    scopes: list[str] = Field(sa_column=Column(JSON, nullable=False))
    purposes: list[str] = Field(sa_column=Column(JSON, nullable=False))
    status: str = Field(max_length=24)
    valid_from: datetime = Field(sa_type=Instant)
    valid_until: datetime | None = Field(default=None, sa_type=Instant)
    suspended_until: datetime | None = Field(default=None, sa_type=Instant)
    request_version: int
    #: The agreement that the school accepted when it last granted or confirmed.
    agreement_id: str | None = Field(default=None, foreign_key="agreements.agreement_id", max_length=36)
    #: Needs reconfirmation from then on, because another agreement allows more than that one.
    reconfirm_by: datetime | None = Field(default=None, sa_type=Instant)
    #: The revision of its creation: of two grants of one place, the later one counts.
    granted_at_revision: int
    version: int = 1
    revision: int = Field(index=True)
    created_at: datetime = Field(sa_type=Instant)
    changed_at: datetime = Field(sa_type=Instant)

    @property
    def place(self) -> str:
        """The location, or else the school."""
        return self.location or self.brin


@dataclass(frozen=True, slots=True)
class Choice:
    """A school's choice. Without `valid_from` it takes effect at the moment of granting."""

    scopes: frozenset[str]
    purposes: frozenset[str]
    valid_from: datetime | None
    valid_until: datetime | None


def after(status: str, step: Step) -> Status:
    """The status that `step` leads to. Raises `TransitionNotAllowed`."""
    reached = TRANSITIONS.get((Status(status), step))
    if reached is None:
        raise TransitionNotAllowed(f"A grant that is {status} cannot {step.replace('_', ' ')}.")
    return reached


def require_sound(choice: Choice, connection: Connection) -> None:
    """Raises the refusal that applies when a choice is invalid, whatever is offered.

    It needs at least one scope and purpose, all known, with all dependencies, and all scopes that the connection
    requires.
    """
    if not choice.scopes:
        raise InvalidInput("A grant names at least one scope.")
    if not choice.purposes:
        raise InvalidInput("A grant names at least one purpose.")
    scopes.require_known(choice.scopes)
    purposes.require_known(choice.purposes)
    scopes.require_dependencies(choice.scopes)
    if missing := sorted(frozenset(connection.required_scopes) - choice.scopes):
        raise RequiredScopeMissing(f"The connection cannot work without {', '.join(missing)}.")


def require_offered(choice: Choice, connection: Connection, agreement: Agreement) -> None:
    """Raises `ScopeNotOffered` or `PurposeNotOffered` when a choice exceeds the connection's request or agreement."""
    _require_within(choice.scopes, connection.requested_scopes, "The connection does not ask for", ScopeNotOffered)
    _require_within(choice.scopes, frozenset(agreement.scopes), "The agreement does not cover", ScopeNotOffered)
    _require_within(choice.purposes, frozenset(connection.purposes), "The connection does not name", PurposeNotOffered)
    _require_within(choice.purposes, frozenset(agreement.purposes), "The agreement does not name", PurposeNotOffered)


def narrows(choice: Choice, grant: Grant) -> bool:
    """Whether a choice permits no more than the grant does now, so that it need not be within an offer."""
    ends_no_later = grant.valid_until is None or (
        choice.valid_until is not None and choice.valid_until <= grant.valid_until
    )
    return (
        grant.status == Status.GRANTED
        and choice.scopes <= frozenset(grant.scopes)
        and choice.purposes <= frozenset(grant.purposes)
        and ends_no_later
    )


def period(choice: Choice, now: datetime) -> tuple[datetime, datetime | None]:
    """Start and end of a choice made at `now`; it never starts in the past. Raises `InvalidPeriod`."""
    begins = max(choice.valid_from or now, now)
    if choice.valid_until is not None and choice.valid_until <= begins:
        raise InvalidPeriod("validUntil must be later than now and later than validFrom.")
    return begins, choice.valid_until


def amended_period(choice: Choice, grant: Grant, now: datetime) -> tuple[datetime, datetime | None]:
    """The same for an existing grant; its start cannot change once it has begun. Raises `InvalidPeriod`."""
    begins = grant.valid_from
    if choice.valid_from not in (None, grant.valid_from):
        if grant.valid_from <= now:
            raise InvalidPeriod("The grant has begun: its validFrom can no longer change.")
        begins, _ = period(choice, now)
    if choice.valid_until is not None and choice.valid_until <= max(begins, now):
        raise InvalidPeriod("validUntil must be later than now and later than validFrom.")
    return begins, choice.valid_until


def _require_within(
    chosen: frozenset[str],
    allowed: frozenset[str],
    sentence: str,
    refusal: type[ScopeNotOffered] | type[PurposeNotOffered],
) -> None:
    if beyond := sorted(chosen - allowed):
        raise refusal(f"{sentence} {', '.join(beyond)}.")
