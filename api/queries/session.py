"""Reads rows for a caller, and nothing that is not the caller's: what a tenant owns is read by its tenant.

Every list is read with one row to spare, which tells whether more follows. What belongs to deletion duties and to
webhooks is in `duty_rows.py` and `webhook_rows.py`.
"""

import hmac
from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime
from typing import Any, TypeVar

from sqlalchemy import exists, func
from sqlalchemy.orm import aliased
from sqlmodel import SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.consents.agreements import Agreement
from models.consents.board_grants import SAID
from models.consents.files import FileChunk, StoredFile
from models.consents.grants import NOT_YET, OPEN, Grant, Status
from models.consents.ground_rules import GroundRule
from models.consents.incidents import Incident, IncidentEntry, IncidentStatus
from models.consents.onboarding import ENDED as CASE_ENDED
from models.consents.onboarding import Case, CaseStep, RoadStep
from models.consents.partners import VISIBLE, Connection, Partner
from models.consents.reminders import Letter
from models.consents.requests import AccessRequest, RequestStatus
from models.consents.schools import Board, Location, School, SchoolKey
from models.decision.snapshot import Changes, Snapshot, facts_of_rows
from models.log.events import Event, Revision
from models.vocabulary.refusals import ConnectionNotPlaced, InvalidInput, NotFound

Table = TypeVar("Table", bound=SQLModel)
Session = AsyncSession

NEVER_A_PERMISSION = tuple(NOT_YET)


async def revision(session: Session) -> int:
    """The number of consent changes that `session` sees."""
    return (await session.get_one(Revision, 1)).revision


# -- anyone's ---------------------------------------------------------------------------------------------------------


async def partner(session: Session, kvk_number: str) -> Partner:
    return required(await session.get(Partner, kvk_number), "There is no such partner.")


async def connection(session: Session, client_id: str) -> Connection:
    return required(await session.get(Connection, client_id), "There is no such connection.")


async def connection_placed(session: Session, client_id: str) -> Connection:
    """A connection that schools can see. One that is not placed answers as one that does not exist."""
    found = await session.get(Connection, client_id)
    if found is None or not found.visible:
        raise ConnectionNotPlaced("No connection of this client id is placed.")
    return found


async def partners(session: Session, after: str, limit: int) -> Sequence[Partner]:
    query = select(Partner).where(col(Partner.kvk_number) > after).order_by(col(Partner.kvk_number))
    return (await session.exec(query.limit(limit + 1))).all()


async def partners_of(session: Session, connections: Iterable[Connection]) -> dict[str, Partner]:
    numbers = {connection.kvk_number for connection in connections}
    found = await session.exec(select(Partner).where(col(Partner.kvk_number).in_(numbers)))
    return {partner.kvk_number: partner for partner in found}


async def partners_of_grants(session: Session, grants: Iterable[Grant]) -> dict[str, Partner]:
    """The partner behind each grant, by the connection's client id."""
    client_ids = {grant.client_id for grant in grants}
    query = select(Connection.client_id, Partner).join(Partner).where(col(Connection.client_id).in_(client_ids))
    return dict((await session.exec(query)).all())


async def connections(session: Session, after: str, limit: int) -> Sequence[Connection]:
    query = select(Connection).where(col(Connection.client_id) > after).order_by(col(Connection.client_id))
    return (await session.exec(query.limit(limit + 1))).all()


async def connections_visible(session: Session, after: str, limit: int) -> Sequence[Connection]:
    """Those that schools can see."""
    query = select(Connection).where(col(Connection.client_id) > after, col(Connection.stage).in_(VISIBLE))
    return (await session.exec(query.order_by(col(Connection.client_id)).limit(limit + 1))).all()


async def connections_of_partner(session: Session, kvk_number: str) -> Sequence[Connection]:
    query = select(Connection).where(Connection.kvk_number == kvk_number)
    return (await session.exec(query.order_by(col(Connection.client_id)))).all()


