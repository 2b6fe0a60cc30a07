"""Verification of a store: its log is unchanged, grants are as their last events left them, facts are as in the log."""

from collections.abc import AsyncIterator
from operator import attrgetter
from typing import Final

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.queries import decision_fact_rows
from models.consents.grants import Grant
from models.decision.grant_status import Status
from models.decision.snapshot import Changes
from models.log.entry_states import GrantState
from models.log.events import Event, LogNode, Revision
from models.log.log_entries import TAMPERING_ERRORS, entry_of
from models.log.merkle import Node
from models.log.verification import Audit, StoredEntry, StoredFigures
from models.past.replay import ReplayedFacts

AT_ONCE: Final = 2_000


async def faults(session: AsyncSession) -> list[str]:
    """The faults of the counters and the grants, one sentence each; empty if there are none."""
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


def _differs(grant: Grant, state: object) -> bool:
    """Whether the row differs from its last event, or the event's state is one that no grant can have."""
    try:
        logged = GrantState.of(state)
        kept = GrantState(
            grant_id=grant.grant_id,
            school=grant.brin,
            location=grant.location,
            client_id=grant.client_id,
            partner=logged.partner,
            scopes=tuple(grant.scopes),
            purposes=tuple(grant.purposes),
            status=grant.status,
            valid_from=grant.valid_from,
            valid_until=grant.valid_until,
            suspended_until=grant.suspended_until if grant.status == Status.SUSPENDED else None,
            version=grant.version,
            revision=grant.revision,
            created_at=grant.created_at,
            changed_at=grant.changed_at,
            agreement_id=grant.agreement_id,
            reconfirm_by=grant.reconfirm_by,
        )
    except TAMPERING_ERRORS:
        return True
    return kept != logged


async def log_faults(session: AsyncSession, audit: Audit) -> list[str]:
    """The faults of the log, also against checkpoints and entries in `audit`, and the facts that differ from the log.

    A fact that differs was changed without an entry in the log, or never entered into it. Grants are compared with
    their last events by `faults`.
    """
    logged, impossible = ReplayedFacts(), []
    async for event in _events(session):
        entry = entry_of(event)
        audit.read(StoredEntry(entry, event.leaf))
        try:
            logged.apply(entry)
        except TAMPERING_ERRORS:
            impossible.append(f"Entry {event.number} says what no change of its kind could.")
    counted = await session.get_one(Revision, 1)
    nodes = frozenset(
        Node(node.level, node.position, node.hash) for node in (await session.exec(select(LogNode))).all()
    )
    found = audit.ended(StoredFigures(counted.events, counted.peaks, nodes))
    return [*found, *impossible, *_differences(logged.facts, await decision_fact_rows.all_facts_but_grants(session))]


def _differences(logged: Changes, stored: Changes) -> list[str]:
    return [
        f"{kind} {key} is not as the log tells."
        for kind, name, key_of in (
            ("School", "schools", attrgetter("brin")),
            ("Location", "locations", attrgetter("code")),
            ("Connection", "connections", attrgetter("client_id")),
            ("Ground rule", "ground_rules", attrgetter("ground_rule_id")),
            ("Agreement", "agreements", attrgetter("agreement_id")),
        )
        for key in sorted({key_of(fact) for fact in set(getattr(logged, name)) ^ set(getattr(stored, name))})
    ]


async def _events(session: AsyncSession) -> AsyncIterator[Event]:
    """All events in order of number, read `AT_ONCE` at a time."""
    last = 0
    while some := (
        await session.exec(select(Event).where(Event.number > last).order_by(col(Event.number)).limit(AT_ONCE))
    ).all():
        for event in some:
            yield event
        last = some[-1].number
        session.expunge_all()
