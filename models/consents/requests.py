"""A partner's request: it asks a school for what its connection needs, and the school accepts, in part, or declines.

A request permits nothing: what it leads to is a grant, by the school's own choice.
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
    """What can be done to a request."""

    CHANGE = "change"
    ACCEPT = "accept"
    ACCEPT_IN_PART = "accept_in_part"
    DECLINE = "decline"
    WITHDRAW = "withdraw"


#: The whole life of a request. What is not in this table does not happen.
TRANSITIONS: Final[dict[tuple[RequestStatus, RequestStep], RequestStatus]] = {
    (RequestStatus.OPEN, RequestStep.CHANGE): RequestStatus.OPEN,
    (RequestStatus.OPEN, RequestStep.ACCEPT): RequestStatus.ACCEPTED,
    (RequestStatus.OPEN, RequestStep.ACCEPT_IN_PART): RequestStatus.ACCEPTED_IN_PART,
    (RequestStatus.OPEN, RequestStep.DECLINE): RequestStatus.DECLINED,
    (RequestStatus.OPEN, RequestStep.WITHDRAW): RequestStatus.WITHDRAWN,
}

#: So many requests of one partner may wait for an answer of one school.
MOST_OPEN: Final = 10
#: How long a school that declined is left alone, unless the connection asks for something else by then.
ALONE_AFTER_DECLINING: Final = timedelta(days=30)

_OPEN_SQL: Final = "status = 'open'"


class AccessRequest(SQLModel, table=True):
    """What one connection asks of one school, or (`location`) of one of its locations.

    The message that goes with it, and the reason of the answer, are in the log's entries of these numbers, sealed.
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
    #: What the connection asked for then: `Connection.request_version`.
    request_version: int
    asked_in_entry: int
    answered_in_entry: int | None = None
    #: What it led to.
    grant_id: str | None = Field(default=None, foreign_key="grants.grant_id", max_length=36)
    version: int = 1
    revision: int = Field(index=True)
    created_at: datetime = Field(sa_type=Instant)
    changed_at: datetime = Field(sa_type=Instant)

    @property
    def place(self) -> str:
        """The location where there is one, else the school."""
        return self.location or self.brin

    @property
    def scopes(self) -> frozenset[str]:
        return frozenset(self.required_scopes) | frozenset(self.optional_scopes)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a partner asks for with one request: all that the connection asks for, or less of what is optional."""

    required: frozenset[str]
    optional: frozenset[str]
    purposes: frozenset[str]

    @property
    def scopes(self) -> frozenset[str]:
        return self.required | self.optional


def wish_of(connection: Connection, chosen: Sequence[str] | None, for_purposes: Sequence[str] | None) -> Wish:
    """The wish of a connection that asks for these scopes and purposes; where None, for all that it may.

    Raises the refusal that applies: it asks for what the connection stands for, and never for less than that requires.
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
    """What an open request asks for now that its connection, which asked for `before`, asks for something else.

    What is new is added and what is gone is left out; what the partner did not ask this school for stays left out.
    """
    asked = frozenset(connection.required_scopes) | (connection.requested_scopes - before.scopes)
    asked |= connection.requested_scopes & request.scopes
    if scopes.closed(asked) != asked:
        # What is new needs what was left out.
        asked = connection.requested_scopes
    purposes_asked = frozenset(connection.purposes)
    purposes_asked &= frozenset(request.purposes) | (purposes_asked - before.purposes)
    required = frozenset(connection.required_scopes)
    return Wish(required, asked - required, purposes_asked or frozenset(connection.purposes))


def require_may_ask(
    wish: Wish, grant: Grant | None, latest: AccessRequest | None, request_version: int, waiting: int, now: datetime
) -> None:
    """Raises the refusal that applies when a partner may not ask this of this place now.

    `grant` is the one of the place that was not seen to end, `latest` the last request for it, `waiting` how many
    requests of the same partner this school has not answered.
    """
    if latest is not None and latest.status == RequestStatus.OPEN:
        raise RequestExists(f"Request {latest.request_id} for the same place waits for an answer.")
    if grant is not None and status_at(grant, now) is Status.GRANTED and not lacking(wish, grant):
        raise NothingToAsk(f"Grant {grant.grant_id} permits all of it.")
    if latest is not None and latest.status == RequestStatus.DECLINED and latest.request_version == request_version:
        alone_until = latest.changed_at + ALONE_AFTER_DECLINING
        if now < alone_until:
            raise TooSoonAgain(f"The school declined: it can be asked again from {alone_until:%Y-%m-%d} on.")
    if waiting >= MOST_OPEN:
        raise TooManyOpen(f"{waiting} requests of this partner wait for this school's answer: no more than that.")


def lacking(wish: Wish, grant: Grant) -> bool:
    """Whether the grant permits less than the wish is for."""
    return bool(wish.scopes - frozenset(grant.scopes) or wish.purposes - frozenset(grant.purposes))


def acceptance(request: AccessRequest, chosen: frozenset[str], for_purposes: frozenset[str]) -> RequestStep:
    """Whether a choice is all that was asked for, or a part of it."""
    whole = request.scopes <= chosen and frozenset(request.purposes) <= for_purposes
    return RequestStep.ACCEPT if whole else RequestStep.ACCEPT_IN_PART


def after(status: str, step: RequestStep) -> RequestStatus:
    """The status that `step` leads to. Raises `TransitionNotAllowed`."""
    reached = TRANSITIONS.get((RequestStatus(status), step))
    if reached is None:
        raise TransitionNotAllowed(f"A request that is {status} can no longer be changed or answered.")
    return reached
