"""Incidents with their entries and attachments; a partner sees those of its own connection."""

from collections.abc import Sequence

from sqlalchemy import func
from sqlmodel import col, select

from api.queries.session import Session, required
from models.consents.files import StoredFile
from models.consents.incidents import Incident, IncidentEntry, IncidentStatus


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


async def attachment_bytes(session: Session, client_id: str) -> int:
    """Total size in bytes of all attachments to incidents of a connection."""
    total = func.coalesce(func.sum(StoredFile.size), 0)
    query = select(total).join(Incident, col(Incident.incident_id) == StoredFile.incident_id)
    return int((await session.exec(query.where(Incident.client_id == client_id))).one())


async def attachment(session: Session, incident: Incident, file_id: str) -> StoredFile:
    found = await session.get(StoredFile, file_id)
    own = found is not None and found.incident_id == incident.incident_id
    return required(found if own else None, "There is no such attachment.")
