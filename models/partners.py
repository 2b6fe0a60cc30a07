"""The register of those who may be given access: partners, their connections, agreements and ground rules."""

from collections.abc import Iterable
from datetime import date, datetime
from enum import StrEnum
from typing import Final, Protocol, TypeVar

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel

from models import purposes, scopes
from models.columns import Instant
from models.refusals import InvalidInput, InvalidPeriod


class RecipientRole(StrEnum):
    """What the partner is under the AVG when it receives the data (art. 4(8) or 4(7))."""

    PROCESSOR = "processor"
    CONTROLLER = "controller"


class GroundRuleName(StrEnum):
    """The four ground rules that a connection must keep."""

    CONVENANT = "privacyconvenant"
    AGREEMENT = "verwerkersovereenkomst"
    PURPOSE = "doelbinding"
    KVK = "kvk"


ALL_RULES: Final = frozenset(GroundRuleName)


class Partner(SQLModel, table=True):
    """A company, by its KvK number. A takeover is another KvK number, hence another partner."""

    __tablename__ = "partners"

    kvk_number: str = Field(primary_key=True, max_length=8)
    name: str = Field(max_length=200)
    version: int = 1
    revision: int
    created_at: datetime = Field(sa_type=Instant)
    changed_at: datetime = Field(sa_type=Instant)


class Connection(SQLModel, table=True):
    """One application or leermiddel of a partner: what a school consents to.

    `request_version` counts how often the request was widened; a grant remembers the one it was given for.
    """

    __tablename__ = "connections"

    client_id: str = Field(primary_key=True, max_length=64)
    kvk_number: str = Field(foreign_key="partners.kvk_number", index=True, max_length=8)
    name: str = Field(max_length=200)
    profile: str = Field(max_length=40)
    recipient_role: str = Field(max_length=12)
    required_scopes: list[str] = Field(sa_column=Column(JSON, nullable=False))
    optional_scopes: list[str] = Field(sa_column=Column(JSON, nullable=False))
    purposes: list[str] = Field(sa_column=Column(JSON, nullable=False))
    request_version: int = 1
    version: int = 1
    revision: int = Field(index=True)
    created_at: datetime = Field(sa_type=Instant)
    changed_at: datetime = Field(sa_type=Instant)

    @property
    def requested_scopes(self) -> frozenset[str]:
        return frozenset(self.required_scopes) | frozenset(self.optional_scopes)


class Agreement(SQLModel, table=True):
    """A signed verwerkersovereenkomst with its privacybijsluiter, in one version.

    `board_number` names the board that signed it for its schools; without one it holds for every school that
    has none of its own. Of those in force, the one that was registered last counts.
    """

    __tablename__ = "agreements"

    agreement_id: str = Field(primary_key=True, max_length=36)
    client_id: str = Field(foreign_key="connections.client_id", index=True, max_length=64)
    board_number: str | None = Field(default=None, foreign_key="boards.number", max_length=5)
    agreement_version: str = Field(max_length=40)
    privacybijsluiter_version: str = Field(max_length=40)
    scopes: list[str] = Field(sa_column=Column(JSON, nullable=False))
    purposes: list[str] = Field(sa_column=Column(JSON, nullable=False))
    signed_on: date
    valid_from: datetime = Field(sa_type=Instant)
    valid_until: datetime | None = Field(default=None, sa_type=Instant)
    registered_at_revision: int
    #: Ended by an operator: holds at no instant any more, wherever the clock goes.
    ended: bool = False
    revision: int = Field(index=True)
    created_at: datetime = Field(sa_type=Instant)


class GroundRule(SQLModel, table=True):
    """A dated fact: this connection keeps this rule from `valid_from` (inclusive) until `valid_until` (exclusive).

    Facts of one rule add up; a rule that is withdrawn ends at that instant and stays on record.
    """

    __tablename__ = "ground_rules"

    ground_rule_id: str = Field(primary_key=True, max_length=36)
    client_id: str = Field(foreign_key="connections.client_id", index=True, max_length=64)
    rule: str = Field(max_length=24)
    evidence: str = Field(max_length=500)
    source: str = Field(max_length=200)
    valid_from: datetime = Field(sa_type=Instant)
    valid_until: datetime | None = Field(default=None, sa_type=Instant)
    checked_by: str = Field(max_length=255)
    #: Withdrawn by an operator: holds at no instant any more, wherever the clock goes.
    ended: bool = False
    revision: int = Field(index=True)
    created_at: datetime = Field(sa_type=Instant)