async def connections_named(session: Session, client_ids: Collection[str]) -> dict[str, Connection]:
    found = await session.exec(select(Connection).where(col(Connection.client_id).in_(client_ids)))
    return {connection.client_id: connection for connection in found}


async def ground_rules(session: Session, client_ids: Collection[str]) -> Sequence[GroundRule]:
    query = select(GroundRule).where(col(GroundRule.client_id).in_(client_ids))
    return (await session.exec(query.order_by(col(GroundRule.created_at), col(GroundRule.ground_rule_id)))).all()


async def ground_rule(session: Session, client_id: str, ground_rule_id: str) -> GroundRule:
    rule = await session.get(GroundRule, ground_rule_id)
    return required(rule if rule and rule.client_id == client_id else None, "There is no such ground rule.")


async def agreements(session: Session, client_ids: Collection[str]) -> Sequence[Agreement]:
    query = select(Agreement).where(col(Agreement.client_id).in_(client_ids))
    return (await session.exec(query.order_by(col(Agreement.registered_at_revision)))).all()


async def agreement(session: Session, client_id: str, agreement_id: str) -> Agreement:
    found = await session.get(Agreement, agreement_id)
    return required(found if found and found.client_id == client_id else None, "There is no such agreement.")


async def documents(session: Session, agreement_ids: Collection[str]) -> dict[str, StoredFile]:
    """The signed document of each agreement that has one: the one that was handed in last."""
    query = select(StoredFile).where(col(StoredFile.agreement_id).in_(agreement_ids))
    found = await session.exec(query.order_by(col(StoredFile.revision)))
    return {file.agreement_id: file for file in found if file.agreement_id is not None}


async def document(session: Session, agreement: Agreement) -> StoredFile:
    found = (await documents(session, [agreement.agreement_id])).get(agreement.agreement_id)
    return required(found, "There is no document of this agreement.")


async def file_part(session: Session, file: StoredFile, number: int) -> bytes:
    """One part of the content of a file that its reader may have."""
    query = select(FileChunk.content).where(FileChunk.file_id == file.file_id, FileChunk.number == number)
    return (await session.exec(query)).one()


# -- a case's ---------------------------------------------------------------------------------------------------------


async def case(session: Session, case_id: str, only: str | None = None) -> Case:
    """A case; for a partner (`only`, its connection) one that is about its own connection."""
    found = await session.get(Case, case_id)
    return required(found if found and only in (None, found.client_id) else None, "There is no such case.")


async def case_of_applicant(session: Session, reference: str, secret_digest: str) -> Case:
    """The case with this reference, for whoever knows its secret."""
    found = (await session.exec(select(Case).where(Case.reference == reference))).one_or_none()
    known = found is not None and hmac.compare_digest(found.secret_digest, secret_digest)
    return required(found if known else None, "There is no application of this reference and secret.")


async def cases(
    session: Session, only: str | None, step: RoadStep | None, overdue_at: datetime | None, after: str, limit: int
) -> Sequence[Case]:
    query = select(Case).where(col(Case.case_id) > after)
    if only is not None:
        query = query.where(Case.client_id == only)
    if step is not None:
        query = query.where(Case.step == step)
    if overdue_at is not None:
        query = query.where(Case.step == RoadStep.APPLIED, col(Case.due_at) <= overdue_at)
    return (await session.exec(query.order_by(col(Case.case_id)).limit(limit + 1))).all()


async def cases_since(session: Session, since: datetime) -> int:
    """How many applications came in after this instant."""
    return (await session.exec(select(func.count()).select_from(Case).where(col(Case.created_at) > since))).one()


async def case_about(session: Session, client_id: str, but: str) -> Case | None:
    """Another case than `but` that has not ended and is about this connection."""
    query = select(Case).where(Case.client_id == client_id, Case.case_id != but, col(Case.step).not_in(CASE_ENDED))
    return (await session.exec(query.limit(1))).one_or_none()


