"""Searches on random snapshots find all that an evaluation permits and nothing else, at the cost of what they show."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.gateways.authzen_search import MOST_RESULTS, USUAL_LIMIT
from api.gateways.search_routes import AT_ONCE, ActionSearch, ResourceSearch, SearchHook, SubjectSearch
from api.snapshot.current import Current, Logged
from models.decision.decision import Question, decide
from models.decision.grant_status import Status
from models.decision.kept_rules import GroundRuleName
from models.decision.packed_grants import Granted, GrantFacts
from models.decision.snapshot import AgreementFacts, ConnectionFacts, GroundRuleFacts, SchoolFacts, Snapshot
from models.vocabulary.scopes import RESOURCE_TYPES
from tests.effort import share
from tests.gateways.test_authzen_search import ASKER, search
from tests.worlds.facts import GRANT, NOW, YESTERDAY
from tests.worlds.world import NAMES, OFFERED, OTHER_PURPOSE, PURPOSE

CLIENTS: Final = ("aardrijk", "rekenrijk", "taalhuis")
BRINS: Final = ("16SW", "16SX", "17TX", "26AB")
NUMBERS: Final = ("00", "01", "07", "99")
PLACES: Final = tuple(place for brin in BRINS for place in (brin, *(brin + number for number in NUMBERS)))

INSTANTS: Final = st.sampled_from([YESTERDAY, NOW, NOW + timedelta(hours=1)])
ENDS: Final = st.none() | st.sampled_from([NOW, NOW + timedelta(hours=1)])
SOME_SCOPES: Final = st.sets(st.sampled_from(OFFERED)).map(frozenset) | st.just(frozenset(OFFERED))
SOME_PURPOSES: Final = st.sampled_from([frozenset({PURPOSE}), frozenset({PURPOSE, OTHER_PURPOSE}), frozenset[str]()])


@st.composite
def grants(draw: st.DrawFn) -> GrantFacts:
    place = draw(st.sampled_from(PLACES))
    return GRANT._replace(
        grant_id=f"grant-{draw(st.integers(0, 99))}",
        client_id=draw(st.sampled_from(CLIENTS)),
        brin=place[:4],
        location=place if len(place) > 4 else None,
        scopes=draw(SOME_SCOPES),
        purposes=draw(SOME_PURPOSES),
        status=draw(st.sampled_from([Status.GRANTED.value] * 4 + [status.value for status in Status])),
        valid_from=draw(INSTANTS),
        valid_until=draw(ENDS),
        suspended_until=draw(ENDS),
        reconfirm_by=draw(ENDS),
        granted_at_revision=draw(st.integers(1, 9)),
    )


def _agreement(client_id: str, scopes: frozenset[str], board: str | None) -> AgreementFacts:
    purposes = frozenset({PURPOSE, OTHER_PURPOSE})
    return AgreementFacts(f"a-{client_id}", client_id, board, scopes, purposes, YESTERDAY, None, 1, ended=False)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Worlds in which some connections are eligible, some schools gone, some locations not listed."""
    gone = draw(st.sets(st.sampled_from(BRINS), max_size=1))
    unlisted = draw(st.sets(st.sampled_from(PLACES), max_size=4))
    live = {client_id: draw(st.sampled_from([True, True, True, False])) for client_id in CLIENTS}
    boards = st.sampled_from([None, None, None, "10001", "10002"])
    return Snapshot(
        revision=9,
        schools={brin: SchoolFacts(brin, "10001" if brin < "17" else "10002", brin in gone) for brin in BRINS},
        locations=frozenset(place for place in PLACES if len(place) > 4) - unlisted,
        connections={
            client_id: ConnectionFacts(client_id, frozenset(OFFERED), frozenset({PURPOSE, OTHER_PURPOSE}), is_live)
            for client_id, is_live in live.items()
        },
        ground_rules={
            client_id: tuple(
                GroundRuleFacts(f"{client_id}-{rule}", client_id, rule, YESTERDAY, None, ended=False)
                for rule in GroundRuleName
            )
            for client_id in CLIENTS
        },
        agreements={client_id: (_agreement(client_id, draw(SOME_SCOPES), draw(boards)),) for client_id in CLIENTS},
        grants=Granted.latest(draw(st.lists(grants(), max_size=12))),
    )


QUESTIONS: Final = st.builds(
    Question,
    st.sampled_from(["partner", "partner", "partner", "user"]),
    st.sampled_from([*CLIENTS, "nobody"]),
    st.just("release"),
    st.sampled_from(["leerling", "leerling", *RESOURCE_TYPES, "ouder"]),
    st.sampled_from([*PLACES, "99ZZ", "16SW02"]),
    st.lists(st.sampled_from(["leerling.naam", "leerling.pseudoniem", "docent.naam"]), max_size=1).map(tuple),
    st.lists(st.sampled_from(["achternaam", "@eckid", "bsn"]), max_size=1).map(tuple),
    st.none() | st.sampled_from([PURPOSE, OTHER_PURPOSE]),
    st.just(0),
)


