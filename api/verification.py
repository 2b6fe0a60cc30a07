"""Whether a store is whole: its events without a gap, and each grant as its last event left it."""

from typing import Any

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.grants import GrantView
from models.events import Event, Revision
from models.grants import Grant, Status


async def faults(session: AsyncSession) -> list[str]:
    """What is wrong with the store, a sentence each; empty when it is whole."""
    return [*await _counting_faults(session), *await _grant_faults(session)]


async def _counting_faults(session: AsyncSession) -> list[str]:
    counted = await session.get_one(Revision, 1)
    query = select(func.count(), func.coalesce(func.max(Event.number), 0), func.coalesce(func.max(Event.revision), 0))
    events, last_number, last_revision = (await session.exec(query.select_from(Event))).one()
    found = []
    if not events == last_number == counted.events:
        found.append(f"{counted.events} events were counted, {events} are there, the last is number {last_number}.")
    if last_revision != counted.revision:
        found.append(f"The store is at revision {counted.revision}, its last event at {last_revision}.")
    return found


async def _grant_faults(session: AsyncSession) -> list[str]:
    last = select(func.max(Event.number)).where(col(Event.grant_id).is_not(None)).group_by(col(Event.grant_id))
    events = (await session.exec(select(Event).where(col(Event.number).in_(last)))).all()
    states = {event.grant_id: event.state for event in events}
    found = []
    for grant in await session.exec(select(Grant)):
        state = states.pop(grant.grant_id, None)
        if state is None:
            found.append(f"Grant {grant.grant_id} has no event.")
        elif _differs(grant, state):
            found.append(f"Grant {grant.grant_id} is not as its last event left it.")
    return [*found, *(f"Grant {grant_id} is gone; its events are there." for grant_id in states)]


def _differs(grant: Grant, state: dict[str, Any]) -> bool:
    """Whether the row says anything else than its last event."""
    told = GrantView.model_validate(state)
    kept = GrantView(
        school=grant.brin,
        partner=told.partner,
        status=Status(grant.status),
        suspended_until=grant.suspended_until if grant.status == Status.SUSPENDED else None,
        **grant.model_dump(exclude={"brin", "status", "suspended_until", "request_version", "granted_at_revision"}),
    )
    return kept != told