async def case_steps(session: Session, case_ids: Collection[str]) -> Sequence[CaseStep]:
    query = select(CaseStep).where(col(CaseStep.case_id).in_(case_ids))
    return (await session.exec(query.order_by(col(CaseStep.case_id), col(CaseStep.number)))).all()


# -- an incident's ----------------------------------------------------------------------------------------------------


async def incident(session: Session, incident_id: str, only: str | None = None) -> Incident:
    """An incident; for a partner (`only`, its connection) one of its own."""
    found = await session.get(Incident, incident_id)
    return required(found if found and only in (None, found.client_id) else None, "There is no such incident.")


async def incidents(
    session: Session,
    only: str | None,
    *,
    status: IncidentStatus | None = None,
    unsolved: bool = False,
    after: str = "",
    limit: int | None = None,
) -> Sequence[Incident]:
    query = select(Incident).where(col(Incident.incident_id) > after)
    if only is not None:
        query = query.where(Incident.client_id == only)
    if status is not None:
        query = query.where(Incident.status == status)
    if unsolved:
        query = query.where(Incident.status != IncidentStatus.RESOLVED)
    query = query.order_by(col(Incident.incident_id))
    return (await session.exec(query if limit is None else query.limit(limit + 1))).all()


async def incident_entries(session: Session, incident: Incident) -> Sequence[IncidentEntry]:
    query = select(IncidentEntry).where(IncidentEntry.incident_id == incident.incident_id)
    return (await session.exec(query.order_by(col(IncidentEntry.number)))).all()


async def attachments(session: Session, incident: Incident) -> Sequence[StoredFile]:
    query = select(StoredFile).where(StoredFile.incident_id == incident.incident_id)
    return (await session.exec(query.order_by(col(StoredFile.revision), col(StoredFile.file_id)))).all()


async def bytes_attached(session: Session, client_id: str) -> int:
    """How many bytes the attachments of all incidents of a connection have."""
    total = func.coalesce(func.sum(StoredFile.size), 0)
    query = select(total).join(Incident, col(Incident.incident_id) == StoredFile.incident_id)
    return int((await session.exec(query.where(Incident.client_id == client_id))).one())


async def attachment(session: Session, incident: Incident, file_id: str) -> StoredFile:
    found = await session.get(StoredFile, file_id)
    own = found is not None and found.incident_id == incident.incident_id
    return required(found if own else None, "There is no such attachment.")


async def entries(session: Session, numbers: Collection[int]) -> dict[int, Event]:
    """The entries of the log with these numbers."""
    found = await session.exec(select(Event).where(col(Event.number).in_(numbers)))
    return {event.number: event for event in found}


# -- a school's -------------------------------------------------------------------------------------------------------


async def school(session: Session, brin: str) -> School:
    return required(await session.get(School, brin), "There is no such school, or it is not yours.")


async def locations(session: Session, brin: str) -> Sequence[Location]:
    return (await session.exec(select(Location).where(Location.brin == brin).order_by(col(Location.code)))).all()


async def locations_listed(session: Session, codes: Collection[str]) -> set[str]:
    """Those of these locations that are listed."""
    query = select(Location.code).where(col(Location.code).in_(codes), col(Location.gone_at).is_(None))
    return set(await session.exec(query))


async def require_listed(session: Session, brin: str, location: str | None) -> None:
    """Raises `InvalidInput` unless it is a location of this school that is still listed, or none at all."""
    if location is None:
        return
    listed = [each.code for each in await locations(session, brin) if each.gone_at is None]
    if location not in listed:
        raise InvalidInput(f"{location} is not a location of {brin}.")


async def school_key(session: Session, schoolkey: str) -> SchoolKey:
    return required(await session.get(SchoolKey, schoolkey), "There is no such schoolkey.")


