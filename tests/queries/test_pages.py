"""A page of a list: of the caller's own rows, in the order of their keys, after the one before, one row beyond its end.

The rows of two schools and two connections lie between each other, and none was made in the order of its key.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Final

import pytest
import pytest_asyncio

from api.queries import case_rows, event_rows, grant_rows, incident_rows, registry_rows, request_rows, school_rows
from api.queries.session import Session
from api.store.events import SYSTEM, record
from api.store.store import Store
from models.consents.grants import Grant
from models.consents.incidents import Incident, IncidentStatus
from models.consents.onboarding import Case, RoadStep
from models.consents.partners import Connection, Partner, Stage
from models.consents.requests import AccessRequest, RequestStatus
from models.consents.schools import Board, Location, School, SchoolKey
from models.decision.grant_status import Status
from models.vocabulary.event_kinds import EventKind
from tests.worlds.stores import POSTGRESQL, Templates
from tests.worlds.world import START

#: Ours are a, c, e and g; the others are of the other school and the other connection.
OURS: Final = ("a", "c", "e", "g")
MADE: Final = ("d", "g", "a", "f", "c", "b", "e")
TIMES: Final[dict[str, Any]] = {"created_at": START, "changed_at": START}


async def fill(store: Store) -> None:
    """Two of everything, and seven of what there are lists of."""
    async with store.writing() as write:
        now: dict[str, Any] = {"revision": write.revision, **TIMES}
        asked: dict[str, Any] = {"required_scopes": [], "optional_scopes": [], "purposes": []}
        add = write.session.add
        for number, brin, kvk_number, client_id, stage in (
            ("10001", "16SW", "90000001", "rekenrijk", Stage.LIVE),
            ("10002", "17TX", "90000002", "leeslust", Stage.BUILDING),
        ):
            add(Board(number=number))
            add(Partner(kvk_number=kvk_number, name=client_id, **now))
            await write.session.flush()
            add(School(brin=brin, name=brin, board_number=number, revision=write.revision))
            about: dict[str, Any] = {
                "client_id": client_id,
                "kvk_number": kvk_number,
                "name": client_id,
                "profile": "smalle-set@2.3",
            }
            add(Connection(**about, recipient_role="processor", stage=stage, **asked, **now))
            await write.session.flush()
            add(Location(code=f"{brin}00", brin=brin, name=brin, kinds=["bo"], revision=write.revision))
        await write.session.flush()
        for at, key in enumerate(MADE):
            brin, client_id = ("16SW", "rekenrijk") if key in OURS else ("17TX", "leeslust")
            of: dict[str, Any] = {"client_id": client_id, "brin": brin}
            # Those that still wait, or still hold: c and d.
            waits = key in "cd"
            add(SchoolKey(schoolkey=key, brin=brin, revision=write.revision, created_at=START))
            status = RequestStatus.OPEN if waits else RequestStatus.DECLINED
            add(
                AccessRequest(request_id=key, status=status, request_version=1, asked_in_entry=at, **of, **asked, **now)
            )
            held: dict[str, Any] = {"status": Status.GRANTED if waits else Status.REVOKED, "granted_at_revision": at}
            begun: dict[str, Any] = {"valid_from": START, "request_version": 1, "scopes": [], "purposes": []}
            add(Grant(grant_id=key, **held, **begun, **of, **now))
            told: dict[str, Any] = {"title": key, "description": key, "severity": "low"}
            solved = IncidentStatus.OPEN if waits else IncidentStatus.RESOLVED
            add(Incident(incident_id=key, client_id=client_id, status=solved, **told, **now))
            add(_case(key, client_id, RoadStep.APPLIED if waits else RoadStep.LIVE, now))
            record(write, EventKind.GRANT_GRANTED, SYSTEM, {}, grant_id=key if key != "e" else "a", **of)


def _case(key: str, client_id: str, step: RoadStep, now: dict[str, Any]) -> Case:
    texts = ("company_name", "kvk_number", "contact_name", "contact_email", "product_name", "legal_relation")
    convenant = {"convenant_version": "4.0", "convenant_status": "deelnemer"}
    about: dict[str, Any] = {**dict.fromkeys(texts, key), **convenant, "requested": []}
    due_at = START + timedelta(days=1)
    return Case(
        case_id=key, reference=key, secret_digest=key, client_id=client_id, step=step, due_at=due_at, **about, **now
    )


@pytest.fixture(scope="module")
def address(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> str:
    return templates.empty(POSTGRESQL, tmp_path_factory.mktemp("pages"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session(address: str) -> AsyncIterator[Session]:
    store = Store(address, lambda: START)
    await fill(store)
    async with store.reading() as reading:
        yield reading
    await store.aclose()


Read = Callable[[Session, str, int], Awaitable[Sequence[Any]]]
TOMORROW: Final = START + timedelta(days=1)

#: Each list: its key, how it is read, and all that it holds.
LISTS: Final[dict[str, tuple[str, Read, Sequence[str]]]] = {
    "schoolkeys of a school": (
        "schoolkey",
        lambda session, after, limit: school_rows.school_keys(session, "16SW", after, limit),
        OURS,
    ),
    "grants of a school": (
        "grant_id",
        lambda session, after, limit: grant_rows.grants_of_school(session, "16SW", after, limit),
        OURS,
    ),
    "requests to a school": (
        "request_id",
        lambda session, after, limit: request_rows.requests_of_school(session, "16SW", None, after, limit),
        OURS,
    ),
    "requests to a school that wait": (
        "request_id",
        lambda session, after, limit: request_rows.requests_of_school(
            session, "16SW", RequestStatus.OPEN, after, limit
        ),
        ["c"],
    ),
    "requests to a board's schools": (
        "request_id",
        lambda session, after, limit: request_rows.requests_of_board(session, "10001", None, after, limit),
        OURS,
    ),
    "requests to a board's schools that were declined": (
        "request_id",
        lambda session, after, limit: request_rows.requests_of_board(
            session, "10001", RequestStatus.DECLINED, after, limit
        ),
        ["a", "e", "g"],
    ),
    "requests of a connection": (
        "request_id",
        lambda session, after, limit: request_rows.requests_of_client(session, "rekenrijk", None, None, after, limit),
        OURS,
    ),
    "requests of a connection that wait": (
        "request_id",
        lambda session, after, limit: request_rows.requests_of_client(
            session, "rekenrijk", RequestStatus.OPEN, None, after, limit
        ),
        ["c"],
    ),
    "requests of a connection to another school": (
        "request_id",
        lambda session, after, limit: request_rows.requests_of_client(session, "rekenrijk", None, "17TX", after, limit),
        [],
    ),
    "incidents of a connection": (
        "incident_id",
        lambda session, after, limit: incident_rows.incidents(session, "rekenrijk", after=after, limit=limit),
        OURS,
    ),
    "incidents of all": (
        "incident_id",
        lambda session, after, limit: incident_rows.incidents(session, None, after=after, limit=limit),
        sorted(MADE),
    ),
    "incidents that were resolved": (
        "incident_id",
        lambda session, after, limit: incident_rows.incidents(
            session, None, status=IncidentStatus.RESOLVED, after=after, limit=limit
        ),
        ["a", "b", "e", "f", "g"],
    ),
    "incidents that are not resolved": (
        "incident_id",
        lambda session, after, limit: incident_rows.incidents(session, None, unsolved=True, after=after, limit=limit),
        ["c", "d"],
    ),
    "cases of a connection": (
        "case_id",
        lambda session, after, limit: case_rows.cases(session, "rekenrijk", None, None, after, limit),
        OURS,
    ),
    "cases of all": (
        "case_id",
        lambda session, after, limit: case_rows.cases(session, None, None, None, after, limit),
        sorted(MADE),
    ),
    "cases that are live": (
        "case_id",
        lambda session, after, limit: case_rows.cases(session, None, RoadStep.LIVE, None, after, limit),
        ["a", "b", "e", "f", "g"],
    ),
    "cases that are overdue": (
        "case_id",
        lambda session, after, limit: case_rows.cases(session, None, None, TOMORROW, after, limit),
        ["c", "d"],
    ),
    "partners": ("kvk_number", registry_rows.partners, ["90000001", "90000002"]),
    "connections": ("client_id", registry_rows.connections, ["leeslust", "rekenrijk"]),
    "connections that schools see": ("client_id", registry_rows.connections_visible, ["rekenrijk"]),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", LISTS)
async def test_a_page_has_the_rows_of_its_caller_in_order_and_one_more(session: Session, name: str) -> None:
    key, read, whole = LISTS[name]
    for after in ("", *whole):
        rest = [each for each in whole if each > after]
        for limit in range(1, len(whole) + 2):
            assert [getattr(row, key) for row in await read(session, after, limit)] == rest[: limit + 1]


@pytest.mark.asyncio(loop_scope="module")
async def test_the_events_of_a_grant_and_of_a_connection_come_in_parts_in_the_order_of_the_log(
    session: Session,
) -> None:
    grant = await grant_rows.grant_of_school(session, "16SW", "a")
    of_grant = [at for at, key in enumerate(MADE, 1) if key in "ae"]
    of_client = [at for at, key in enumerate(MADE, 1) if key in OURS]
    for after in range(len(MADE) + 1):
        for limit in (1, 2, 4):
            found = await event_rows.history(session, grant, after, limit)
            assert [event.number for event in found] == [at for at in of_grant if at > after][: limit + 1]
            changes = await event_rows.changes_of_client(session, "rekenrijk", 0, after, limit)
            assert [event.number for event in changes] == [at for at in of_client if at > after][: limit + 1]
    assert await event_rows.changes_of_client(session, "rekenrijk", grant.revision, 0, 9) == []
    assert await event_rows.clients_changed(session, grant.revision) == []
    assert sorted(await event_rows.clients_changed(session, grant.revision - 1)) == ["leeslust", "rekenrijk"]


@pytest.mark.asyncio(loop_scope="module")
async def test_the_places_of_a_connection_come_in_parts(session: Session) -> None:
    assert await grant_rows.places_of_client(session, "rekenrijk", "", 5) == ["16SW"]
    assert await grant_rows.places_of_client(session, "rekenrijk", "16SW", 5) == []
    assert await grant_rows.places_of_client(session, "leeslust", "", 5) == ["17TX"]
