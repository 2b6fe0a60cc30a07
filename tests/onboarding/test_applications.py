"""The application form: required members, storage, rate limits, and the time by which it is answered."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import text
from sqlmodel import select

from api.edge.client_address import source_of
from api.store.events import SYSTEM, record
from models.consents.onboarding import RoadStep
from models.log.events import Event, RememberedAnswer
from models.tables import TABLES
from models.vocabulary.event_kinds import EventKind
from tests.grants.test_grants import problem
from tests.worlds.applicant_road import KVK, Road
from tests.worlds.bodies import application
from tests.worlds.world import PURPOSE, World, world_on

pytestmark = pytest.mark.empty_world


@pytest.fixture
def road(world: World) -> Road:
    return Road(world)


# -- the form ---------------------------------------------------------------------------------------------------------

BAD_FORMS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "an unknown scope": ({"requested": [{"scope": "leerling.bsn", "purpose": PURPOSE}]}, "unknown_scope"),
    "an unknown purpose": ({"requested": [{"scope": "school.basis", "purpose": "reclame"}]}, "unknown_purpose"),
    "a scope without what it needs": (
        {"requested": [{"scope": "leerling.naam", "purpose": PURPOSE}]},
        "scope_dependency_missing",
    ),
    "nothing asked for": ({"requested": []}, "invalid_input"),
    "a convenant that does not exist": ({"eduK": {"version": "9.9", "status": "deelnemer"}}, "invalid_input"),
    "a status that does not exist": ({"eduK": {"version": "4.0", "status": "vriend"}}, "invalid_input"),
    "no legal relation": ({"legalRelation": " "}, "invalid_input"),
    "no address to write to": ({"contact": {"name": "C.", "email": "nergens"}}, "invalid_input"),
    "a KvK number of seven digits": ({"company": {"name": "X", "kvkNumber": "1234567"}}, "invalid_input"),
}


@pytest.mark.parametrize("form", BAD_FORMS)
async def test_a_form_that_makes_no_sense_is_sent_back(road: Road, form: str) -> None:
    changed, slug = BAD_FORMS[form]
    assert problem(await road.apply(**changed)) == (400, slug)


@pytest.mark.both_stores
async def test_the_secret_is_told_once_and_kept_nowhere(world: World, road: Road) -> None:
    body = application(KVK)
    first = await world.call("POST", "/v1/applications", None, body, Idempotency_Key="een-sleutel-van-mij-alleen")
    again = await world.call("POST", "/v1/applications", None, body, Idempotency_Key="een-sleutel-van-mij-alleen")
    assert (first.status_code, again.content) == (201, first.content)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len((await world.operate("GET", "/v1/cases")).json()["items"]) == 1
    other = await world.call(
        "POST", "/v1/applications", None, application("90000002"), Idempotency_Key="een-sleutel-van-mij-alleen"
    )
    assert problem(other) == (409, "idempotency_key_reused")
    async with world.store.reading() as session:
        connection = await session.connection()
        kept = [
            str(row)
            for table in TABLES
            for row in (await connection.execute(text(f"SELECT * FROM {table.__tablename__}"))).all()
        ]
    assert not [row for row in kept if first.json()["secret"] in row or "een-sleutel-van-mij-alleen" in row]


async def test_without_a_token_a_key_is_hard_to_guess(world: World) -> None:
    for key in ("1", "a" * 19):
        short = await world.call("POST", "/v1/applications", None, application(KVK), Idempotency_Key=key)
        assert problem(short) == (400, "invalid_input")
    assert (await world.operate("GET", "/v1/cases")).json()["items"] == []


async def test_a_replay_needs_the_applications_secret_too(world: World, road: Road) -> None:
    await road.apply()
    path, wish, key = f"/v1/applications/{road.reference}/_withdraw", {"reason": "Wij stoppen."}, "k" * 24
    first = await world.call("POST", path, None, wish, X_Application_Secret=road.secret, Idempotency_Key=key)
    again = await world.call("POST", path, None, wish, X_Application_Secret=road.secret, Idempotency_Key=key)
    assert (first.status_code, again.content) == (200, first.content)
    wrong = await world.call("POST", path, None, wish, X_Application_Secret="wrong", Idempotency_Key=key)
    assert problem(wrong) == (404, "not_found")
    other = Road(world, "90000002")
    await other.apply()
    path = f"/v1/applications/{other.reference}/_withdraw"
    own = await world.call("POST", path, None, wish, X_Application_Secret=other.secret, Idempotency_Key=key)
    assert (own.status_code, own.json()["reference"]) == (200, other.reference)
    closed = await world.call("GET", f"/v1/applications/{other.reference}", None)
    assert (closed.status_code, closed.headers["WWW-Authenticate"]) == (401, "X-Application-Secret")


async def test_what_is_remembered_of_a_write_can_be_read_by_nobody_without_its_key(world: World, road: Road) -> None:
    await road.apply()
    body = {"step": "contacted", "evidence": "Gebeld met mevrouw Van Contact."}
    path = f"/v1/cases/{road.case_id}/steps"
    first = await world.operate("POST", path, body, Idempotency_Key="stap-1")
    again = await world.operate("POST", path, body, Idempotency_Key="stap-1")
    assert (again.content, again.headers["Idempotency-Replayed"]) == (first.content, "true")
    async with world.store.reading() as session:
        (kept,) = (await session.exec(select(RememberedAnswer))).all()
    assert "stap-1" not in kept.key
    assert "ontact" not in kept.body


async def test_what_was_remembered_before_it_was_sealed_is_still_given_again(world: World) -> None:
    wish = {"kvkNumber": "90000005", "name": "Van voorheen"}
    first = await world.operate("POST", "/v1/partners", wish, Idempotency_Key="voorheen")
    async with world.store.writing() as write:
        (kept,) = (await write.session.exec(select(RememberedAnswer))).all()
        kept.key, kept.body = "voorheen", first.text
        write.session.add(kept)
        record(write, EventKind.SCHOOLS_IMPORTED, SYSTEM, {})
    again = await world.operate("POST", "/v1/partners", wish, Idempotency_Key="voorheen")
    assert (again.status_code, again.content) == (201, first.content)


async def test_no_person_and_nothing_written_stands_in_the_events_of_a_case(world: World, road: Road) -> None:
    await road.travel_to(RoadStep.LIVE)
    async with world.store.reading() as session:
        told = str([(event.state, event.reason) for event in await session.exec(select(Event))])
    form = application(KVK)
    for private in (
        form["contact"]["name"],
        form["contact"]["email"],
        form["contact"]["phone"],
        "van Bestuur",
        "Gedaan",
    ):
        assert private not in told


async def test_applications_from_one_address_are_bounded(store_url: str, tmp_path: Path) -> None:
    async with world_on(store_url, tmp_path, applications_per_hour=3) as world:
        answers = [await Road(world).apply() for _ in range(5)]
        assert [answer.status_code for answer in answers] == [201, 201, 201, 429, 429]
        assert problem(answers[-1]) == (429, "too_many_requests")
        assert int(answers[-1].headers["Retry-After"]) > 0
        assert len((await world.operate("GET", "/v1/cases")).json()["items"]) == 3


async def test_applications_of_a_day_are_bounded_whoever_sends_them(store_url: str, tmp_path: Path) -> None:
    async with world_on(store_url, tmp_path, applications_per_day=2) as world:
        assert [(await Road(world).apply()).status_code for _ in range(3)] == [201, 201, 429]
        world.clock.advance(hours=24)
        assert (await Road(world).apply()).status_code == 201


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", True),
        ("2001:db8:1::1", "2001:db8:2::1", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("testclient", "other", False),
    ],
)
def test_an_ipv6_network_is_one_address(one: str, other: str, same: bool) -> None:
    assert (source_of(one) == source_of(other)) is same


# -- due dates --------------------------------------------------------------------------------------------------------


async def test_an_application_is_due_and_then_overdue_until_there_is_a_reaction(world: World, road: Road) -> None:
    await road.apply()
    (due,) = (await world.operate("GET", "/v1/due")).json()["items"]
    assert (due["kind"], due["id"], due["dueAt"], due["overdue"]) == (
        "application_reaction",
        road.case_id,
        "2026-09-04T22:00:00Z",
        False,
    )
    world.clock.now = datetime(2026, 9, 4, 21, 59, 59, tzinfo=UTC)
    assert (await world.operate("GET", "/v1/due?overdue=true")).json()["items"] == []
    world.clock.advance(seconds=1)
    assert len((await world.operate("GET", "/v1/due?overdue=true")).json()["items"]) == 1
    (late,) = (await world.operate("GET", "/v1/cases?overdue=true")).json()["items"]
    assert (late["caseId"], late["overdue"]) == (road.case_id, True)
    await road.step("contacted")
    assert (await world.operate("GET", "/v1/due")).json()["items"] == []
    assert (await world.operate("GET", "/v1/cases?overdue=true")).json()["items"] == []


async def test_what_is_due_is_listed_by_when_part_by_part(world: World) -> None:
    for number in range(5):
        await Road(world, f"9000000{number}").apply()
        world.clock.advance(days=1)
    whole = (await world.operate("GET", "/v1/due?until=2027-01-01T00:00:00Z")).json()["items"]
    assert [item["dueAt"] for item in whole] == sorted(item["dueAt"] for item in whole)
    parts, path = [], "/v1/due?until=2027-01-01T00:00:00Z&limit=2"
    page = (await world.operate("GET", path)).json()
    while True:
        parts += page["items"]
        if page["next"] is None:
            break
        page = (await world.operate("GET", f"{path}&cursor={page['next']}")).json()
    assert parts == whole
    assert len(whole) == 5