async def key_of_school(session: Session, brin: str, schoolkey: str) -> SchoolKey:
    key = await session.get(SchoolKey, schoolkey)
    return required(key if key and key.brin == brin else None, "There is no such schoolkey.")


async def school_keys(session: Session, brin: str, after: str, limit: int) -> Sequence[SchoolKey]:
    query = select(SchoolKey).where(SchoolKey.brin == brin, col(SchoolKey.schoolkey) > after)
    return (await session.exec(query.order_by(col(SchoolKey.schoolkey)).limit(limit + 1))).all()


async def grant_of_school(session: Session, brin: str, grant_id: str) -> Grant:
    grant = await session.get(Grant, grant_id)
    return required(grant if grant and grant.brin == brin else None, "There is no such grant.")


async def grants_of_school(session: Session, brin: str, after: str, limit: int) -> Sequence[Grant]:
    query = select(Grant).where(Grant.brin == brin, col(Grant.grant_id) > after).order_by(col(Grant.grant_id))
    return (await session.exec(query.limit(limit + 1))).all()


async def open_grant(session: Session, client_id: str, brin: str, location: str | None) -> Grant | None:
    """The grant of exactly this place that is not ended, by its status alone."""
    query = select(Grant).where(
        Grant.client_id == client_id,
        Grant.brin == brin,
        col(Grant.location).is_not_distinct_from(location),
        col(Grant.status).in_(OPEN),
    )
    return (await session.exec(query)).one_or_none()


async def grants_in_school(session: Session, brin: str, client_ids: Collection[str]) -> Sequence[Grant]:
    """The latest grant of each place of the school, for each of these connections."""
    query = _latest().where(Grant.brin == brin, col(Grant.client_id).in_(client_ids))
    found: Sequence[Grant] = (await session.exec(query.order_by(col(Grant.location).nulls_first()))).all()
    return found


async def open_grants(
    session: Session, client_ids: Collection[str], brins: Collection[str]
) -> dict[tuple[str, str], Grant]:
    """The grants that are not ended, by connection and place."""
    query = select(Grant).where(
        col(Grant.client_id).in_(client_ids), col(Grant.brin).in_(brins), col(Grant.status).in_(OPEN)
    )
    return {(grant.client_id, grant.place): grant for grant in await session.exec(query)}


async def request_of_school(session: Session, brin: str, request_id: str) -> AccessRequest:
    found = await session.get(AccessRequest, request_id)
    return required(found if found and found.brin == brin else None, "There is no such request.")


async def requests_of_school(
    session: Session, brin: str, status: RequestStatus | None, after: str, limit: int
) -> Sequence[AccessRequest]:
    query = select(AccessRequest).where(AccessRequest.brin == brin, col(AccessRequest.request_id) > after)
    if status is not None:
        query = query.where(AccessRequest.status == status)
    return (await session.exec(query.order_by(col(AccessRequest.request_id)).limit(limit + 1))).all()


async def latest_requests(session: Session, client_id: str, brins: Collection[str]) -> dict[str, AccessRequest]:
    """The last request of a connection for each place of these schools."""
    query = select(AccessRequest).where(AccessRequest.client_id == client_id, col(AccessRequest.brin).in_(brins))
    found = await session.exec(query.order_by(col(AccessRequest.asked_in_entry)))
    return {request.place: request for request in found}


async def requests_waiting(session: Session, kvk_number: str, brins: Collection[str]) -> dict[str, int]:
    """How many requests of one partner these schools have not answered, for each that has any."""
    query = select(AccessRequest.brin, func.count()).join(Connection).where(col(AccessRequest.brin).in_(brins))
    query = query.where(AccessRequest.status == RequestStatus.OPEN, Connection.kvk_number == kvk_number)
    return dict((await session.exec(query.group_by(col(AccessRequest.brin)))).all())


