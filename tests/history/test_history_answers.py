"""What was decided then, and what changed: the API, the command at the store and the command with an export agree."""

import json
import random
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest

from api.evidence.exports import write_export
from tests.effort import turns
from tests.history.history_commands import (
    QUESTIONS,
    Desk,
    Question,
    Said,
    by_clock,
    command,
    entries_in,
    words_of,
    written,
)
from tests.worlds.histories import Tally, history_on, step_of
from tests.worlds.world import BASIS, NAMES, START, World
from tests.worlds.world_evidence import keys_of

#: What was asked at the door at an instant and a revision, and the answer.
Answered = tuple[datetime, int, Question, dict[str, Any]]


@pytest.fixture
async def lived(desk: Desk) -> list[Answered]:
    """Some life of grants, and what was answered at the door to each question after each step of it."""
    world = desk.world
    answers: list[Answered] = []

    async def asked_at_the_door() -> None:
        for asked in QUESTIONS:
            about = {"scopes": asked.get("scope"), "fields": asked.get("field")}
            purpose = {"purpose": asked["purpose"]} if "purpose" in asked else {}
            answer = (await world.ask(asked["clientId"], asked["place"], **about, **purpose)).json()
            answers.append((world.clock.now, answer["context"]["revision"], asked, answer))
        world.clock.advance(hours=1)

    await asked_at_the_door()
    given = await world.granted()
    await asked_at_the_door()
    assert (await world.amend(given, scopes=BASIS)).status_code == 200
    await asked_at_the_door()
    await world.granted(location="16SW01", validUntil=written(world.clock.now.replace(hour=23)))
    await world.step(given["grantId"], "suspend")
    await asked_at_the_door()
    await world.operate("POST", "/v1/partners/90000001/_stop", {"reason": "Oefening."})
    await asked_at_the_door()
    await world.operate("POST", "/v1/partners/90000001/_lift", {"reason": "Oefening."})
    await world.register("taalhuis", kvk_number="90000002")
    await world.granted("taalhuis", brin="17TX")
    await asked_at_the_door()
    await world.step(given["grantId"], "revoke")
    await asked_at_the_door()
    return answers


async def test_the_api_the_store_and_an_export_tell_what_was_decided_at_the_door(
    desk: Desk, lived: list[Answered]
) -> None:
    await desk.write()
    decisions = set()
    for moment, revision, asked, answer in lived:
        then = asked | {"at": written(moment), "revision": revision}
        query = {name: value for name, value in then.items() if value is not None}
        headers = {"Authorization": f"Bearer {desk.world.token('operator')}"}
        told = await desk.world.client.get("/v1/replay", params=query, headers=headers)
        assert told.status_code == 200, told.text
        body = told.json()
        assert (body["decision"], body["reason"], body["revision"]) == (
            answer["decision"],
            answer["context"]["reason"],
            revision,
        )
        decisions.add((body["decision"], body["reason"]))
        for said in (await desk.of_store(*words_of(then), "--json"), await desk.of_export(*words_of(then), "--json")):
            assert (said.status, said.out) == (0, told.text + "\n"), said.err
    assert {(True, "granted"), (False, "revoked"), (False, "suspended"), (False, "no_grant")} <= decisions
    assert {(False, "partner_not_eligible"), (False, "scope_not_granted")} <= decisions


async def test_a_permit_that_was_revoked_later_is_a_yes_then_and_a_no_after(desk: Desk) -> None:
    world = desk.world
    given = await world.granted()
    permitted = world.clock.advance(hours=1)
    world.clock.advance(hours=1)
    await world.step(given["grantId"], "revoke")
    denied = world.clock.advance(hours=1)
    await desk.write()
    asked: Question = {"clientId": "rekenrijk", "place": "16SW00", "type": "leerling", "field": "achternaam"}
    for ask in (desk.of_store, desk.of_export):
        yes = await ask(*words_of(asked | {"at": written(permitted)}))
        assert (yes.status, yes.out.splitlines()[0]) == (0, "yes: granted"), yes.err
        assert f"grant      {given['grantId']}, without an end" in yes.out
        assert "fields     @eckid, @key, achternaam" in yes.out.replace("@key, @eckid", "@eckid, @key"), yes.out
        (because,) = [line for line in yes.out.splitlines() if line.endswith("grant.granted")]
        assert because.startswith("because    #")
        assert written(START) in because
        no = await ask(*words_of(asked | {"at": written(denied)}))
        assert (no.status, no.out.splitlines()[0]) == (0, "no: revoked"), no.err
        assert "grant.revoked" in no.out
        assert "scopes " not in no.out
        assert (await ask(*words_of(asked))).out == no.out, "without an instant it is now, or the end of the export"


