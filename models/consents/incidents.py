"""Incidents: disruptions that partners report once they are live, and how the platform's consultants handle them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import median
from typing import Final

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from models.columns import Instant
from models.vocabulary.refusals import TransitionNotAllowed

#: Term for notifying the schools, from the moment that a breach is suspected.
NOTICE: Final = timedelta(hours=24)
#: Entries after which an incident takes no more comments.
MOST_ENTRIES: Final = 500


class Severity(StrEnum):
    """How badly a disruption hurts, the worst first."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class IncidentStatus(StrEnum):
    OPEN = "open"
    TAKEN = "taken"
    ANSWERED = "answered"
    RESOLVED = "resolved"
    REOPENED = "reopened"


class IncidentStep(StrEnum):
    """What can be done to an incident."""

    OPEN = "open"
    COMMENT = "comment"
    TAKE = "take"
    ANSWER = "answer"
    RESOLVE = "resolve"
    REOPEN = "reopen"
    SUSPECT_BREACH = "suspect_breach"
    GIVE_NOTICE = "give_notice"
    ATTACH = "attach"


_S, _T = IncidentStatus, IncidentStep

#: Transitions by steps that change the status; other steps leave it as it is.
TRANSITIONS: Final[dict[tuple[IncidentStatus, IncidentStep], IncidentStatus]] = {
    (_S.OPEN, _T.TAKE): _S.TAKEN,
    (_S.REOPENED, _T.TAKE): _S.TAKEN,
    (_S.TAKEN, _T.TAKE): _S.TAKEN,
    (_S.ANSWERED, _T.TAKE): _S.ANSWERED,
    (_S.OPEN, _T.ANSWER): _S.ANSWERED,
    (_S.TAKEN, _T.ANSWER): _S.ANSWERED,
    (_S.REOPENED, _T.ANSWER): _S.ANSWERED,
    (_S.ANSWERED, _T.ANSWER): _S.ANSWERED,
    (_S.TAKEN, _T.RESOLVE): _S.RESOLVED,
    (_S.ANSWERED, _T.RESOLVE): _S.RESOLVED,
    (_S.RESOLVED, _T.REOPEN): _S.REOPENED,
}
MOVING: Final = frozenset(step for _, step in TRANSITIONS)


class Incident(SQLModel, table=True):
    """One disruption of one connection. `notice_due_at`: deadline for notifying the schools of a suspected breach."""

    __tablename__ = "incidents"
    __table_args__ = (Index("ix_incidents_status", "status"),)

    incident_id: str = Field(primary_key=True, max_length=36)
    client_id: str = Field(foreign_key="connections.client_id", index=True, max_length=64)
    title: str = Field(max_length=200)
    description: str = Field(max_length=4000)
    severity: str = Field(max_length=12)
    status: str = Field(default=IncidentStatus.OPEN, max_length=12)
    #: The consultant who took it last.
    assignee: str | None = Field(default=None, max_length=255)
    first_answered_at: datetime | None = Field(default=None, sa_type=Instant)
    resolved_at: datetime | None = Field(default=None, sa_type=Instant)
    breach_suspected_at: datetime | None = Field(default=None, sa_type=Instant)
    notice_due_at: datetime | None = Field(default=None, sa_type=Instant)
    notified_at: datetime | None = Field(default=None, sa_type=Instant)
    entries: int = 0
    version: int = 1
    revision: int
    created_at: datetime = Field(sa_type=Instant)
    changed_at: datetime = Field(sa_type=Instant)


class IncidentEntry(SQLModel, table=True):
    """One entry of an incident: a step, with its text, actor and time."""

    __tablename__ = "incident_entries"

    incident_id: str = Field(primary_key=True, foreign_key="incidents.incident_id", max_length=36)
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    step: str = Field(max_length=16)
    at: datetime = Field(sa_type=Instant)
    actor: str = Field(max_length=255)
    actor_role: str = Field(max_length=16)
    text: str | None = Field(default=None, max_length=4000)


@dataclass(frozen=True, slots=True)
class Times:
    """Durations in seconds over `count` incidents."""

    count: int
    median: float | None
    longest: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one severity: open incidents, and the durations until first answers and solutions."""

    severity: Severity
    open: int
    unanswered: int
    oldest_open_since: datetime | None
    first_answer: Times
    solution: Times


def move(incident: Incident, step: IncidentStep, actor: str, now: datetime) -> None:
    """Takes a step that changes the status. Raises `TransitionNotAllowed`."""
    reached = TRANSITIONS.get((IncidentStatus(incident.status), step))
    if reached is None:
        raise TransitionNotAllowed(f"An incident that is {incident.status} cannot be dealt with so: {step}.")
    incident.status = reached
    if step is IncidentStep.TAKE:
        incident.assignee = actor
    if step in (IncidentStep.ANSWER, IncidentStep.RESOLVE) and incident.first_answered_at is None:
        # Resolving counts as an answer.
        incident.first_answered_at = now
    incident.resolved_at = now if reached is IncidentStatus.RESOLVED else None


def suspect_breach(incident: Incident, now: datetime) -> None:
    """Starts the term of the notice. Raises `TransitionNotAllowed` when it runs already."""
    if incident.breach_suspected_at is not None:
        raise TransitionNotAllowed("A breach is suspected already.")
    incident.breach_suspected_at = now
    incident.notice_due_at = now + NOTICE


def give_notice(incident: Incident, now: datetime) -> None:
    """Records that the schools were notified, which ends the term. Raises `TransitionNotAllowed`."""
    if incident.breach_suspected_at is None:
        raise TransitionNotAllowed("No breach is suspected.")
    if incident.notified_at is not None:
        raise TransitionNotAllowed("The notice was given already.")
    incident.notified_at = now


def figures(incidents: Iterable[Incident]) -> list[Figures]:
    """The figures by severity, the worst first. A reopened incident counts as unsolved until it is resolved again."""
    all_of_them = list(incidents)
    return [
        _of_severity(severity, [each for each in all_of_them if each.severity == severity]) for severity in Severity
    ]


def _of_severity(severity: Severity, incidents: list[Incident]) -> Figures:
    unsolved = [each for each in incidents if each.resolved_at is None]
    return Figures(
        severity=severity,
        open=len(unsolved),
        unanswered=sum(each.first_answered_at is None for each in unsolved),
        oldest_open_since=min((each.created_at for each in unsolved), default=None),
        first_answer=_times([each.first_answered_at - each.created_at for each in incidents if each.first_answered_at]),
        solution=_times([each.resolved_at - each.created_at for each in incidents if each.resolved_at]),
    )


def _times(spans: list[timedelta]) -> Times:
    seconds = [span.total_seconds() for span in spans]
    return Times(len(seconds), median(seconds) if seconds else None, max(seconds, default=None))