async def agreement_of_school(session: Session, school: School, agreement_id: str) -> Agreement:
    """An agreement that concerns a grant of this school: its connection's, general or of the school's own board."""
    found = await session.get(Agreement, agreement_id)
    concerns = False
    if found is not None and found.board_number in (None, school.board_number):
        query = select(Grant.grant_id).where(Grant.brin == school.brin, Grant.client_id == found.client_id)
        concerns = (await session.exec(query.limit(1))).one_or_none() is not None
    return required(found if concerns else None, "There is no such agreement, or it concerns no grant of yours.")


async def history(session: Session, grant: Grant, after: int, limit: int) -> Sequence[Event]:
    query = select(Event).where(Event.grant_id == grant.grant_id, col(Event.number) > after)
    return (await session.exec(query.order_by(col(Event.number)).limit(limit + 1))).all()


# -- a board's --------------------------------------------------------------------------------------------------------


async def board(session: Session, number: str) -> Board:
    return required(await session.get(Board, number), "There is no such board, or it is not yours.")


async def latest_of_schools(session: Session, client_id: str, brins: Collection[str]) -> dict[str, Grant]:
    """The latest grant of a connection for each of these schools as a whole, by school."""
    query = _latest().where(Grant.client_id == client_id, col(Grant.brin).in_(brins), col(Grant.location).is_(None))
    return {grant.brin: grant for grant in await session.exec(query)}


async def said_of_grants(session: Session, grant_ids: Collection[str]) -> Sequence[tuple[str | None, str, str]]:
    """What somebody said of these grants, in its order: the grant, the kind of the entry, and the role."""
    query = select(Event.grant_id, Event.kind, Event.actor_role).where(
        col(Event.grant_id).in_(grant_ids), col(Event.kind).in_(SAID)
    )
    return (await session.exec(query.order_by(col(Event.number)))).all()


async def requests_of_board(
    session: Session, board_number: str, status: RequestStatus | None, after: str, limit: int
) -> Sequence[AccessRequest]:
    query = select(AccessRequest).join(School).where(School.board_number == board_number)
    if status is not None:
        query = query.where(AccessRequest.status == status)
    query = query.where(col(AccessRequest.request_id) > after)
    return (await session.exec(query.order_by(col(AccessRequest.request_id)).limit(limit + 1))).all()


async def schools_of_board(session: Session, board_number: str) -> Sequence[School]:
    """The schools of a board that are listed."""
    query = select(School).where(School.board_number == board_number, col(School.gone_at).is_(None))
    return (await session.exec(query.order_by(col(School.brin)))).all()


# -- a partner's ------------------------------------------------------------------------------------------------------


async def places_of_client(session: Session, client_id: str, after: str, limit: int) -> Sequence[str]:
    """The places (BRIN4 or BRIN6) where this connection ever had a grant, in their order."""
    place = func.coalesce(Grant.location, Grant.brin)
    query = select(place).where(
        Grant.client_id == client_id, col(Grant.status).not_in(NEVER_A_PERMISSION), place > after
    )
    return (await session.exec(query.distinct().order_by(place).limit(limit + 1))).all()


async def request_of_client(session: Session, client_id: str, request_id: str) -> AccessRequest:
    found = await session.get(AccessRequest, request_id)
    return required(found if found and found.client_id == client_id else None, "There is no such request.")


async def requests_of_client(
    session: Session, client_id: str, status: RequestStatus | None, brin: str | None, after: str, limit: int
) -> Sequence[AccessRequest]:
    query = select(AccessRequest).where(AccessRequest.client_id == client_id, col(AccessRequest.request_id) > after)
    if status is not None:
        query = query.where(AccessRequest.status == status)
    if brin is not None:
        query = query.where(AccessRequest.brin == brin)
    return (await session.exec(query.order_by(col(AccessRequest.request_id)).limit(limit + 1))).all()


async def requests_open(session: Session, client_id: str) -> Sequence[AccessRequest]:
    """Those of a connection that wait for an answer."""
    query = select(AccessRequest).where(
        AccessRequest.client_id == client_id, AccessRequest.status == RequestStatus.OPEN
    )
    return (await session.exec(query.order_by(col(AccessRequest.request_id)))).all()


