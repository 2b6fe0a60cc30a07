"""Reads rows for a caller, and nothing that is not the caller's: what a tenant owns is read by its tenant.

Every list is read with one row to spare, which tells whether more follows.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import and_, exists, func, or_
from sqlalchemy.orm import aliased
from sqlmodel import SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.agreements import Agreement
from models.events import Event, Revision
from models.grants import NOT_YET, OPEN, Grant, Status
from models.ground_rules import GroundRule
from models.partners import Connection, Partner
from models.refusals import NotFound
from models.schools import Location, School
from models.snapshot import Snapshot, facts_of_rows

Table = TypeVar("Table", bound=SQLModel)

NEVER_A_PERMISSION = tuple(NOT_YET)


async def revision(session: AsyncSession) -> int:
    """The number of consent changes that `session` sees."""
    return (await session.get_one(Revision, 1)).revision


# -- anyone's ---------------------------------------------------------------------------------------------------------


async def partner(session: AsyncSession, kvk_number: str) -> Partner:
    return _found(await session.get(Partner, kvk_number), "There is no such partner.")


async def connection(session: AsyncSession, client_id: str) -> Connection:
    return _found(await session.get(Connection, client_id), "There is no such connection.")


async def partners(session: AsyncSession, after: str, limit: int) -> Sequence[Partner]:
    query = select(Partner).where(col(Partner.kvk_number) > after).order_by(col(Partner.kvk_number))
    return (await session.exec(query.limit(limit + 1))).all()


async def partners_of(session: AsyncSession, connections: Iterable[Connection]) -> dict[str, Partner]:
    numbers = {connection.kvk_number for connection in connections}
    found = await session.exec(select(Partner).where(col(Partner.kvk_number).in_(numbers)))
    return {partner.kvk_number: partner for partner in found}


async def partners_of_grants(session: AsyncSession, grants: Iterable[Grant]) -> dict[str, Partner]:
    """The partner behind each grant, by the connection's client id."""
    client_ids = {grant.client_id for grant in grants}
    query = select(Connection.client_id, Partner).join(Partner).where(col(Connection.client_id).in_(client_ids))
    return dict((await session.exec(query)).all())


async def connections(session: AsyncSession, after: str, limit: int) -> Sequence[Connection]:
    query = select(Connection).where(col(Connection.client_id) > after).order_by(col(Connection.client_id))
    return (await session.exec(query.limit(limit + 1))).all()


async def ground_rules(session: AsyncSession, client_ids: Collection[str]) -> Sequence[GroundRule]:
    query = select(GroundRule).where(col(GroundRule.client_id).in_(client_ids))
    return (await session.exec(query.order_by(col(GroundRule.created_at), col(GroundRule.ground_rule_id)))).all()


async def ground_rule(session: AsyncSession, client_id: str, ground_rule_id: str) -> GroundRule:
    rule = await session.get(GroundRule, ground_rule_id)
    return _found(rule if rule and rule.client_id == client_id else None, "There is no such ground rule.")


async def agreements(session: AsyncSession, client_ids: Collection[str]) -> Sequence[Agreement]:
    query = select(Agreement).where(col(Agreement.client_id).in_(client_ids))
    return (await session.exec(query.order_by(col(Agreement.registered_at_revision)))).all()


async def agreement(session: AsyncSession, client_id: str, agreement_id: str) -> Agreement:
    found = await session.get(Agreement, agreement_id)
    return _found(found if found and found.client_id == client_id else None, "There is no such agreement.")


# -- a school's -------------------------------------------------------------------------------------------------------


async def school(session: AsyncSession, brin: str) -> School:
    return _found(await session.get(School, brin), "There is no such school, or it is not yours.")


async def locations(session: AsyncSession, brin: str) -> Sequence[Location]:
    return (await session.exec(select(Location).where(Location.brin == brin).order_by(col(Location.code)))).all()


async def grant_of_school(session: AsyncSession, brin: str, grant_id: str) -> Grant:
    grant = await session.get(Grant, grant_id)
    return _found(grant if grant and grant.brin == brin else None, "There is no such grant.")


async def grants_of_school(session: AsyncSession, brin: str, after: str, limit: int) -> Sequence[Grant]:
    query = select(Grant).where(Grant.brin == brin, col(Grant.grant_id) > after).order_by(col(Grant.grant_id))
    return (await session.exec(query.limit(limit + 1))).all()


