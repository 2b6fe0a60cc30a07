"""Access requests: of a school, of a board's schools and of a connection."""

from collections.abc import Collection, Sequence

from sqlalchemy import func
from sqlmodel import col, select

from api.queries.session import Session, required
from models.consents.partners import Connection
from models.consents.requests import AccessRequest, RequestStatus
from models.consents.schools import School


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
    """The number of open requests of one partner at each of these schools that has any."""
    query = select(AccessRequest.brin, func.count()).join(Connection).where(col(AccessRequest.brin).in_(brins))
    query = query.where(AccessRequest.status == RequestStatus.OPEN, Connection.kvk_number == kvk_number)
    return dict((await session.exec(query.group_by(col(AccessRequest.brin)))).all())


async def requests_of_board(
    session: Session, board_number: str, status: RequestStatus | None, after: str, limit: int
) -> Sequence[AccessRequest]:
    query = select(AccessRequest).join(School).where(School.board_number == board_number)
    if status is not None:
        query = query.where(AccessRequest.status == status)
    query = query.where(col(AccessRequest.request_id) > after)
    return (await session.exec(query.order_by(col(AccessRequest.request_id)).limit(limit + 1))).all()


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
    """The open requests of a connection."""
    query = select(AccessRequest).where(
        AccessRequest.client_id == client_id, AccessRequest.status == RequestStatus.OPEN
    )
    return (await session.exec(query.order_by(col(AccessRequest.request_id)))).all()
