"""Grants: of a school, of a board's schools, of a connection, and those to be changed by time."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import exists, func
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from api.queries.session import Session, required
from models.consents.board_grants import PARTY_ACTIONS
from models.consents.grants import Grant
from models.consents.schools import School
from models.decision.grant_status import NOT_YET, OPEN, Status
from models.log.events import Event

NEVER_A_PERMISSION = tuple(NOT_YET)


async def grant_of_school(session: Session, brin: str, grant_id: str) -> Grant:
    grant = await session.get(Grant, grant_id)
    return required(grant if grant and grant.brin == brin else None, "There is no such grant.")


async def grants_of_school(session: Session, brin: str, after: str, limit: int) -> Sequence[Grant]:
    query = select(Grant).where(Grant.brin == brin, col(Grant.grant_id) > after).order_by(col(Grant.grant_id))
    return (await session.exec(query.limit(limit + 1))).all()


async def open_grant(session: Session, client_id: str, brin: str, location: str | None) -> Grant | None:
    """The grant of exactly this place whose stored status is open."""
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


async def open_grants_by_place(
    session: Session, client_ids: Collection[str], brins: Collection[str]
) -> dict[tuple[str, str], Grant]:
    """The open grants, by connection and place."""
    query = select(Grant).where(
        col(Grant.client_id).in_(client_ids), col(Grant.brin).in_(brins), col(Grant.status).in_(OPEN)
    )
    return {(grant.client_id, grant.place): grant for grant in await session.exec(query)}


async def latest_of_schools(session: Session, client_id: str, brins: Collection[str]) -> dict[str, Grant]:
    """The latest grant of a connection for each of these schools as a whole, by school."""
    query = _latest().where(Grant.client_id == client_id, col(Grant.brin).in_(brins), col(Grant.location).is_(None))
    return {grant.brin: grant for grant in await session.exec(query)}


async def actions_of_grants(session: Session, grant_ids: Collection[str]) -> Sequence[tuple[str | None, str, str]]:
    """The parties' actions on these grants, in order: grant, kind of event, and role."""
    query = select(Event.grant_id, Event.kind, Event.actor_role).where(
        col(Event.grant_id).in_(grant_ids), col(Event.kind).in_(PARTY_ACTIONS)
    )
    return (await session.exec(query.order_by(col(Event.number)))).all()


async def places_of_client(session: Session, client_id: str, after: str, limit: int) -> Sequence[str]:
    """The places (BRIN4 or BRIN6) where this connection ever had a grant, in order."""
    place = func.coalesce(Grant.location, Grant.brin)
    query = select(place).where(
        Grant.client_id == client_id, col(Grant.status).not_in(NEVER_A_PERMISSION), place > after
    )
    return (await session.exec(query.distinct().order_by(place).limit(limit + 1))).all()


async def locations_of_client(session: Session, client_id: str, brin: str) -> Sequence[str]:
    """The locations of a school for which this connection ever had a grant of their own."""
    query = select(Grant.location).where(
        Grant.client_id == client_id,
        Grant.brin == brin,
        col(Grant.location).is_not(None),
        col(Grant.status).not_in(NEVER_A_PERMISSION),
    )
    return [code for code in await session.exec(query.distinct().order_by(col(Grant.location))) if code]


async def revisions_of_grants(session: Session, client_id: str, brins: Collection[str]) -> dict[str, int]:
    """The revision of the last change of each of the connection's grants at these schools."""
    query = select(Grant.grant_id, Grant.revision).where(Grant.client_id == client_id, col(Grant.brin).in_(brins))
    return dict((await session.exec(query)).all())


async def grants_overdue(session: Session, now: datetime, limit: int) -> Sequence[Grant]:
    """At most `limit` grants whose stored status lags behind a change by time.

    One query per column: SQLite uses an index for each of them, but scans all grants for an OR.
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
    """The connection's open grants (of these schools, if given), each with its school's board."""
    query = select(Grant, School.board_number).join(School).where(Grant.client_id == client_id)
    if brins is not None:
        query = query.where(col(Grant.brin).in_(brins))
    return (await session.exec(query.where(col(Grant.status).in_(OPEN)).order_by(col(Grant.grant_id)))).all()


async def clients_with_grant(session: Session, brins: Collection[str]) -> Sequence[str]:
    """The connections with an open grant of one of these schools."""
    query = select(Grant.client_id).where(col(Grant.brin).in_(brins), col(Grant.status).in_(OPEN))
    return (await session.exec(query.distinct().order_by(col(Grant.client_id)))).all()


async def open_grants_of_connection(session: Session, client_id: str) -> Sequence[Grant]:
    """Those of a connection, wherever they were given."""
    query = select(Grant).where(Grant.client_id == client_id, col(Grant.status).in_(OPEN))
    return (await session.exec(query.order_by(col(Grant.grant_id)))).all()


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
