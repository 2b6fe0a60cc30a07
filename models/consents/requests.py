"""Access requests: a partner asks a school for what its connection needs; the school accepts, in part, or declines.

A request permits nothing. It leads to a grant by the school's own choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import JSON, Column, Index
from sqlmodel import Field, SQLModel

from models.columns import Instant, one_open_a_place
from models.consents.grants import Grant
from models.consents.partners import Connection
from models.decision.grant_status import Status, status_at
from models.vocabulary import purposes, scopes
from models.vocabulary.refusals import (
    InvalidInput,
    NothingToAsk,
    PurposeNotOffered,
    RequestExists,
    RequiredScopeMissing,
    ScopeNotOffered,
    TooManyOpen,
    TooSoonAgain,
    TransitionNotAllowed,
)


class RequestStatus(StrEnum):
    """Where a request stands. Only one that is open can still be answered."""

    OPEN = "open"
    ACCEPTED = "accepted"
    ACCEPTED_IN_PART = "accepted_in_part"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"


class RequestStep(StrEnum):
    """Actions on a request."""

    CHANGE = "change"
    ACCEPT = "accept"
    ACCEPT_IN_PART = "accept_in_part"
    DECLINE = "decline"
    WITHDRAW = "withdraw"


#: All transitions of a request; others are refused.
TRANSITIONS: Final[dict[tuple[RequestStatus, RequestStep], RequestStatus]] = {
    (RequestStatus.OPEN, RequestStep.CHANGE): RequestStatus.OPEN,
    (RequestStatus.OPEN, RequestStep.ACCEPT): RequestStatus.ACCEPTED,
    (RequestStatus.OPEN, RequestStep.ACCEPT_IN_PART): RequestStatus.ACCEPTED_IN_PART,
    (RequestStatus.OPEN, RequestStep.DECLINE): RequestStatus.DECLINED,
    (RequestStatus.OPEN, RequestStep.WITHDRAW): RequestStatus.WITHDRAWN,
}

#: Open requests of one partner at one school.
MOST_OPEN: Final = 10
#: Time in which a school that declined is not asked again, unless the connection's request changes meanwhile.
ALONE_AFTER_DECLINING: Final = timedelta(days=30)

_OPEN_SQL: Final = "status = 'open'"


class AccessRequest(SQLModel, table=True):
    """A request of one connection to one school, or (`location`) for one of its locations.

    The partner's message and the reason of the answer are sealed in the log's entries with these numbers.
    """

    __tablename__ = "access_requests"
    __table_args__ = (
        Index("ix_access_requests_client_id_brin", "client_id", "brin"),
        *one_open_a_place("access_requests", _OPEN_SQL),
    )

    request_id: str = Field(primary_key=True, max_length=36)
    client_id: str = Field(foreign_key="connections.client_id", max_length=64)
    brin: str = Field(foreign_key="schools.brin", index=True, max_length=4)
    location: str | None = Field(default=None, foreign_key="locations.code", max_length=6)
    required_scopes: list[str] = Field(sa_column=Column(JSON, nullable=False))
    optional_scopes: list[str] = Field(sa_column=Column(JSON, nullable=False))
    purposes: list[str] = Field(sa_column=Column(JSON, nullable=False))
    status: str = Field(max_length=20)
    #: `Connection.request_version` at the time of the request.
    request_version: int
    asked_in_entry: int
    answered_in_entry: int | None = None
    #: The grant that it led to.
    grant_id: str | None = Field(default=None, foreign_key="grants.grant_id", max_length=36)
    version: int = 1
    revision: int = Field(index=True)
    created_at: datetime = Field(sa_type=Instant)
    changed_at: datetime = Field(sa_type=Instant)

    @property
    def place(self) -> str:
        """The location, or else the school."""
        return self.location or self.brin

    @property
    def scopes(self) -> frozenset[str]:
        return frozenset(self.required_scopes) | frozenset(self.optional_scopes)


@dataclass(frozen=True, slots=True)
class Wish:
    """The content of a request: all that the connection requests, or fewer of its optional scopes."""

    required: frozenset[str]
    optional: frozenset[str]
    purposes: frozenset[str]

    @property
    def scopes(self) -> frozenset[str]:
        return self.required | self.optional


def wish_of(connection: Connection, chosen: Sequence[str] | None, for_purposes: Sequence[str] | None) -> Wish:
    """The content of a request with these scopes and purposes; None stands for all that the connection requests.

    Raises the refusal that applies: a request stays within the connection's and includes its required scopes.
    """
    required = frozenset(connection.required_scopes)
    asked = connection.requested_scopes if chosen is None else frozenset(chosen)
    purposes_asked = frozenset(connection.purposes if for_purposes is None else for_purposes)
    if not purposes_asked:
        raise InvalidInput("A request names at least one purpose.")
    scopes.require_known(asked)
    purposes.require_known(purposes_asked)
    if missing := sorted(required - asked):
        raise RequiredScopeMissing(f"The connection cannot work without {', '.join(missing)}.")
    if beyond := sorted(asked - connection.requested_scopes):
        raise ScopeNotOffered(f"The connection is not registered for {', '.join(beyond)}.")
    if beyond := sorted(purposes_asked - frozenset(connection.purposes)):
        raise PurposeNotOffered(f"The connection is not registered for {', '.join(beyond)}.")
    scopes.require_dependencies(asked)
    return Wish(required, asked - required, purposes_asked)


def wish_after_change(request: AccessRequest, before: Wish, connection: Connection) -> Wish:
    """The content of an open request after the request of its connection changed from `before`.

    New scopes and purposes are added, dropped ones removed; those that the partner left out stay left out.
    """
    asked = frozenset(connection.required_scopes) | (connection.requested_scopes - before.scopes)
    asked |= connection.requested_scopes & request.scopes
    if scopes.closed(asked) != asked:
        # A new scope depends on one that was left out.
        asked = connection.requested_scopes
    purposes_asked = frozenset(connection.purposes)
    purposes_asked &= frozenset(request.purposes) | (purposes_asked - before.purposes)
    required = frozenset(connection.required_scopes)
    return Wish(required, asked - required, purposes_asked or frozenset(connection.purposes))


def require_may_ask(
    wish: Wish, grant: Grant | None, latest: AccessRequest | None, request_version: int, waiting: int, now: datetime
) -> None:
    """Raises the refusal that applies when a partner may not make this request now.

    `grant` is the grant of this place that has not ended, `latest` the last request for it, `waiting` the number of
    requests of the same partner that this school has not answered.
    """
    if latest is not None and latest.status == RequestStatus.OPEN:
        raise RequestExists(f"Request {latest.request_id} for the same place waits for an answer.")
    if grant is not None and status_at(grant, now) is Status.GRANTED and not exceeds(wish, grant):
        raise NothingToAsk(f"Grant {grant.grant_id} permits all of it.")
    if latest is not None and latest.status == RequestStatus.DECLINED and latest.request_version == request_version:
        alone_until = latest.changed_at + ALONE_AFTER_DECLINING
        if now < alone_until:
            raise TooSoonAgain(f"The school declined: it can be asked again from {alone_until:%Y-%m-%d} on.")
    if waiting >= MOST_OPEN:
        raise TooManyOpen(f"{waiting} requests of this partner wait for this school's answer: no more than that.")


def exceeds(wish: Wish, grant: Grant) -> bool:
    """Whether the grant permits less than the request asks for."""
    return bool(wish.scopes - frozenset(grant.scopes) or wish.purposes - frozenset(grant.purposes))


def acceptance(request: AccessRequest, chosen: frozenset[str], for_purposes: frozenset[str]) -> RequestStep:
    """Whether a choice grants all that was requested, or a part of it."""
    whole = request.scopes <= chosen and frozenset(request.purposes) <= for_purposes
    return RequestStep.ACCEPT if whole else RequestStep.ACCEPT_IN_PART


def after(status: str, step: RequestStep) -> RequestStatus:
    """The status that `step` leads to. Raises `TransitionNotAllowed`."""
    reached = TRANSITIONS.get((RequestStatus(status), step))
    if reached is None:
        raise TransitionNotAllowed(f"A request that is {status} can no longer be changed or answered.")
    return reached
