"""Onboarding cases and their steps."""

import hmac
from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import func
from sqlmodel import col, select

from api.queries.session import Session, required
from models.consents.onboarding import ENDED as CASE_ENDED
from models.consents.onboarding import Case, CaseStep, RoadStep


async def case(session: Session, case_id: str, only: str | None = None) -> Case:
    """A case; for a partner (`only`, its client id) one about its own connection."""
    found = await session.get(Case, case_id)
    return required(found if found and only in (None, found.client_id) else None, "There is no such case.")


async def case_of_applicant(session: Session, reference: str, secret_digest: str) -> Case:
    """The case with this reference and secret, for its applicant."""
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
    """Number of applications received after this instant."""
    return (await session.exec(select(func.count()).select_from(Case).where(col(Case.created_at) > since))).one()


async def case_about(session: Session, client_id: str, but: str) -> Case | None:
    """A case other than `but` that has not ended and is about this connection."""
    query = select(Case).where(Case.client_id == client_id, Case.case_id != but, col(Case.step).not_in(CASE_ENDED))
    return (await session.exec(query.limit(1))).one_or_none()


async def case_steps(session: Session, case_ids: Collection[str]) -> Sequence[CaseStep]:
    query = select(CaseStep).where(col(CaseStep.case_id).in_(case_ids))
    return (await session.exec(query.order_by(col(CaseStep.case_id), col(CaseStep.number)))).all()
