"""Every decision is a line of the log, and none is answered whose line is not on the disk."""

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from sqlmodel import col, select

from api.grants.grant_lifecycle import take_step
from api.snapshot.postgresql import PostgresqlFacts
from api.snapshot.source import DraftedLines, Reading
from api.snapshot.sqlite import SqliteLines
from api.store.events import SYSTEM
from api.store.write_queue import WriteQueue
from models.consents.grants import Grant, Step
from models.consents.partners import Partner
from models.decision.decision_log import LONGEST_NAMES, Line, logged_caller
from models.log.logged_decisions import LoggedDecision
from models.vocabulary.scopes import CATALOGUE
from tests.snapshot.test_decision_lines import a_line
from tests.worlds.world import NAMES, PURPOSE, START, Answer, World, question, world_on

REQUEST: Final = "6f1d3c0a-9b7e-4c55-8a21-0d4e9f7b3c12"
ROUTES: Final = "GET /scholen/{place}/leerlingen leerling {place} leerling.naam\n"


async def lines(world: World) -> list[LoggedDecision]:
    """The log, in the order in which it was stored."""
    async with world.store.reading() as session:
        return list(
            (await session.exec(select(LoggedDecision).order_by(col(LoggedDecision.at), col(LoggedDecision.id)))).all()
        )


async def asked_of(world: World, path: str, body: Any, **headers: str) -> Answer:
    return await world.call("POST", f"/access/v1/{path}", world.token("gateway"), body, **headers)


# -- what a line says -------------------------------------------------------------------------------------------------


async def test_a_line_says_who_asked_for_whom_where_what_and_what_was_answered(world: World) -> None:
    grant = await world.granted()
    body = question(place="16SW01", scopes=["leerling.naam"], fields=["achternaam"], purpose=PURPOSE)
    traced = f"00-{'a' * 32}-{'b' * 16}-01"
    answer = await asked_of(world, "evaluation", body, X_Request_ID=REQUEST, traceparent=traced)
    [line] = await lines(world)
    assert line.model_dump(exclude={"id", "issuer"}) == {
        "at": START,
        "revision": answer.json()["context"]["revision"],
        "subject": "gateway-subject",
        "door": "evaluation",
        "client_id": "rekenrijk",
        "school": "16SW",
        "place": "16SW01",
        "resource_type": "leerling",
        "scopes": "leerling.naam",
        "fields_": "achternaam",
        "purpose": PURPOSE,
        "permit": True,
        "reason": "granted",
        "grant_id": grant["grantId"],
        "request_id": REQUEST,
        "trace_id": "a" * 32,
    }
    assert line.issuer == world.issuer.trusted().issuer


@pytest.mark.parametrize(
    "given",
    [
        "leerling=Jantje.de.Boer;bsn=123456782",
        "123456782",
        "0000000123456782",
        "00000000-0000-0000-0000-000123456782",
        "jantje-de-boer-groep-acht",
        "vraag-1",
    ],
)
async def test_a_request_id_that_may_be_of_a_person_is_not_kept(given: str, world: World) -> None:
    answer = await asked_of(world, "evaluation", question(), X_Request_ID=given)
    assert answer.headers["X-Request-ID"] == given
    assert [line.request_id for line in await lines(world)] == [f"?{len(given)}"]
    exported = (await world.operate("GET", "/v1/decisions/otlp")).text
    assert given not in exported


@pytest.mark.parametrize(
    "given", [REQUEST, REQUEST.upper(), REQUEST.replace("-", ""), "01JD8Z3W6XKQ5T9V2M4N7P0RSE", "4bf92f3577b34da6"]
)
def test_a_request_id_of_the_form_of_one_is_kept(given: str) -> None:
    assert logged_caller("issuer", "subject", given, None).request_id == given


async def test_each_evaluation_of_a_batch_up_to_where_it_stops_has_a_line(world: World) -> None:
    await world.granted()
    batch = [question(), question(place="17TX"), {"subject": "malformed"}, question(client_id="nobody")]
    body = {**question(), "evaluations": batch, "options": {"evaluations_semantic": "execute_all"}}
    assert (await asked_of(world, "evaluations", body)).status_code == 200
    found = await lines(world)
    assert [line.reason for line in found] == ["granted", "no_grant", "invalid_input", "unknown_partner"]
    assert {(line.door, line.request_id) for line in found} == {("evaluations", found[0].request_id)}
    body["options"]["evaluations_semantic"] = "deny_on_first_deny"
    await asked_of(world, "evaluations", body)
    assert [line.reason for line in (await lines(world))[4:]] == ["granted", "no_grant"]


async def test_a_search_is_one_line_that_permits_nothing(world: World) -> None:
    await world.granted()
    for searched in ("subject", "resource", "action"):
        body = question(scopes=["leerling.naam"])
        body[searched].pop("id", None)
        if searched == "action":
            del body["action"]
        assert (await asked_of(world, f"search/{searched}", body)).status_code == 200
    found = await lines(world)
    assert [(line.door, line.reason) for line in found] == [
        ("search", f"searched_{searched}s") for searched in ("subject", "resource", "action")
    ]
    assert not any(line.permit for line in found)


