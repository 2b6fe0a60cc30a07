"""Partners, connections, ground rules, agreements and their documents."""

from collections.abc import Collection, Iterable, Sequence

from sqlmodel import col, select

from api.queries.session import Session, required
from models.consents.agreements import Agreement
from models.consents.files import FileChunk, StoredFile
from models.consents.grants import Grant
from models.consents.ground_rules import GroundRule
from models.consents.partners import VISIBLE, Connection, Partner
from models.consents.schools import School
from models.vocabulary.refusals import ConnectionNotPlaced


async def partner(session: Session, kvk_number: str) -> Partner:
    return required(await session.get(Partner, kvk_number), "There is no such partner.")


async def connection(session: Session, client_id: str) -> Connection:
    return required(await session.get(Connection, client_id), "There is no such connection.")


async def connection_placed(session: Session, client_id: str) -> Connection:
    """A connection that schools can see. Raises `ConnectionNotPlaced`, also when there is none."""
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
    """The partner of each grant, by the connection's client id."""
    client_ids = {grant.client_id for grant in grants}
    query = select(Connection.client_id, Partner).join(Partner).where(col(Connection.client_id).in_(client_ids))
    return dict((await session.exec(query)).all())


async def connections(session: Session, after: str, limit: int) -> Sequence[Connection]:
    query = select(Connection).where(col(Connection.client_id) > after).order_by(col(Connection.client_id))
    return (await session.exec(query.limit(limit + 1))).all()


async def connections_visible(session: Session, after: str, limit: int) -> Sequence[Connection]:
    """The connections that schools can see."""
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
    """The latest signed document of each agreement that has one."""
    query = select(StoredFile).where(col(StoredFile.agreement_id).in_(agreement_ids))
    found = await session.exec(query.order_by(col(StoredFile.revision)))
    return {file.agreement_id: file for file in found if file.agreement_id is not None}


async def document(session: Session, agreement: Agreement) -> StoredFile:
    found = (await documents(session, [agreement.agreement_id])).get(agreement.agreement_id)
    return required(found, "There is no document of this agreement.")


async def file_part(session: Session, file: StoredFile, number: int) -> bytes:
    """A part of the content of a file that the caller may read."""
    query = select(FileChunk.content).where(FileChunk.file_id == file.file_id, FileChunk.number == number)
    return (await session.exec(query)).one()


async def agreement_of_school(session: Session, school: School, agreement_id: str) -> Agreement:
    """An agreement that concerns a grant of this school: general or of its own board, for a granted connection."""
    found = await session.get(Agreement, agreement_id)
    concerns = False
    if found is not None and found.board_number in (None, school.board_number):
        query = select(Grant.grant_id).where(Grant.brin == school.brin, Grant.client_id == found.client_id)
        concerns = (await session.exec(query.limit(1))).one_or_none() is not None
    return required(found if concerns else None, "There is no such agreement, or it concerns no grant of yours.")
