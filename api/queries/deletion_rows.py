"""Deletion duties, and the ended grants that cause them."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, or_, tuple_
from sqlmodel import col, select

from api.queries.session import Session, required
from models.consents.deletions import DeletionDuty, DutyStatus
from models.consents.grants import Grant
from models.decision.grant_status import OPEN, Status


async def listed(
    session: Session,
    now: datetime,
    status: DutyStatus | None,
    after: str,
    limit: int,
    *,
    client_id: str | None = None,
    brin: str | None = None,
) -> Sequence[DeletionDuty]:
    """The deletion duties of a connection, towards a school, or all."""
    query = select(DeletionDuty).where(col(DeletionDuty.grant_id) > after)
    if client_id is not None:
        query = query.where(DeletionDuty.client_id == client_id)
    if brin is not None:
        query = query.where(DeletionDuty.brin == brin)
    if status is DutyStatus.CONFIRMED:
        query = query.where(col(DeletionDuty.confirmed_at).is_not(None))
    elif status is DutyStatus.LAPSED:
        query = query.where(col(DeletionDuty.lapsed_at).is_not(None), col(DeletionDuty.confirmed_at).is_(None))
    elif status is not None:
        due = col(DeletionDuty.due_at)
        query = query.where(is_open(), due <= now if status is DutyStatus.OVERDUE else due > now)
    return (await session.exec(query.order_by(col(DeletionDuty.grant_id)).limit(limit + 1))).all()


async def of_client(session: Session, client_id: str, grant_id: str) -> DeletionDuty:
    found = await session.get(DeletionDuty, grant_id)
    return required(found if found and found.client_id == client_id else None, "There is no such deletion duty.")


async def open_duties(session: Session, client_id: str, brin: str) -> Sequence[DeletionDuty]:
    """The connection's open duties towards this school."""
    query = select(DeletionDuty).where(DeletionDuty.client_id == client_id, DeletionDuty.brin == brin, is_open())
    return (await session.exec(query.order_by(col(DeletionDuty.grant_id)))).all()


async def overdue(session: Session, now: datetime, limit: int) -> Sequence[DeletionDuty]:
    """At most `limit` overdue duties that the log does not yet record as overdue."""
    late = col(DeletionDuty.due_at) <= now, col(DeletionDuty.overdue_told_at).is_(None)
    query = select(DeletionDuty).where(*late, is_open()).order_by(col(DeletionDuty.due_at))
    return (await session.exec(query.limit(limit))).all()


async def ended_without_duty(session: Session, since: int, limit: int) -> Sequence[Grant]:
    """At most `limit` grants that had begun and ended after this revision, and have no duty; the oldest first."""
    began = or_(col(Grant.status) == Status.EXPIRED, col(Grant.valid_from) < col(Grant.changed_at))
    query = select(Grant).outerjoin(DeletionDuty).where(col(Grant.status).in_((Status.REVOKED, Status.EXPIRED)), began)
    query = query.where(col(Grant.revision) > since, col(DeletionDuty.grant_id).is_(None))
    return (await session.exec(query.order_by(col(Grant.revision), col(Grant.grant_id)).limit(limit))).all()


async def open_grants_of(session: Session, at: Collection[tuple[str, str]]) -> dict[tuple[str, str], list[Grant]]:
    """The grants that are not ended, by connection and school (BRIN4), for these pairs."""
    query = select(Grant).where(tuple_(col(Grant.client_id), col(Grant.brin)).in_(at))
    grants: dict[tuple[str, str], list[Grant]] = {}
    for grant in await session.exec(query.where(col(Grant.status).in_(OPEN))):
        grants.setdefault((grant.client_id, grant.brin), []).append(grant)
    return grants


def is_open() -> ColumnElement[bool]:
    """The condition for a duty neither confirmed nor lapsed."""
    return and_(col(DeletionDuty.confirmed_at).is_(None), col(DeletionDuty.lapsed_at).is_(None))