async def locations_of_client(session: Session, client_id: str, brin: str) -> Sequence[str]:
    """The locations of one school for which this connection ever had a grant of their own."""
    query = select(Grant.location).where(
        Grant.client_id == client_id,
        Grant.brin == brin,
        col(Grant.location).is_not(None),
        col(Grant.status).not_in(NEVER_A_PERMISSION),
    )
    return [code for code in await session.exec(query.distinct().order_by(col(Grant.location))) if code]


async def schools_named(session: Session, brins: Collection[str]) -> dict[str, School]:
    found = await session.exec(select(School).where(col(School.brin).in_(brins)))
    return {school.brin: school for school in found}


async def all_facts_but_grants(session: Session) -> Changes:
    """What the tables state, of all that decisions rest on beside the grants."""
    both = select(Connection, Partner).join(Partner)
    return facts_of_rows(
        await revision(session),
        (await session.exec(select(School))).all(),
        (await session.exec(select(Location))).all(),
        (await session.exec(both)).all(),
        (await session.exec(select(GroundRule))).all(),
        (await session.exec(select(Agreement))).all(),
        (),
    )


async def snapshot_of(session: Session, client_id: str, brins: Collection[str]) -> Snapshot:
    """The part of the snapshot that concerns one connection at these schools."""
    both = select(Connection, Partner).join(Partner).where(Connection.client_id == client_id)
    locations = await session.exec(select(Location).where(col(Location.brin).in_(brins)))
    grants = await session.exec(select(Grant).where(Grant.client_id == client_id, col(Grant.brin).in_(brins)))
    changes = facts_of_rows(
        await revision(session),
        (await schools_named(session, brins)).values(),
        locations,
        (await session.exec(both)).all(),
        await ground_rules(session, [client_id]),
        await agreements(session, [client_id]),
        grants,
    )
    return Snapshot().after(changes)


async def revisions_of_grants(session: Session, client_id: str, brins: Collection[str]) -> dict[str, int]:
    """The revision that each of the connection's grants at these schools was last changed at."""
    query = select(Grant.grant_id, Grant.revision).where(Grant.client_id == client_id, col(Grant.brin).in_(brins))
    return dict((await session.exec(query)).all())


async def changes_of_client(session: Session, client_id: str, since: int, after: int, limit: int) -> Sequence[Event]:
    """The events that concern this connection's grants, after revision `since` and after event number `after`."""
    query = select(Event).where(
        Event.client_id == client_id,
        col(Event.grant_id).is_not(None),
        col(Event.revision) > since,
        col(Event.number) > after,
    )
    return (await session.exec(query.order_by(col(Event.number)).limit(limit + 1))).all()


async def mark_of_change(session: Session, client_id: str, number: int) -> str | None:
    """The mark of the event with this number, when it is there and concerns this connection."""
    query = select(Event.mark).where(Event.number == number, Event.client_id == client_id)
    return (await session.exec(query)).first()


async def clients_changed(session: Session, since: int) -> list[str]:
    """The connections of whose consents any changed after this revision."""
    query = select(Event.client_id).where(col(Event.revision) > since, col(Event.grant_id).is_not(None)).distinct()
    return [client_id for client_id in await session.exec(query) if client_id is not None]


# -- a letter's -------------------------------------------------------------------------------------------------------


async def address_applied_with(session: Session, client_id: str) -> str | None:
    """The address of whoever applied for the connection last."""
    query = select(Case.contact_email).where(Case.client_id == client_id).order_by(col(Case.created_at).desc())
    return (await session.exec(query.limit(1))).first()


