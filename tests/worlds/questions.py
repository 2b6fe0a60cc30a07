"""What can be asked of a history, and how each of the ways of answering says it."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import product
from typing import Any, Final

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.queries import event_rows
from models.consents.agreements import Agreement
from models.consents.grants import Grant
from models.consents.ground_rules import GroundRule
from models.consents.partners import Connection, Partner
from models.consents.schools import Location, School
from models.decision.decision import Question, Reason, decide
from models.decision.grant_status import Status, status_at
from models.decision.packed_grants import GrantFacts
from models.decision.snapshot import Snapshot
from models.log.events import Event
from models.log.log_entries import entry_of
from models.past.replay import ReplayedFacts
from tests.worlds.oracle import CATALOGUE, Asked, Rows
from tests.worlds.world import BASIS, OTHER_PURPOSE, PURPOSE

CLIENTS: Final = ("rekenrijk", "taalhuis")
PLACES: Final = ("16SW", "16SW00", "16SW01", "17TX", "17TX00")
BRINS: Final = ("16SW", "17TX")
BOARDS: Final = ("10001", "10002")
CODES: Final = tuple(place for place in PLACES if len(place) > 4)
PURPOSES: Final = (PURPOSE, OTHER_PURPOSE, "wettelijke-plicht")
OPTIONAL: Final = (
    "leerling.naam",
    "leerling.jaargroep",
    "groep.basis",
    "groep.samengesteld",
    "leerling.groepsindeling",
    "docent.pseudoniem",
    "docent.naam",
)
TICK: Final = timedelta(microseconds=1)


def closed(names: set[str]) -> list[str]:
    """The names together with what they need; of a choice, the stamgroepen."""
    chosen = {*BASIS, *names}
    for entry in reversed(CATALOGUE["scopes"]):
        if entry["name"] in chosen:
            chosen |= {need[0] for need in entry["needs"] if not chosen & set(need)}
    return sorted(chosen)


SCOPES: Final = ((), ("leerling.naam",), ("leerling.pseudoniem", "leerling.groepsindeling"), ("docent.naam",))
FIELDS: Final = ((), ("@eckid",), ("achternaam", "groep/@key"), ("samengestelde_groep/naam",), ("bsn",))
QUESTIONS: Final = tuple(
    Asked(client, place, type_, scopes, fields, purpose, behind, subject, action)
    for client, place, type_, scopes, fields, purpose, behind, (subject, action) in product(
        (*CLIENTS, "nobody"),
        (*PLACES, "16SW99", "99ZZ", "16sw"),
        ("leerling", "docent", "groep", "school", "ouder"),
        SCOPES,
        FIELDS,
        (None, PURPOSE, "wettelijke-plicht"),
        (0, 2**53),
        (("partner", "release"), ("user", "release"), ("partner", "delete")),
    )
)
#: Those that nothing is wrong with, but for what the facts say.
FITTING: Final = tuple(
    Asked(client, place, type_, (scope,) if scope else (), purpose=purpose)
    for client, place, (type_, scope), purpose in product(
        CLIENTS,
        PLACES,
        (
            ("leerling", None),
            ("leerling", "leerling.naam"),
            ("leerling", "leerling.groepsindeling"),
            ("docent", None),
            ("groep", None),
            ("groep", "groep.samengesteld"),
            ("school", None),
        ),
        (None, PURPOSE, OTHER_PURPOSE),
    )
)

#: What a snapshot says, in the oracle's words: reason, scopes and fields.
Said = tuple[str, frozenset[str], frozenset[str]]


async def rows_of(session: AsyncSession) -> Rows:
    """Every row that a decision may rest on, as the tables hold it."""
    return Rows(
        await event_rows.revision(session),
        (await session.exec(select(School))).all(),
        (await session.exec(select(Location))).all(),
        (await session.exec(select(Partner))).all(),
        (await session.exec(select(Connection))).all(),
        (await session.exec(select(GroundRule))).all(),
        (await session.exec(select(Agreement))).all(),
        (await session.exec(select(Grant))).all(),
    )


def moments_of(facts: Rows, now: datetime) -> Iterator[datetime]:
    """The instants from now on at which anything begins or ends, each with the last one before it."""
    instants = {instant for grant in facts.grants for instant in (grant.suspended_until, grant.reconfirm_by)}
    for rows_of_a_kind in (facts.ground_rules, facts.agreements, facts.grants):
        instants |= {instant for row in rows_of_a_kind for instant in (row.valid_from, row.valid_until)}
    for instant in sorted(instant for instant in instants if instant is not None and instant > now):
        yield from (instant - TICK, instant)


async def told_by(session: AsyncSession) -> Snapshot:
    """The facts as the log alone tells them."""
    events = await session.exec(select(Event).order_by(col(Event.number)))
    return ReplayedFacts.of(entry_of(event) for event in events).snapshot


def is_about_a_release(asked: Asked) -> bool:
    return (asked.subject, asked.action, asked.min_revision) == ("partner", "release", 0)


def question_of(asked: Asked) -> Question:
    return Question(
        subject_type=asked.subject,
        client_id=asked.client_id,
        action=asked.action,
        resource_type=asked.type,
        place=asked.place,
        scopes=asked.scopes,
        fields=asked.fields,
        purpose=asked.purpose,
        min_revision=asked.min_revision,
    )


def said(snapshot: Snapshot, asked: Asked, now: datetime) -> Said:
    decision = decide(snapshot, question_of(asked), now)
    assert decision.permit is (decision.reason is Reason.GRANTED)
    return decision.reason, frozenset(decision.scopes), frozenset(decision.fields)


def normal(snapshot: Snapshot) -> Any:
    """A snapshot without the order in which its facts came in."""
    return (
        snapshot.revision,
        dict(snapshot.schools),
        snapshot.locations,
        dict(snapshot.connections),
        {client: frozenset(facts) for client, facts in snapshot.ground_rules.items()},
        {client: frozenset(facts) for client, facts in snapshot.agreements.items()},
        frozenset(snapshot.grants),
    )


def stands(snapshot: Snapshot, now: datetime) -> dict[str, GrantFacts]:
    """How each grant stands, whether or not what time brought was written down: the log tells it as it then was."""
    found = {}
    for grant in snapshot.grants:
        status = status_at(grant, now)
        until = grant.suspended_until if status is Status.SUSPENDED else None
        found[grant.grant_id] = grant._replace(status=status, suspended_until=until)
    return found
