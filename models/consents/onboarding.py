"""Onboarding: the steps of a case from application to live, and the conditions of each step.

Steps are taken in order; each is stored with actor, time and evidence. A refused step lists its unmet conditions.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import JSON, Column, Index
from sqlmodel import Field, SQLModel

from models.columns import Instant
from models.consents.partners import VISIBLE, Connection, Stage
from models.decision.kept_rules import GroundRuleName
from models.vocabulary import purposes, scopes
from models.vocabulary.refusals import (
    BeyondApplication,
    ConnectionNotRegistered,
    ConnectionStopped,
    DocumentMissing,
    GroundRuleNotKept,
    OtherPartner,
    SignatureMissing,
    StepRefused,
    StepTooEarly,
    TransitionNotAllowed,
    Unmet,
)


class RoadStep(StrEnum):
    """Where a case is, and what was done last."""

    APPLIED = "applied"
    CONTACTED = "contacted"
    INTRODUCED = "introduced"
    AGREEMENTS_SENT = "agreements_sent"
    AGREEMENTS_RETURNED = "agreements_returned"
    BUILDING = "building"
    PLACED = "placed"
    LIVE = "live"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


#: All steps in order, without those that end a case.
ROAD: Final = tuple(step for step in RoadStep if step not in (RoadStep.REJECTED, RoadStep.WITHDRAWN))
#: Final steps of a case.
ENDED: Final = frozenset({RoadStep.REJECTED, RoadStep.WITHDRAWN})

#: The steps from which each step can be taken. Agreements may be sent again, to be completed.
TAKEN_FROM: Final[dict[RoadStep, frozenset[RoadStep]]] = {
    **{step: frozenset({before}) for before, step in pairwise(ROAD)},
    RoadStep.AGREEMENTS_SENT: frozenset({RoadStep.INTRODUCED, RoadStep.AGREEMENTS_SENT, RoadStep.AGREEMENTS_RETURNED}),
    RoadStep.REJECTED: frozenset(ROAD) - {RoadStep.LIVE},
    RoadStep.WITHDRAWN: frozenset(ROAD),
}


class Condition(StrEnum):
    """Conditions of steps."""

    STEP_BEFORE = "step_before"
    CONNECTION_REGISTERED = "connection_registered"
    SAME_PARTNER = "same_partner"
    WITHIN_APPLICATION = "within_application"
    AGREEMENT_SIGNED = "agreement_signed"
    DOCUMENT_KEPT = "document_kept"
    PRIVACYCONVENANT = "privacyconvenant"
    VERWERKERSOVEREENKOMST = "verwerkersovereenkomst"
    DOELBINDING = "doelbinding"
    KVK = "kvk"
    NOT_STOPPED = "not_stopped"


_LINKED: Final = (Condition.CONNECTION_REGISTERED, Condition.SAME_PARTNER, Condition.WITHIN_APPLICATION)
_SIGNED: Final = (*_LINKED, Condition.AGREEMENT_SIGNED, Condition.DOCUMENT_KEPT)
_RULES: Final = tuple(Condition(rule) for rule in GroundRuleName)

#: Conditions of each step besides the step before it.
CONDITIONS: Final[dict[RoadStep, tuple[Condition, ...]]] = {
    RoadStep.AGREEMENTS_SENT: _LINKED,
    RoadStep.AGREEMENTS_RETURNED: _SIGNED,
    RoadStep.BUILDING: _SIGNED,
    RoadStep.PLACED: (*_SIGNED, *_RULES, Condition.NOT_STOPPED),
    RoadStep.LIVE: (*_SIGNED, *_RULES, Condition.NOT_STOPPED),
}

#: The refusal raised for each unmet condition.
REFUSALS: Final[dict[Condition, type[StepRefused]]] = {
    Condition.STEP_BEFORE: StepTooEarly,
    Condition.CONNECTION_REGISTERED: ConnectionNotRegistered,
    Condition.SAME_PARTNER: OtherPartner,
    Condition.WITHIN_APPLICATION: BeyondApplication,
    Condition.AGREEMENT_SIGNED: SignatureMissing,
    Condition.DOCUMENT_KEPT: DocumentMissing,
    **dict.fromkeys(_RULES, GroundRuleNotKept),
    Condition.NOT_STOPPED: ConnectionStopped,
}


class Case(SQLModel, table=True):
    """One application and its latest step.

    The applicant reads it with its reference and a secret, of which only a digest is stored. `client_id` is the
    connection of the application, from the step that names one.
    """

    __tablename__ = "cases"
    __table_args__ = (Index("ix_cases_step_due_at", "step", "due_at"),)

    case_id: str = Field(primary_key=True, max_length=36)
    reference: str = Field(unique=True, max_length=16)
    secret_digest: str = Field(max_length=64)
    company_name: str = Field(max_length=200)
    kvk_number: str = Field(max_length=8)
    contact_name: str = Field(max_length=200)
    contact_email: str = Field(max_length=254)
    contact_phone: str | None = Field(default=None, max_length=40)
    product_name: str = Field(max_length=200)
    #: Requested scopes and purposes, as {scope, purpose}.
    requested: list[dict[str, str]] = Field(sa_column=Column(JSON, nullable=False))
    legal_relation: str = Field(max_length=2000)
    convenant_version: str = Field(max_length=8)
    convenant_status: str = Field(max_length=16)
    convenant_registration: str | None = Field(default=None, max_length=200)
    step: str = Field(default=RoadStep.APPLIED, max_length=24)
    client_id: str | None = Field(default=None, foreign_key="connections.client_id", index=True, max_length=64)
    #: Deadline for the partner manager's reaction; meaningless once that was given.
    due_at: datetime = Field(sa_type=Instant)
    version: int = 1
    revision: int
    created_at: datetime = Field(sa_type=Instant, index=True)
    changed_at: datetime = Field(sa_type=Instant)

    @property
    def requested_scopes(self) -> frozenset[str]:
        return frozenset(each["scope"] for each in self.requested)

    @property
    def requested_purposes(self) -> frozenset[str]:
        return frozenset(each["purpose"] for each in self.requested)


class CaseStep(SQLModel, table=True):
    """A step that was taken: its actor, time and evidence."""

    __tablename__ = "case_steps"

    case_id: str = Field(primary_key=True, foreign_key="cases.case_id", max_length=36)
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    step: str = Field(max_length=24)
    at: datetime = Field(sa_type=Instant)
    actor: str = Field(max_length=255)
    actor_role: str = Field(max_length=16)
    evidence: str | None = Field(default=None, max_length=1000)


@dataclass(frozen=True, slots=True)
class Readiness:
    """The state of a case's connection at one instant, as far as conditions depend on it."""

    connection: Connection | None
    #: Whether another case that has not ended is about the same connection.
    taken: bool
    #: Whether both parties signed an agreement, and whether a document of such an agreement is stored. To be placed, an
    #: agreement must be in force; before that, it must not have ended.
    signed: bool
    document_kept: bool
    rules_kept: frozenset[str]
    stopped: bool


