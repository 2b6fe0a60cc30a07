"""Routes of the incident portal: partners with a live connection report disruptions, consultants resolve them.

Consultants call with the role operator. Free text is stored with the incident, and not in events, which stay for ever.
"""

import uuid
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from api.contract.components import NOT_FOUND, answers, downloads, refuses, takes_file
from api.incidents.views import IncidentSummary, IncidentView, incident_view, summaries
from api.queries import incident_rows
from api.security import sealing
from api.store.events import record
from api.web.callers import Caller, Operator, PartnerClient, PartnerOrOperator
from api.web.files import AttachmentUpload, FileView, download
from api.web.paging import Cursor, Limit, after_key, part
from api.web.preconditions import IfMatch, etag, require_version
from api.web.read_request import Reading
from api.web.schemas import Moment, Name, Page, RecordId, Text, Wire, WireIn
from api.web.write_request import WriteRequest, Writing
from models.consents.files import ATTACHMENTS, MOST_BYTES_OF_CONNECTION, MOST_FILES_OF_INCIDENT
from models.consents.incidents import (
    MOST_ENTRIES,
    MOVING,
    Incident,
    IncidentEntry,
    IncidentStatus,
    IncidentStep,
    Severity,
    figures,
    give_notice,
    move,
    suspect_breach,
)
from models.consents.partners import Connection, Stage
from models.vocabulary.event_kinds import EventKind
from models.vocabulary.identifiers import ClientId
from models.vocabulary.refusals import Conflict, ConnectionNotLive, NotFound, TooManyFiles

router = APIRouter(prefix="/v1/incidents", tags=["incidents"])

IncidentId = Annotated[RecordId, Path()]
FileId = Annotated[RecordId, Path()]


class NewIncident(WireIn):
    """A disruption. `clientId` is the connection of the caller's token; it may be left out."""

    title: Name
    description: Text
    severity: Severity
    suspected_breach: bool = False
    client_id: ClientId | None = None


class Said(WireIn):
    """What is told with a step."""

    text: Text


class Taking(WireIn):
    text: Text | None = None


class TimesView(Wire):
    """How long something took, in seconds, over so many incidents."""

    count: int
    median: float | None
    longest: float | None


class FiguresView(Wire):
    severity: Severity
    open: int
    unanswered: int
    oldest_open_since: Moment | None
    first_answer: TimesView
    solution: TimesView


class IncidentFigures(Wire):
    """By severity, the worst first."""

    severities: list[FiguresView]


@router.post("", status_code=201, operation_id="openIncident", responses=answers(201, "ETag") | refuses(NOT_FOUND))
async def open_incident(caller: PartnerClient, wish: NewIncident, writing: Writing) -> IncidentView:
    """Reports a disruption of the caller's connection, which must be live. A suspected breach starts the clock."""
    connection = await _live_connection(writing, caller, wish.client_id)
    incident = Incident(
        incident_id=str(uuid.uuid4()),
        client_id=connection.client_id,
        title=wish.title,
        description=wish.description,
        severity=wish.severity,
        revision=writing.write.revision,
        created_at=writing.now,
        changed_at=writing.now,
    )
    if wish.suspected_breach:
        suspect_breach(incident, writing.now)
    writing.session.add(incident)
    await writing.session.flush()
    await _record_entry(writing, incident, IncidentStep.OPEN, caller, None)
    return await _answer(writing, incident, caller)