async def test_a_partner_that_looks_at_its_consents_is_no_line(world: World) -> None:
    await world.granted()
    assert (await world.look()).status_code == 200
    assert await lines(world) == []


# -- every door, over a history ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
async def test_the_lines_are_the_answers_that_were_given(store_url: str, tmp_path: Path, seed: int) -> None:
    """Grants, revocations and boundaries in time between the questions, and several questions at once."""
    chance = random.Random(seed)
    table = tmp_path / "routes.txt"
    table.write_text(ROUTES, encoding="utf-8")
    async with world_on(store_url, tmp_path, route_table=table) as world:
        await world.register()
        answered: list[tuple[str, str, bool, str, int]] = []
        grants: list[str] = []
        for _ in range(12):
            await change(world, chance, grants)
            asked = [ask(world, chance) for _ in range(chance.randint(1, 6))]
            for told in await asyncio.gather(*asked):
                answered += told
        logged = [(line.door, line.place, line.permit, line.reason, line.revision) for line in await lines(world)]
    assert sorted(logged) == sorted(answered)
    assert {permit for _, _, permit, _, _ in logged} == {True, False}


async def change(world: World, chance: random.Random, grants: list[str]) -> None:
    kind = chance.choice(["grant", "grant", "revoke", "time", "nothing"])
    if kind == "grant":
        ends = (world.clock.now + timedelta(seconds=chance.randint(1, 5))).isoformat()
        given = await world.grant(location=chance.choice(["16SW00", "16SW01", None]), validUntil=ends)
        if given.status_code == 201:
            grants.append(given.json()["grantId"])
    elif kind == "revoke" and grants:
        await world.step(grants.pop(), "revoke")
    elif kind == "time":
        world.clock.advance(seconds=chance.randint(1, 3))


async def ask(world: World, chance: random.Random) -> list[tuple[str, str, bool, str, int]]:
    """Asks at a random door; what was answered as the lines should have it."""
    places = ["16SW", "16SW00", "16SW01", "17TX"]
    door = chance.choice(["evaluation", "evaluations", "forward_auth"])
    if door == "forward_auth":
        return [told_at_the_gate(place := chance.choice(places), await held(world, place))]
    if door == "evaluation":
        place = chance.choice(places)
        answers = [(place, (await world.ask(place=place)).json())]
    else:
        chosen = chance.choices(places, k=3)
        body = {**question(), "evaluations": [question(place=place) for place in chosen]}
        given = (await asked_of(world, "evaluations", body)).json()["evaluations"]
        answers = list(zip(chosen, given, strict=True))
    return [
        (door, place, each["decision"], each["context"]["reason"], each["context"]["revision"])
        for place, each in answers
    ]


async def held(world: World, place: str) -> Answer:
    return await world.hold("GET", f"/scholen/{place}/leerlingen")


def told_at_the_gate(place: str, answer: Answer) -> tuple[str, str, bool, str, int]:
    if answer.status_code == 200:
        return "forward_auth", place, True, "granted", int(answer.headers["X-Consent-Revision"])
    told = answer.json()
    return "forward_auth", place, False, told["reason"], told["revision"]


# -- no line, no answer -----------------------------------------------------------------------------------------------