@pytest.mark.parametrize("seed", turns([3, 8], 0))
def test_an_export_of_any_history_tells_what_was_decided_in_it(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    export = tmp_path / "export.jsonl"
    with history_on(store_url, tmp_path, Tally()) as history:
        for _ in range(70):
            take, named = step_of(chance.randrange(1, 2**48))
            take(history, **named)
        history.everything_agrees(0)
        world = history.world
        by_clock(monkeypatch, world.clock)
        history.do(write_export(world.store, keys_of(world), export))
        given = [each for each in history.given if each[3][0] == "granted"][-6:]
        for asked, moment, revision, right in [*given, *chance.sample(history.given, 12)]:
            words = ["replay", "--client-id", asked.client_id, "--place", asked.place, "--type", asked.type, "--json"]
            words += [word for scope in asked.scopes for word in ("--scope", scope)]
            words += [word for name in asked.fields for word in ("--field", name)]
            words += ["--purpose", asked.purpose] if asked.purpose else []
            words += ["--at", written(moment), "--revision", str(revision)]
            of_export = command(*words, "--export", str(export))
            of_store = command(*words, DATABASE_URL=store_url)
            if of_export.status == 2:
                # A question at the door may hold what the API of the past refuses.
                assert of_store.status == 2
                continue
            assert of_export.out == of_store.out
            told = json.loads(of_export.out)
            assert (told["reason"], frozenset(told["scopes"]), frozenset(told["fields"])) == right
        assert given, "a history that never permits shows little"


# -- what changed -----------------------------------------------------------------------------------------------------


PERIODS: Final[tuple[tuple[list[str], dict[str, str]], ...]] = (
    ([], {}),
    (["--school", "16SW"], {"school": "16SW"}),
    (["--brin", "17TX", "--client-id", "taalhuis"], {"school": "17TX", "clientId": "taalhuis"}),
    (["--client-id", "rekenrijk"], {"clientId": "rekenrijk"}),
    (
        ["--since", "2026-09-01T10:00:00Z", "--until", "2026-09-01T12:00:00Z"],
        {"since": "2026-09-01T10:00:00Z", "until": "2026-09-01T12:00:00Z"},
    ),
)


async def test_the_api_the_store_and_an_export_tell_the_same_changes(desk: Desk, lived: list[Any]) -> None:
    await desk.write()
    everything = len(entries_in(desk.export))
    sizes = set()
    for words, query in PERIODS:
        told = await desk.world.listed("/v1/changes", 3, **query)
        for said in (
            await desk.of_store("changes", *words, "--json"),
            await desk.of_export("changes", *words, "--json"),
        ):
            assert said.status == 0, said.err
            assert [json.loads(line) for line in said.out.splitlines()] == told
        readable = await desk.of_store("changes", *words)
        assert readable == Said(0, (await desk.of_export("changes", *words)).out, "")
        assert len(readable.out.splitlines()) == len(told)
        sizes.add(len(told))
    assert (max(sizes), len(sizes), 0 in sizes) == (everything, len(PERIODS), False)


async def test_a_line_tells_what_is_said_differently_from_before(desk: Desk) -> None:
    world = desk.world
    given = await world.granted()
    since = world.clock.advance(hours=1)
    now = await world.amend(given, scopes=BASIS)
    assert now.status_code == 200
    await world.step(given["grantId"], "revoke")
    until = world.clock.advance(hours=1)
    await world.granted()
    await desk.write()
    for ask in (desk.of_store, desk.of_export):
        said = await ask("changes", "--since", written(since), "--until", written(until), "--school", "16SW")
        amended, revoked = said.out.splitlines()
        assert amended.endswith(f"grant.amended  16SW  rekenrijk  {given['grantId']}  scopes: -leerling.naam")
        assert revoked.endswith(f"grant.revoked  16SW  rekenrijk  {given['grantId']}  status: granted -> revoked")
        (again,) = (await ask("changes", "--since", written(until))).out.splitlines()
        assert "  new; agreementId: " in again
        assert f"; scopes: {' '.join(sorted(NAMES))}; status: granted; validFrom: {written(until)}" in again
        told = [json.loads(line) for line in (await ask("changes", "--school", "16SW", "--json")).out.splitlines()]
        assert [(each["event"], each["before"] is None) for each in told] == [
            ("grant.granted", True),
            ("grant.amended", False),
            ("grant.revoked", False),
            ("grant.granted", True),
        ]
        assert [each["before"] for each in told[1:3]] == [each["after"] for each in told[:2]]


async def test_a_school_reads_what_changed_about_itself_and_nothing_of_another(world: World) -> None:
    given = await world.granted()
    theirs = await world.granted(brin="17TX")
    await world.step(given["grantId"], "revoke")
    for brin in ("16SW", "17TX"):
        await world.operate("POST", f"/v1/schools/{brin}/keys", {"schoolkey": "sleutel"})
        await world.operate("POST", f"/v1/schools/{brin}/keys/sleutel/_remove", {"reason": "Weg."})
    told = (await world.administer("GET", "/changes")).json()["items"]
    assert [each["event"] for each in told] == [
        "grant.granted",
        "grant.revoked",
        "school.key_added",
        "school.key_removed",
    ]
    other = (await world.administer("GET", "/changes", brin="17TX")).json()["items"]
    assert [each["event"] for each in other] == ["grant.granted", "school.key_added", "school.key_removed"]
    assert [each["before"] for each in other[:2]] == [None, None], "that another had this key is not told"
    assert {each["school"] for each in other} == {"17TX"}
    assert theirs["grantId"] not in str(told)
    assert given["grantId"] not in str(other)
    alone = (await world.administer("GET", "/changes?clientId=rekenrijk&limit=1")).json()
    assert [each["event"] for each in alone["items"]] == ["grant.granted"]
    rest = (await world.administer("GET", f"/changes?clientId=rekenrijk&cursor={alone['next']}")).json()
    assert [(each["event"], each["before"]["status"]) for each in rest["items"]] == [("grant.revoked", "granted")]
    backwards = "/changes?since=2026-09-02T00:00:00Z&until=2026-09-01T00:00:00Z"
    assert (await world.administer("GET", backwards)).status_code == 400