def require_sound_application(requested: Iterable[Any]) -> None:
    """Raises `UnknownScope`, `UnknownPurpose` or `ScopeDependencyMissing` for an application that cannot be met."""
    wanted = [each.scope for each in requested]
    scopes.require_known(wanted)
    purposes.require_known(each.purpose for each in requested)
    scopes.require_dependencies(wanted)


def stage_after(before: RoadStep, step: RoadStep, connection: Connection) -> Stage | None:
    """The stage that a step gives the connection of the case; None for no change.

    A live connection is not placed again. A case that ends withdraws its connection only from the stage that this
    case had given it.
    """
    present = Stage(connection.stage)
    if step is RoadStep.PLACED:
        return None if present in VISIBLE else Stage.PLACED
    if step is RoadStep.LIVE:
        return None if present is Stage.LIVE else Stage.LIVE
    brought = {RoadStep.PLACED: Stage.PLACED, RoadStep.LIVE: Stage.LIVE}.get(before)
    return Stage.WITHDRAWN if step in ENDED and brought is present else None


def require_step(case: Case, step: RoadStep, ready: Readiness) -> None:
    """Raises the refusal of the first unmet condition of `step`, naming all unmet ones.

    Raises `TransitionNotAllowed` for a case that has ended.
    """
    if case.step in ENDED:
        raise TransitionNotAllowed(f"The case is {case.step}.")
    unmet = tuple(_unmet(case, step, ready))
    if unmet:
        first = unmet[0]
        raise REFUSALS[Condition(first.condition)](first.detail, unmet)


def _unmet(case: Case, step: RoadStep, ready: Readiness) -> Iterator[Unmet]:
    if case.step not in TAKEN_FROM.get(step, frozenset()):
        yield Unmet(Condition.STEP_BEFORE, _out_of_turn(case, step))
        return
    for condition in CONDITIONS.get(step, ()):
        detail = _MISSING[condition](case, ready) if condition in _MISSING else _rule_missing(condition, ready)
        if detail is not None:
            yield Unmet(condition, detail)
        if condition is Condition.CONNECTION_REGISTERED and ready.connection is None:
            return


def _out_of_turn(case: Case, step: RoadStep) -> str:
    if step in ROAD and ROAD.index(step) <= ROAD.index(RoadStep(case.step)):
        return f"The step {step} was taken already: the case is {case.step}."
    before = [earlier for earlier in RoadStep if earlier in TAKEN_FROM.get(step, frozenset())]
    return f"The step {step} comes after {' or '.join(before)}; the case is {case.step}."


def _connection_missing(case: Case, ready: Readiness) -> str | None:
    if ready.connection is None:
        return "Register the connection and name its clientId with this step."
    return f"Another case is about {ready.connection.client_id} already." if ready.taken else None


def _partner_differs(case: Case, ready: Readiness) -> str | None:
    if ready.connection is None or ready.connection.kvk_number == case.kvk_number:
        return None
    return f"The connection belongs to {ready.connection.kvk_number}, the applicant is {case.kvk_number}."


def _beyond_application(case: Case, ready: Readiness) -> str | None:
    if ready.connection is None:
        return None
    beyond = sorted(ready.connection.requested_scopes - case.requested_scopes)
    beyond += sorted(frozenset(ready.connection.purposes) - case.requested_purposes)
    return f"Not applied for: {', '.join(beyond)}." if beyond else None


def _rule_missing(rule: str, ready: Readiness) -> str | None:
    return None if rule in ready.rules_kept else f"The ground rule {rule} is not shown to be kept now."


def _unsigned(_: Case, ready: Readiness) -> str | None:
    return None if ready.signed else "No agreement that both parties have signed is on record."


def _document_missing(_: Case, ready: Readiness) -> str | None:
    return None if ready.document_kept else "The signed document of the agreement has not been handed in."


def _stopped(_: Case, ready: Readiness) -> str | None:
    return "An emergency stop is in force." if ready.stopped else None


_MISSING: Final[dict[Condition, Callable[[Case, Readiness], str | None]]] = {
    Condition.CONNECTION_REGISTERED: _connection_missing,
    Condition.SAME_PARTNER: _partner_differs,
    Condition.WITHIN_APPLICATION: _beyond_application,
    Condition.AGREEMENT_SIGNED: _unsigned,
    Condition.DOCUMENT_KEPT: _document_missing,
    Condition.NOT_STOPPED: _stopped,
}
