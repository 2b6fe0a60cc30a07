"""Events of the log as callers may see them, and the store's revision."""

from collections.abc import Collection, Sequence

from sqlmodel import col, select

from api.queries.session import Session
from models.consents.grants import Grant
from models.log.events import Event, Revision


async def revision(session: Session) -> int:
    """The revision that `session` sees."""
    return (await session.get_one(Revision, 1)).revision


async def entries(session: Session, numbers: Collection[int]) -> dict[int, Event]:
    """The entries of the log with these numbers."""
    found = await session.exec(select(Event).where(col(Event.number).in_(numbers)))
    return {event.number: event for event in found}


async def history(session: Session, grant: Grant, after: int, limit: int) -> Sequence[Event]:
    query = select(Event).where(Event.grant_id == grant.grant_id, col(Event.number) > after)
    return (await session.exec(query.order_by(col(Event.number)).limit(limit + 1))).all()


async def changes_of_client(session: Session, client_id: str, since: int, after: int, limit: int) -> Sequence[Event]:
    """Events of this connection's grants, after revision `since` and after event number `after`."""
    query = select(Event).where(
        Event.client_id == client_id,
        col(Event.grant_id).is_not(None),
        col(Event.revision) > since,
        col(Event.number) > after,
    )
    return (await session.exec(query.order_by(col(Event.number)).limit(limit + 1))).all()


async def mark_of_change(session: Session, client_id: str, number: int) -> str | None:
    """The mark of the event with this number, if it concerns this connection."""
    query = select(Event.mark).where(Event.number == number, Event.client_id == client_id)
    return (await session.exec(query)).first()


async def clients_changed(session: Session, since: int) -> list[str]:
    """The connections with a consent that changed after this revision."""
    query = select(Event.client_id).where(col(Event.revision) > since, col(Event.grant_id).is_not(None)).distinct()
    return [client_id for client_id in await session.exec(query) if client_id is not None]