async def letters(session: Session, kind: str, recipient: str, before: str, limit: int) -> Sequence[Letter]:
    """The letters to one recipient, the newest week first; `before` is a week."""
    query = select(Letter).where(Letter.kind == kind, Letter.recipient == recipient)
    if before:
        query = query.where(col(Letter.week) < date.fromisoformat(before))
    return (await session.exec(query.order_by(col(Letter.week).desc()).limit(limit + 1))).all()


# -- time's -----------------------------------------------------------------------------------------------------------


async def grants_overdue(session: Session, now: datetime, limit: int) -> Sequence[Grant]:
    """Grants whose status no longer says what time has brought about, at most so many.

    A question for each column, since SQLite finds by an index what one of them says, and reads all grants for an OR.
    """
    found: dict[str, Grant] = {}
    for statuses, column in (
        (OPEN, col(Grant.valid_until)),
        ({Status.SUSPENDED}, col(Grant.suspended_until)),
        ({Status.GRANTED}, col(Grant.reconfirm_by)),
    ):
        query = select(Grant).where(col(Grant.status).in_(statuses), column <= now).order_by(column)
        for grant in await session.exec(query.limit(limit - len(found))):
            found[grant.grant_id] = grant
    return list(found.values())


async def grants_with_board(
    session: Session, client_id: str, brins: Collection[str] | None
) -> Sequence[tuple[Grant, str | None]]:
    """The connection's grants that are not ended, or those of these schools, each with its school's board."""
    query = select(Grant, School.board_number).join(School).where(Grant.client_id == client_id)
    if brins is not None:
        query = query.where(col(Grant.brin).in_(brins))
    return (await session.exec(query.where(col(Grant.status).in_(OPEN)).order_by(col(Grant.grant_id)))).all()


async def clients_granted(session: Session, brins: Collection[str]) -> Sequence[str]:
    """The connections that have a grant of one of these schools that is not ended."""
    query = select(Grant.client_id).where(col(Grant.brin).in_(brins), col(Grant.status).in_(OPEN))
    return (await session.exec(query.distinct().order_by(col(Grant.client_id)))).all()


async def ground_rules_in_force(session: Session) -> Sequence[GroundRule]:
    """Every fact that was not ended by an operator, whether or not time has."""
    query = select(GroundRule).where(col(GroundRule.ended).is_(False))
    return (await session.exec(query.order_by(col(GroundRule.ground_rule_id)))).all()


async def cases_waiting(session: Session, until: datetime) -> Sequence[Case]:
    """The applications that wait for a reaction that is due by then."""
    query = select(Case).where(Case.step == RoadStep.APPLIED, col(Case.due_at) <= until)
    return (await session.exec(query.order_by(col(Case.due_at), col(Case.case_id)))).all()


async def notices_waiting(session: Session, until: datetime) -> Sequence[Incident]:
    """The incidents whose schools must be told by then of a suspected breach, and were not."""
    query = select(Incident).where(col(Incident.notice_due_at) <= until, col(Incident.notified_at).is_(None))
    return (await session.exec(query.order_by(col(Incident.notice_due_at), col(Incident.incident_id)))).all()


async def grants_open(session: Session, client_id: str) -> Sequence[Grant]:
    query = select(Grant).where(Grant.client_id == client_id, col(Grant.status).in_(OPEN))
    return (await session.exec(query.order_by(col(Grant.grant_id)))).all()


def required(row: Table | None, otherwise: str) -> Table:
    """The row. Raises `NotFound` where there is none."""
    if row is None:
        raise NotFound(otherwise)
    return row


def _latest() -> Any:
    later = aliased(Grant)
    superseded = exists().where(
        col(later.client_id) == Grant.client_id,
        col(later.brin) == Grant.brin,
        col(later.location).is_not_distinct_from(Grant.location),
        col(later.granted_at_revision) > Grant.granted_at_revision,
        col(later.status).not_in(NEVER_A_PERMISSION),
    )
    return select(Grant).where(col(Grant.status).not_in(NEVER_A_PERMISSION), ~superseded)