@router.get("", operation_id="listIncidents")
async def list_incidents(
    caller: PartnerOrOperator,
    reading: Reading,
    status: Annotated[IncidentStatus | None, Query()] = None,
    unsolved: Annotated[bool, Query(description="Only those that are not resolved.")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[IncidentSummary]:
    """All incidents; for a partner, those of its own connection."""
    found = await incident_rows.incidents(
        reading.session, caller.only, status=status, unsolved=unsolved, after=after_key(cursor), limit=limit
    )
    shown, following = part(found, limit, lambda incident: incident.incident_id)
    return Page(items=await summaries(reading.session, shown, caller, reading.now), next=following)


@router.get("/figures", operation_id="getIncidentFigures")
async def get_figures(caller: PartnerOrOperator, reading: Reading) -> IncidentFigures:
    """What is open, and how long first answers and solutions took, by severity; for a partner, of its own."""
    found = figures(await incident_rows.incidents(reading.session, caller.only))
    return IncidentFigures(severities=[FiguresView.model_validate(each) for each in found])


@router.get("/{incident_id}", operation_id="getIncident", responses=answers(200, "ETag"))
async def get_incident(
    caller: PartnerOrOperator, incident_id: IncidentId, reading: Reading, response: Response
) -> IncidentView:
    """One incident with its course."""
    incident = await incident_rows.incident(reading.session, incident_id, caller.only)
    response.headers["ETag"] = etag(incident.version)
    return await incident_view(reading.session, incident, caller, reading.now)


@router.post(
    "/{incident_id}/comments", status_code=201, operation_id="commentOnIncident", responses=answers(201, "ETag")
)
async def comment(
    caller: PartnerOrOperator, incident_id: IncidentId, wish: Said, writing: Writing, if_match: IfMatch = None
) -> IncidentView:
    """Adds a line to the course of an incident."""
    return await _step(writing, caller, incident_id, IncidentStep.COMMENT, wish.text, if_match)


@router.post("/{incident_id}/_take", operation_id="takeIncident", responses=answers(200, "ETag"))
async def take(
    caller: Operator,
    incident_id: IncidentId,
    writing: Writing,
    wish: Taking | None = None,
    if_match: IfMatch = None,
) -> IncidentView:
    """A consultant takes it on, or over from another."""
    return await _step(
        writing, caller, incident_id, IncidentStep.TAKE, wish.text if wish is not None else None, if_match
    )


@router.post("/{incident_id}/_answer", operation_id="answerIncident", responses=answers(200, "ETag"))
async def answer(
    caller: Operator, incident_id: IncidentId, wish: Said, writing: Writing, if_match: IfMatch = None
) -> IncidentView:
    """A consultant answers. The first answer's time counts."""
    return await _step(writing, caller, incident_id, IncidentStep.ANSWER, wish.text, if_match)


@router.post("/{incident_id}/_resolve", operation_id="resolveIncident", responses=answers(200, "ETag"))
async def resolve(
    caller: Operator, incident_id: IncidentId, wish: Said, writing: Writing, if_match: IfMatch = None
) -> IncidentView:
    """A consultant who has taken or answered it says how it was resolved."""
    return await _step(writing, caller, incident_id, IncidentStep.RESOLVE, wish.text, if_match)


@router.post("/{incident_id}/_reopen", operation_id="reopenIncident", responses=answers(200, "ETag"))
async def reopen(
    caller: PartnerOrOperator, incident_id: IncidentId, wish: Said, writing: Writing, if_match: IfMatch = None
) -> IncidentView:
    """Either side says that it was not resolved after all."""
    return await _step(writing, caller, incident_id, IncidentStep.REOPEN, wish.text, if_match)


@router.post("/{incident_id}/_suspect", operation_id="suspectBreach", responses=answers(200, "ETag"))
async def suspect(
    caller: PartnerOrOperator, incident_id: IncidentId, wish: Said, writing: Writing, if_match: IfMatch = None
) -> IncidentView:
    """Either side suspects a data breach: from now on the 24 hours count within which the schools are told."""
    return await _step(writing, caller, incident_id, IncidentStep.SUSPECT_BREACH, wish.text, if_match)


@router.post("/{incident_id}/_notify", operation_id="giveBreachNotice", responses=answers(200, "ETag"))
async def notify(
    caller: Operator, incident_id: IncidentId, wish: Said, writing: Writing, if_match: IfMatch = None
) -> IncidentView:
    """Notes that the schools were told of the suspected breach, and how; that stops the clock."""
    return await _step(writing, caller, incident_id, IncidentStep.GIVE_NOTICE, wish.text, if_match)


@router.post(
    "/{incident_id}/attachments",
    status_code=201,
    operation_id="attachToIncident",
    openapi_extra=takes_file(*ATTACHMENTS),
)
async def attach(caller: PartnerOrOperator, incident_id: IncidentId, upload: AttachmentUpload) -> FileView:
    """Keeps a file with the incident: PDF, PNG, JPEG or plain text, sent as the body."""
    writing = upload.writing
    incident = await incident_rows.incident(writing.session, incident_id, caller.only)
    if len(await incident_rows.attachments(writing.session, incident)) >= MOST_FILES_OF_INCIDENT:
        raise TooManyFiles(f"An incident has at most {MOST_FILES_OF_INCIDENT} attachments.")
    kept_before = await incident_rows.attachment_bytes(writing.session, incident.client_id)
    if kept_before + upload.received.size > MOST_BYTES_OF_CONNECTION:
        raise TooManyFiles(f"A connection has at most {MOST_BYTES_OF_CONNECTION} bytes of attachments.")
    kept = FileView.model_validate(await upload.keep(caller, incident_id=incident_id))
    await _record_entry(writing, incident, IncidentStep.ATTACH, caller, kept.name)
    return writing.answer(kept)


@router.get(
    "/{incident_id}/attachments/{file_id}",
    operation_id="getAttachment",
    responses=downloads(*ATTACHMENTS),
    response_class=Response,
)
async def get_attachment(
    caller: PartnerOrOperator, incident_id: IncidentId, file_id: FileId, reading: Reading, request: Request
) -> Response:
    """An attachment, as a download."""
    incident = await incident_rows.incident(reading.session, incident_id, caller.only)
    return download(request, await incident_rows.attachment(reading.session, incident, file_id))


async def _live_connection(writing: WriteRequest, caller: Caller, named: str | None) -> Connection:
    client_id = caller.claims.client_id
    if named not in (None, client_id):
        raise NotFound("There is no such connection.")
    connection = await writing.session.get(Connection, client_id)
    if connection is None or connection.stage != Stage.LIVE:
        raise ConnectionNotLive("Incidents are reported for a connection that is live.")
    return connection


async def _step(
    writing: WriteRequest,
    caller: Caller,
    incident_id: str,
    step: IncidentStep,
    text: str | None,
    if_match: str | None,
) -> IncidentView:
    incident = await incident_rows.incident(writing.session, incident_id, caller.only)
    if if_match is not None:
        require_version(if_match, incident.version)
    if step is IncidentStep.COMMENT and incident.entries >= MOST_ENTRIES:
        raise Conflict("This incident has so many entries that no comment is added: open another one.")
    if step in MOVING:
        move(incident, step, await sealing.person(writing.session, caller.claims.subject), writing.now)
    elif step is IncidentStep.SUSPECT_BREACH:
        suspect_breach(incident, writing.now)
    elif step is IncidentStep.GIVE_NOTICE:
        give_notice(incident, writing.now)
    await _record_entry(writing, incident, step, caller, text)
    return await _answer(writing, incident, caller)


async def _record_entry(
    writing: WriteRequest, incident: Incident, step: IncidentStep, caller: Caller, text: str | None
) -> None:
    """Marks the incident as changed, and adds the entry of its course and the event."""
    incident.entries += 1
    incident.version += step is not IncidentStep.OPEN
    incident.revision, incident.changed_at = writing.write.revision, writing.now
    entry = IncidentEntry(
        incident_id=incident.incident_id,
        number=incident.entries,
        step=step,
        at=writing.now,
        actor=await sealing.person(writing.session, caller.claims.subject),
        actor_role=caller.role,
        text=text,
    )
    writing.session.add_all([incident, entry])
    await writing.session.flush()
    state = {
        "incidentId": incident.incident_id,
        "step": step,
        "status": incident.status,
        "severity": incident.severity,
        "suspectedBreach": incident.breach_suspected_at is not None,
    }
    kind = EventKind.INCIDENT_OPENED if step is IncidentStep.OPEN else EventKind.INCIDENT_CHANGED
    record(writing.write, kind, caller.actor, state, client_id=incident.client_id)


async def _answer(writing: WriteRequest, incident: Incident, caller: Caller) -> IncidentView:
    shown = await incident_view(writing.session, incident, caller, writing.now)
    return writing.answer(shown, incident.version)
