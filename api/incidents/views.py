"""Views of an incident: its course, its times and its suspected breach, with the names that the caller may see."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from api.queries import incident_rows, registry_rows
from api.queries.session import Session
from api.security import sealing
from api.web.callers import Caller
from api.web.files import FileView
from api.web.schemas import Moment, Wire
from models.consents.incidents import Incident, IncidentEntry, IncidentStatus, IncidentStep, Severity
from models.consents.partners import is_stopped


class Offer(Wire):
    """Something that can be done about it, by a call of its own."""

    rel: str
    method: str
    href: str


class BreachView(Wire):
    """A suspected breach: the schools are told within 24 hours, and an operator may stop the connection at once."""

    suspected_at: Moment
    notice_due_at: Moment
    notified_at: Moment | None
    overdue: bool
    stopped: bool
    offers: Annotated[list[Offer], Field(description="What the caller can do about it now.")]


class EntryView(Wire):
    """A line in the course of an incident. Which consultant it was is told to operators alone."""

    number: int
    step: IncidentStep
    at: Moment
    by: str | None
    role: str
    text: str | None


class IncidentSummary(Wire):
    """An incident as lists show it. The times are in seconds: to the first answer, and to the last solution."""

    incident_id: str
    client_id: str
    title: str
    severity: Severity
    status: IncidentStatus
    assignee: str | None
    breach: BreachView | None
    seconds_to_first_answer: Annotated[float | None, Field(description="Null while there is none.")]
    seconds_to_solution: Annotated[float | None, Field(description="Null while there is none.")]
    seconds_open: Annotated[float | None, Field(description="Until now; null once it is resolved.")]
    version: int
    revision: int
    created_at: Moment
    changed_at: Moment


class IncidentView(IncidentSummary):
    """One incident, with all that was said and done about it."""

    description: str
    course: list[EntryView]
    attachments: list[FileView]


async def summaries(
    session: Session, incidents: Sequence[Incident], caller: Caller, now: Moment
) -> list[IncidentSummary]:
    """The views of a list of incidents at `now`; names of consultants are for operators alone."""
    connections = await registry_rows.connections_named(session, {incident.client_id for incident in incidents})
    partners = await registry_rows.partners_of(session, connections.values())
    is_operator = caller.only is None
    names = await sealing.named(session, [incident.assignee for incident in incidents]) if is_operator else {}
    return [
        _summary(
            incident,
            caller,
            names,
            now,
            is_stopped(connection := connections[incident.client_id], partners[connection.kvk_number]),
        )
        for incident in incidents
    ]


async def incident_view(session: Session, incident: Incident, caller: Caller, now: Moment) -> IncidentView:
    """One incident with its course at `now`; a partner sees the names of its own people alone."""
    (summary,) = await summaries(session, [incident], caller, now)
    is_operator = caller.only is None
    entries = await incident_rows.incident_entries(session, incident)
    named = [entry.number for entry in entries if is_operator or entry.actor_role == caller.role]
    names = await sealing.named(session, [entry.actor for entry in entries if entry.number in named])
    return IncidentView(
        **summary.model_dump(),
        description=incident.description,
        course=[_entry(entry, names if entry.number in named else {}) for entry in entries],
        attachments=[FileView.model_validate(file) for file in await incident_rows.attachments(session, incident)],
    )


def _summary(
    incident: Incident, caller: Caller, names: Mapping[str, str], now: Moment, stopped: bool
) -> IncidentSummary:
    def since_opened(until: Moment | None) -> float | None:
        return (until - incident.created_at).total_seconds() if until is not None else None

    return IncidentSummary(
        **incident.model_dump(include={"incident_id", "client_id", "title", "version", "revision"}),
        severity=Severity(incident.severity),
        status=IncidentStatus(incident.status),
        assignee=names.get(incident.assignee or ""),
        breach=_breach(incident, caller, now, stopped),
        seconds_to_first_answer=since_opened(incident.first_answered_at),
        seconds_to_solution=since_opened(incident.resolved_at),
        seconds_open=since_opened(now) if incident.resolved_at is None else None,
        created_at=incident.created_at,
        changed_at=incident.changed_at,
    )


def _entry(entry: IncidentEntry, names: Mapping[str, str]) -> EntryView:
    return EntryView(
        number=entry.number,
        step=IncidentStep(entry.step),
        at=entry.at,
        by=names.get(entry.actor),
        role=entry.actor_role,
        text=entry.text,
    )


def _breach(incident: Incident, caller: Caller, now: Moment, stopped: bool) -> BreachView | None:
    suspected_at, due_at = incident.breach_suspected_at, incident.notice_due_at
    if suspected_at is None or due_at is None:
        return None
    offers = []
    if caller.only is None and not stopped:
        stop = f"/v1/connections/{incident.client_id}/_stop"
        offers.append(Offer(rel="emergency-stop", method="POST", href=stop))
    if caller.only is None and incident.notified_at is None:
        notice = f"/v1/incidents/{incident.incident_id}/_notify"
        offers.append(Offer(rel="give-notice", method="POST", href=notice))
    return BreachView(
        suspected_at=suspected_at,
        notice_due_at=due_at,
        notified_at=incident.notified_at,
        overdue=incident.notified_at is None and due_at <= now,
        stopped=stopped,
        offers=offers,
    )
