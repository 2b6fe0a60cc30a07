"""Rows due by a day: letters, ground rules to check, waiting cases and notices."""

from collections.abc import Sequence
from datetime import date, datetime

from sqlmodel import col, select

from api.queries.session import Session
from models.consents.ground_rules import GroundRule
from models.consents.incidents import Incident
from models.consents.onboarding import Case, RoadStep
from models.consents.reminders import Letter


async def applicant_address(session: Session, client_id: str) -> str | None:
    """The e-mail address of the latest application for this connection."""
    query = select(Case.contact_email).where(Case.client_id == client_id).order_by(col(Case.created_at).desc())
    return (await session.exec(query.limit(1))).first()


async def letters(session: Session, kind: str, recipient: str, before: str, limit: int) -> Sequence[Letter]:
    """The letters to one recipient, the newest week first; `before` is a week."""
    query = select(Letter).where(Letter.kind == kind, Letter.recipient == recipient)
    if before:
        query = query.where(col(Letter.week) < date.fromisoformat(before))
    return (await session.exec(query.order_by(col(Letter.week).desc()).limit(limit + 1))).all()


async def ground_rules_in_force(session: Session) -> Sequence[GroundRule]:
    """All facts that no operator ended, including those that ended by time."""
    query = select(GroundRule).where(col(GroundRule.ended).is_(False))
    return (await session.exec(query.order_by(col(GroundRule.ground_rule_id)))).all()


async def cases_waiting(session: Session, until: datetime) -> Sequence[Case]:
    """The applications without a reaction that is due by `until`."""
    query = select(Case).where(Case.step == RoadStep.APPLIED, col(Case.due_at) <= until)
    return (await session.exec(query.order_by(col(Case.due_at), col(Case.case_id)))).all()


async def notices_waiting(session: Session, until: datetime) -> Sequence[Incident]:
    """The incidents whose schools must be notified of a suspected breach by `until`, and were not."""
    query = select(Incident).where(col(Incident.notice_due_at) <= until, col(Incident.notified_at).is_(None))
    return (await session.exec(query.order_by(col(Incident.notice_due_at), col(Incident.incident_id)))).all()