FAULTS: Final[dict[str, Callable[[], Exception]]] = {
    "out of reach": lambda: ConnectionResetError("gone"),
    "full": lambda: OSError("no space left on device"),
    "locked": lambda: TimeoutError(),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("door", ["evaluation", "evaluations", "search/resource", "forward_auth"])
async def test_no_door_answers_what_is_not_stored(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: str, fault: str
) -> None:
    table = tmp_path / "routes.txt"
    table.write_text(ROUTES, encoding="utf-8")
    async with world_on(store_url, tmp_path, route_table=table) as world:
        await world.register()
        await world.granted()

        def fail(*_: Any) -> None:
            raise FAULTS[fault]()

        with monkeypatch.context() as patched:
            for place in ("postgresql.as_json", "sqlite.SqliteLines.store"):
                patched.setattr(f"api.snapshot.{place}", fail)
            answer = await at_door(world, door)
            assert answer.status_code == 503
            assert "store_unreachable" in answer.text
            assert answer.json()["decision"] is False
        assert await lines(world) == []
        assert (await at_door(world, door)).status_code == 200
        assert len(await lines(world)) == (2 if door == "evaluations" else 1)


async def at_door(world: World, door: str) -> Answer:
    if door == "forward_auth":
        return await held(world, "16SW")
    body = question()
    if door == "evaluations":
        body["evaluations"] = [question(), question()]
    if door == "search/resource":
        del body["resource"]["id"]
    return await asked_of(world, door, body)


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_a_file_that_somebody_writes_to_for_too_long_is_a_denial_in_time(store_url: str, tmp_path: Path) -> None:
    async with world_on(store_url, tmp_path, store_deadline=0.3) as world:
        await world.register()
        await world.granted()
        async with world.store.writing():
            answer = await world.ask()
            assert (answer.status_code, answer.json()["context"]["reason"]) == (503, "store_unreachable")
        await asyncio.sleep(0.4)
        assert (await world.ask()).status_code == 200


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_a_line_in_a_file_is_on_the_disk_when_it_is_stored(store_url: str, tmp_path: Path) -> None:
    lines = SqliteLines(store_url.split("///")[1], WriteQueue())
    await lines.store([a_line()], 1)
    assert lines._connection is not None
    assert lines._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    await lines.drop()


# -- what moves in between --------------------------------------------------------------------------------------------


@pytest.mark.both_stores
async def test_what_was_decided_before_a_revocation_stays_what_its_line_says(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revocation between the decision and its line: the line is that of the answer, and as of what it says.

    Where both ride with one read, that read already sees the revocation.
    """
    grant = await world.granted()

    async def revoke_first() -> None:
        monkeypatch.undo()
        world.clock.advance(seconds=1)
        await revoke(world, grant["grantId"])

    read, store = PostgresqlFacts.read, SqliteLines.store

    async def revoke_and_read(facts: PostgresqlFacts, within: float, draft: DraftedLines | None = None) -> Reading:
        if draft is not None:
            await revoke_first()
        return await read(facts, within, draft)

    async def revoke_and_store(file: SqliteLines, lines: Sequence[Line], within: float) -> None:
        await revoke_first()
        await store(file, lines, within)

    monkeypatch.setattr(PostgresqlFacts, "read", revoke_and_read)
    monkeypatch.setattr(SqliteLines, "store", revoke_and_store)
    before = (await world.ask()).json()
    after = (await world.ask()).json()
    first, second = await lines(world)
    assert (first.permit, first.revision) == (before["decision"], before["context"]["revision"])
    assert (first.permit, first.at) == ((True, START) if world.store.is_sqlite else (False, world.clock.now))
    assert (second.permit, second.reason, second.revision) == (False, "revoked", after["context"]["revision"])
    assert after["decision"] is False
    assert (first.revision < second.revision) is world.store.is_sqlite


async def revoke(world: World, grant_id: str) -> None:
    """In the store itself: its doors would wait for the very statement that this happens before."""
    async with world.store.writing() as write:
        grant = await write.session.get_one(Grant, grant_id)
        partner = await write.session.get_one(Partner, "90000001")
        take_step(write, grant, partner, Step.REVOKE, SYSTEM)


async def test_a_boundary_in_time_is_judged_by_the_time_that_the_line_says(world: World) -> None:
    ends = START + timedelta(seconds=10)
    await world.granted(validUntil=ends.isoformat())
    for now in (ends - timedelta(microseconds=1), ends):
        world.clock.now = now
        await world.ask()
    found = await lines(world)
    assert [(line.at, line.reason) for line in found] == [
        (ends - timedelta(microseconds=1), "granted"),
        (ends, "expired"),
    ]


# -- what is not kept -------------------------------------------------------------------------------------------------


async def test_what_is_no_word_of_ours_is_not_kept_but_marked(world: World) -> None:
    """A pupil's number, name or key that a caller sends in the wrong place does not come into the log."""
    body = question(
        client_id="123456782",
        place="123456782",
        resource_type="Jan Jansen",
        scopes=["leerling.naam", "https://ketenid.nl/pilot/abc"],
        fields=["achternaam", "123456782\x00"],
        purpose="voor Jan Jansen",
    )
    assert (await asked_of(world, "evaluation", body)).status_code == 200
    [line] = await lines(world)
    assert (line.client_id, line.school, line.place, line.resource_type) == ("?9", "", "?9", "?10")
    assert (line.scopes, line.fields_, line.purpose) == ("leerling.naam ?28", "achternaam ?10", "?15")


async def test_a_line_is_bounded_whatever_was_sent(world: World) -> None:
    every = list(CATALOGUE.scopes)
    names = (every * 256)[:256]
    body = question(client_id="x" * 10_000, place="y" * 10_000, scopes=names, fields=["z" * 50] * 200)
    assert (await asked_of(world, "evaluation", body)).status_code == 200
    [line] = await lines(world)
    assert len(line.scopes) <= LONGEST_NAMES
    assert line.scopes.endswith(" …")
    assert set(line.scopes.split()) <= {*every, "…"}
    assert (line.client_id, line.place) == ("?10000", "?10000")


def test_who_asks_is_cut_and_marked() -> None:
    made = logged_caller("i" * 300, "s\x00" * 200, "request", None)
    assert (made.issuer, len(made.subject)) == ("i" * 254 + "…", 255)
    assert "\x00" not in made.subject


# -- without it -------------------------------------------------------------------------------------------------------


async def test_without_the_log_nothing_is_stored(store_url: str, tmp_path: Path) -> None:
    async with world_on(store_url, tmp_path, decision_log=False) as world:
        await world.register()
        await world.granted(scopes=NAMES)
        assert await world.reason() == "granted"
        for door in ("evaluations", "search/resource"):
            assert (await at_door(world, door)).status_code == 200
        assert await lines(world) == []
