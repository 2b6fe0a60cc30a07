"""Facts of decisions read through the ORM, for callers that need those of a few schools or connections."""

from collections.abc import Collection

from sqlmodel import col, select

from api.queries.event_rows import revision
from api.queries.registry_rows import agreements, ground_rules
from api.queries.school_rows import schools_named
from api.queries.session import Session
from models.consents.agreements import Agreement
from models.consents.facts_of_rows import facts_of_rows
from models.consents.grants import Grant
from models.consents.ground_rules import GroundRule
from models.consents.partners import Connection, Partner
from models.consents.schools import Location, School
from models.decision.snapshot import Changes, Snapshot


async def all_facts_but_grants(session: Session) -> Changes:
    """All facts in the tables except grants."""
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