def require_sound_request(profile: str, required: Iterable[str], optional: Iterable[str]) -> None:
    """Raises `InvalidInput` when a connection's request can never be granted as it stands.

    The scopes must be known, within the profile and apart; the required ones must stand on their own, and each
    optional one must find what it needs among all that is requested.
    """
    needed, extra = frozenset(required), frozenset(optional)
    if not needed | extra:
        raise InvalidInput("A connection asks for at least one scope.")
    scopes.require_known([*needed, *extra])
    within = scopes.CATALOGUE.profiles.get(profile)
    if within is None:
        known = ", ".join(sorted(scopes.CATALOGUE.profiles))
        raise InvalidInput(f"The profile {profile!r} is not known; there are {known}.")
    if outside := sorted((needed | extra) - within):
        raise InvalidInput(f"Not part of the profile {profile}: {', '.join(outside)}.")
    if both := sorted(needed & extra):
        raise InvalidInput(f"Required and optional at once: {', '.join(both)}.")
    scopes.require_dependencies(needed)
    scopes.require_dependencies(needed | extra)


def require_sound_agreement(scope_names: Iterable[str], purpose_codes: Iterable[str]) -> None:
    """Raises `InvalidInput` when an agreement names what the catalogue or the list of purposes doesn't know."""
    scopes.require_known(scope_names)
    purposes.require_known(purpose_codes)


def require_period(valid_from: datetime, valid_until: datetime | None) -> None:
    """Raises `InvalidPeriod` when a period would end before it begins."""
    if valid_until is not None and valid_until <= valid_from:
        raise InvalidPeriod("validUntil must be later than validFrom.")


def is_widened(
    before: Connection, required: frozenset[str], optional: frozenset[str], for_purposes: frozenset[str]
) -> bool:
    """Whether a new request asks for anything that the one before did not, or insists where it left a choice."""
    return bool(
        (required | optional) - before.requested_scopes
        or required - frozenset(before.required_scopes)
        or for_purposes - frozenset(before.purposes)
    )


class Dated(Protocol):
    """Anything that holds from an instant (inclusive) until another (exclusive), unless it was ended before."""

    @property
    def ended(self) -> bool: ...
    @property
    def valid_from(self) -> datetime: ...
    @property
    def valid_until(self) -> datetime | None: ...


class RuleKept(Dated, Protocol):
    @property
    def rule(self) -> str: ...


class Signed(Dated, Protocol):
    @property
    def board_number(self) -> str | None: ...
    @property
    def registered_at_revision(self) -> int: ...


SomeAgreement = TypeVar("SomeAgreement", bound=Signed)


def holds(fact: Dated, now: datetime) -> bool:
    """Whether `now` lies within the fact's period."""
    return not fact.ended and fact.valid_from <= now and (fact.valid_until is None or now < fact.valid_until)


def rules_kept(facts: Iterable[RuleKept], now: datetime) -> frozenset[str]:
    """The ground rules that at least one of `facts` shows to be kept at `now`."""
    return frozenset(fact.rule for fact in facts if holds(fact, now))


def agreement_in_force(
    agreements: Iterable[SomeAgreement], board_number: str | None, now: datetime
) -> SomeAgreement | None:
    """The agreement that counts at `now` for a board's schools: its own before the general one, then the latest."""
    best: SomeAgreement | None = None
    for agreement in agreements:
        if agreement.board_number not in (None, board_number) or not holds(agreement, now):
            continue
        if best is None or _precedence(agreement) > _precedence(best):
            best = agreement
    return best


def _precedence(agreement: Signed) -> tuple[bool, int]:
    return agreement.board_number is not None, agreement.registered_at_revision