async def open_grant(session: AsyncSession, client_id: str, brin: str, location: str | None) -> Grant | None:
    """The grant of exactly this place that is not ended, by its status alone."""
    query = select(Grant).where(
        Grant.client_id == client_id,
        Grant.brin == brin,
        col(Grant.location).is_not_distinct_from(location),
        col(Grant.status).in_(OPEN),
    )
    return (await session.exec(query)).one_or_none()


async def grants_in_school(session: AsyncSession, brin: str, client_ids: Collection[str]) -> Sequence[Grant]:
    """The latest grant of each place of the school, for each of these connections."""
    query = _latest().where(Grant.brin == brin, col(Grant.client_id).in_(client_ids))
    found: Sequence[Grant] = (await session.exec(query.order_by(col(Grant.location)))).all()
    return found


async def history(session: AsyncSession, grant: Grant, after: int, limit: int) -> Sequence[Event]:
    query = select(Event).where(Event.grant_id == grant.grant_id, col(Event.number) > after)
    return (await session.exec(query.order_by(col(Event.number)).limit(limit + 1))).all()


# -- a partner's ------------------------------------------------------------------------------------------------------


async def places_of_client(session: AsyncSession, client_id: str, after: str, limit: int) -> Sequence[str]:
    """The places (BRIN4 or BRIN6) where this connection ever had a grant, in their order."""
    place = func.coalesce(Grant.location, Grant.brin)
    query = select(place).where(
        Grant.client_id == client_id, col(Grant.status).not_in(NEVER_A_PERMISSION), place > after
    )
    return (await session.exec(query.distinct().order_by(place).limit(limit + 1))).all()


async def locations_of_client(session: AsyncSession, client_id: str, brin: str) -> Sequence[str]:
    """The locations of one school for which this connection ever had a grant of their own."""
    query = select(Grant.location).where(
        Grant.client_id == client_id,
        Grant.brin == brin,
        col(Grant.location).is_not(None),
        col(Grant.status).not_in(NEVER_A_PERMISSION),
    )
    return [code for code in await session.exec(query.distinct().order_by(col(Grant.location))) if code]


async def schools_named(session: AsyncSession, brins: Collection[str]) -> dict[str, School]:
    found = await session.exec(select(School).where(col(School.brin).in_(brins)))
    return {school.brin: school for school in found}


async def snapshot_of(session: AsyncSession, client_id: str, brins: Collection[str]) -> Snapshot:
    """The part of the snapshot that concerns one connection at these schools."""
    connection = await session.get(Connection, client_id)
    locations = await session.exec(select(Location).where(col(Location.brin).in_(brins)))
    grants = await session.exec(select(Grant).where(Grant.client_id == client_id, col(Grant.brin).in_(brins)))
    changes = facts_of_rows(
        await revision(session),
        (await schools_named(session, brins)).values(),
        locations,
        [connection] if connection is not None else [],
        await ground_rules(session, [client_id]),
        await agreements(session, [client_id]),
        grants,
    )
    return Snapshot().after(changes)


async def changes_of_client(
    session: AsyncSession, client_id: str, since: int, after: int, limit: int
) -> Sequence[Event]:
    """The events that concern this connection's grants, after revision `since` and after event number `after`."""
    query = select(Event).where(
        Event.client_id == client_id,
        col(Event.grant_id).is_not(None),
        col(Event.revision) > since,
        col(Event.number) > after,
    )
    return (await session.exec(query.order_by(col(Event.number)).limit(limit + 1))).all()


# -- time's -----------------------------------------------------------------------------------------------------------


async def grants_overdue(session: AsyncSession, now: datetime, limit: int) -> Sequence[Grant]:
    """Grants whose status no longer says what time has brought about."""
    query = select(Grant).where(
        or_(
            and_(col(Grant.status).in_(OPEN), col(Grant.valid_until) <= now),
            and_(col(Grant.status) == Status.SUSPENDED, col(Grant.suspended_until) <= now),
        )
    )
    return (await session.exec(query.order_by(col(Grant.grant_id)).limit(limit))).all()


async def grants_open(session: AsyncSession, client_id: str) -> Sequence[Grant]:
    query = select(Grant).where(Grant.client_id == client_id, col(Grant.status).in_(OPEN))
    return (await session.exec(query.order_by(col(Grant.grant_id)))).all()


def _found(row: Table | None, otherwise: str) -> Table:
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