class Still:
    """The facts as they are, at an instant of the test's own."""

    def __init__(self, snapshot: Snapshot, now: datetime = NOW) -> None:
        self.current = Current(snapshot, now)
        self.revision = snapshot.revision

    async def decide(self, decide: Callable[[Snapshot, datetime], Logged[Any]]) -> Any:
        return decide(*self.current).answer


def asked_of(searched: str, asked: Question, page: dict[str, Any]) -> bytes:
    more: dict[str, Any] = {"purpose": asked.purpose} if asked.purpose else {}
    more |= {"scopes": asked.scopes or None, "fields": asked.fields or None}
    body = search(searched, asked.client_id, asked.place, resource_type=asked.resource_type, **more)
    body["subject"]["type"] = asked.subject_type
    return json.dumps({**body, "page": page}).encode()


async def all_pages(door: SearchHook, body: Callable[[dict[str, Any]], bytes], limit: int) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    page: dict[str, Any] = {"limit": limit}
    while True:
        status, answer = await door.answer(body(page), ASKER)
        assert status == 200
        said = json.loads(answer)
        assert len(said["results"]) <= limit
        results += said["results"]
        if not said["page"]["next_token"]:
            return results
        assert len(said["results"]) == limit, "only the last page may be short"
        page = {"limit": limit, "token": said["page"]["next_token"]}


@settings(max_examples=share(300, 100), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(snapshots(), QUESTIONS, st.sampled_from([1, 2, 3, 100]))
async def test_what_is_found_is_what_an_evaluation_permits(snapshot: Snapshot, asked: Question, limit: int) -> None:
    still: Any = Still(snapshot)
    verifier: Any = None

    def permitted(question: Question) -> bool:
        return decide(snapshot, question, NOW).permit

    places = [*PLACES, *sorted(snapshot.locations), *snapshot.schools, "99ZZ"]
    for searched, door, candidates in (
        ("subject", SubjectSearch(verifier, still), [asked._replace(client_id=each) for each in snapshot.connections]),
        ("resource", ResourceSearch(verifier, still), [asked._replace(place=each) for each in sorted(set(places))]),
        ("action", ActionSearch(verifier, still), [asked]),
    ):
        results = await all_pages(door, lambda page, name=searched: asked_of(name, asked, page), limit)  # type: ignore[misc]
        ids = [result.get("id", result.get("name")) for result in results]
        of = {"subject": "client_id", "resource": "place", "action": "action"}[searched]
        assert ids == sorted(getattr(each, of) for each in candidates if permitted(each))


# -- what it costs ----------------------------------------------------------------------------------------------------


def of_many_schools(schools: int) -> Snapshot:
    """A connection that each of so many schools granted, each with two locations; every third revoked it again."""
    brins = [f"{number % 100:02}{chr(65 + number // 100 % 26)}{chr(65 + number // 2600)}" for number in range(schools)]
    given_by = [
        GRANT._replace(grant_id=brin, brin=brin, status="revoked" if number % 3 == 2 else "granted")
        for number, brin in enumerate(brins)
    ]
    connection = ConnectionFacts("rekenrijk", frozenset(OFFERED), frozenset({PURPOSE}), live=True)
    rules = tuple(GroundRuleFacts(rule, "rekenrijk", rule, YESTERDAY, None, ended=False) for rule in GroundRuleName)
    return Snapshot(
        revision=9,
        schools={brin: SchoolFacts(brin, "10001", gone=False) for brin in brins},
        locations=frozenset(brin + number for brin in brins for number in ("00", "01")),
        connections={"rekenrijk": connection},
        ground_rules={"rekenrijk": rules},
        agreements={"rekenrijk": (_agreement("rekenrijk", frozenset(NAMES), None),)},
        grants=Granted.latest(given_by),
    )


async def test_a_whole_country_is_found_in_pages_that_each_cost_no_more_than_they_show() -> None:
    snapshot = of_many_schools(3000)
    still: Any = Still(snapshot)
    verifier: Any = None
    door = ResourceSearch(verifier, still)
    asked = Question("partner", "rekenrijk", "release", "leerling", "")
    before = time.perf_counter()
    results = await all_pages(door, lambda page: asked_of("resource", asked, page), USUAL_LIMIT)
    assert len(results) == 6000
    assert [each["id"] for each in results] == sorted({each["id"] for each in results})
    assert time.perf_counter() - before < 10
    _, whole = await door.answer(asked_of("resource", asked, {"limit": 10**6}), ASKER)
    assert len(json.loads(whole)["results"]) == MOST_RESULTS


async def test_a_long_search_lets_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is permitted every candidate is looked at, and a decision must not wait for all of them."""
    snapshot = replace(of_many_schools(1000), agreements={})
    turns = 0

    async def turn(_: float) -> None:
        nonlocal turns
        turns += 1

    monkeypatch.setattr("api.gateways.search_routes.asyncio.sleep", turn)
    still: Any = Still(snapshot)
    verifier: Any = None
    asked = Question("partner", "rekenrijk", "release", "leerling", "")
    status, answer = await ResourceSearch(verifier, still).answer(asked_of("resource", asked, {}), ASKER)
    assert (status, json.loads(answer)["results"]) == (200, [])
    assert turns == 3000 // AT_ONCE
