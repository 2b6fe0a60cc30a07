"""Access requests: each step as school, partner and decision see it, and refused steps."""

from typing import Any

import pytest

from models.consents.requests import MOST_OPEN
from tests.grants.test_grants import problem
from tests.worlds.world import BASIS, NAMES, OFFERED, OTHER_PURPOSE, PURPOSE, Answer, World

ALL = sorted(OFFERED)


async def ask(world: World, client_id: str = "rekenrijk", **more: Any) -> Answer:
    body = {"schools": ["16SW"], **more}
    return await world.call("POST", "/v1/consents/requests", world.token("partner", client_id=client_id), body)


async def asked(world: World, client_id: str = "rekenrijk", **more: Any) -> dict[str, Any]:
    """The only request that was created."""
    answer = await ask(world, client_id, **more)
    assert answer.status_code == 201, answer.text
    (made,) = answer.json()["items"]
    return dict(made)


async def answered(world: World, made: dict[str, Any], step: str, body: Any = None, **headers: str) -> Answer:
    headers.setdefault("If_Match", f'"{made["version"]}"')
    path = f"/requests/{made['requestId']}/_{step}"
    return await world.administer("POST", path, body, made["school"]["brin"], **headers)


async def seen(world: World, made: dict[str, Any]) -> dict[str, Any]:
    """The request, which school and partner see alike."""
    path = f"/requests/{made['requestId']}"
    by_school = (await world.administer("GET", path, brin=made["school"]["brin"])).json()
    token = world.token("partner", client_id=made["clientId"])
    by_partner = (await world.call("GET", f"/v1/consents{path}", token)).json()
    assert by_school == by_partner
    return dict(by_school)


async def test_a_request_permits_nothing_and_is_seen_by_both(world: World) -> None:
    made = await asked(world, message="Voor het nieuwe schooljaar.")
    assert await world.reason() == "no_grant"
    assert made["scopes"] == {"required": sorted(BASIS), "optional": sorted(OFFERED[2:])}
    assert made["purposes"] == sorted([PURPOSE, OTHER_PURPOSE])
    assert (made["status"], made["message"]) == ("open", "Voor het nieuwe schooljaar.")
    assert (made["difference"], made["added"], made["grantId"], made["answer"]) == (None, None, None, None)
    assert await seen(world, made) == made
    for answer in (
        await world.administer("GET", "/requests?status=open"),
        await world.call("GET", "/v1/consents/requests?school=16SW", world.token("partner", client_id="rekenrijk")),
    ):
        assert answer.json() == {"items": [made], "next": None}
    assert (await world.administer("GET", "/requests", brin="17TX")).json()["items"] == []


async def test_what_is_accepted_is_granted(world: World) -> None:
    made = await asked(world)
    answer = await answered(world, made, "accept")
    assert answer.status_code == 200, answer.text
    accepted = answer.json()
    assert (accepted["status"], answer.headers["ETag"]) == ("accepted", f'"{accepted["version"]}"')
    given = (await world.administer("GET", f"/grants/{accepted['grantId']}")).json()
    assert (given["scopes"], given["purposes"]) == (ALL, sorted([PURPOSE, OTHER_PURPOSE]))
    assert await seen(world, made) == accepted
    assert await world.reason() == "granted"
    assert (await world.look()).json()["items"][0]["grantId"] == accepted["grantId"]
    assert (await answered(world, made, "accept", If_Match="*")).status_code == 409
    assert (await answered(world, made, "decline", {"reason": "Toch niet."}, If_Match="*")).status_code == 409


#: The part that the school accepts of a request for everything, and the resulting status.
CHOICES: dict[str, tuple[dict[str, Any], int, str]] = {
    "all of it by name": ({"scopes": ALL, "purposes": [PURPOSE, OTHER_PURPOSE]}, 200, "accepted"),
    "no more than is required": ({"scopes": BASIS}, 200, "accepted_in_part"),
    "one of the purposes": ({"purposes": [PURPOSE]}, 200, "accepted_in_part"),
    "until a day": ({"validUntil": "2027-01-01T00:00:00Z"}, 200, "accepted"),
    "less than is required": ({"scopes": BASIS[:1]}, 409, "required_scope_missing"),
    "more than was asked": ({"scopes": [*ALL, "docent.email"]}, 409, "scope_not_offered"),
    "no scope": ({"scopes": []}, 400, "invalid_input"),
    "no purpose": ({"purposes": []}, 400, "invalid_input"),
    "another purpose": ({"purposes": ["bestaat-niet"]}, 400, "unknown_purpose"),
    "an end that has been": ({"validUntil": "2020-01-01T00:00:00Z"}, 400, "invalid_period"),
    "another agreement": ({"agreementId": "0" * 8 + "-0000" * 3 + "-" + "0" * 12}, 409, "agreement_not_confirmed"),
}


@pytest.mark.parametrize("case", CHOICES)
async def test_a_school_accepts_a_part_but_never_less_than_is_required(world: World, case: str) -> None:
    body, status, expected = CHOICES[case]
    made = await asked(world)
    answer = await answered(world, made, "accept", body)
    assert answer.status_code == status, answer.text
    if status != 200:
        assert answer.json()["type"].endswith(f"/{expected}")
        assert await seen(world, made) == made, "nothing changed"
        assert await world.reason() == "no_grant"
        return
    assert answer.json()["status"] == expected
    given = (await world.administer("GET", f"/grants/{answer.json()['grantId']}")).json()
    assert given["scopes"] == sorted(body.get("scopes", ALL))
    assert await world.reason() == "granted"


async def test_a_school_declines_with_a_reason_and_is_left_alone_for_a_while(world: World) -> None:
    made = await asked(world)
    assert (await answered(world, made, "decline")).status_code == 400
    assert (await answered(world, made, "decline", {"reason": " "})).status_code == 400
    answer = await answered(world, made, "decline", {"reason": "Wij gebruiken iets anders."})
    assert (answer.json()["status"], answer.json()["answer"]) == ("declined", "Wij gebruiken iets anders.")
    assert await seen(world, made) == answer.json()
    assert await world.reason() == "no_grant"
    again = await ask(world)
    assert (again.status_code, again.json()["type"].rsplit("/", 1)[1]) == (409, "too_soon_again")
    assert "2026-10-01" in again.json()["detail"]
    world.clock.advance(days=30)
    assert (await ask(world)).status_code == 201


async def test_a_partner_withdraws_what_was_not_answered(world: World) -> None:
    made = await asked(world)
    token = world.token("partner", client_id="rekenrijk")
    path = f"/v1/consents/requests/{made['requestId']}/_withdraw"
    answer = await world.call("POST", path, token, {"reason": "Vergissing."})
    assert (answer.json()["status"], answer.json()["answer"]) == ("withdrawn", "Vergissing.")
    assert (await world.call("POST", path, token)).status_code == 409
    assert (await answered(world, made, "accept", If_Match="*")).status_code == 409
    assert await world.reason() == "no_grant"
    assert (await ask(world)).status_code == 201, "who withdrew may ask again"


async def test_a_request_where_there_is_a_grant_shows_the_difference_and_amends_it(world: World) -> None:
    given = await world.granted(validUntil="2027-06-01T00:00:00Z")
    made = await asked(world)
    missing = sorted(set(ALL) - set(NAMES))
    assert made["difference"] == {"scopes": missing, "purposes": [OTHER_PURPOSE]}
    answer = await answered(world, made, "accept")
    assert answer.json()["grantId"] == given["grantId"]
    shown = (await world.administer("GET", f"/grants/{given['grantId']}")).json()
    assert (shown["scopes"], shown["validUntil"]) == (ALL, "2027-06-01T00:00:00Z")
    assert (await seen(world, made))["difference"] == {"scopes": [], "purposes": []}
    nothing = await ask(world)
    assert (nothing.status_code, nothing.json()["type"].rsplit("/", 1)[1]) == (409, "nothing_to_ask")


async def test_a_grant_that_was_given_by_the_schools_own_initiative_answers_the_request(world: World) -> None:
    made = await asked(world)
    given = await world.granted()
    shown = await seen(world, made)
    assert (shown["status"], shown["grantId"]) == ("accepted_in_part", given["grantId"])


@pytest.mark.empty_world
async def test_a_connection_that_changes_asks_for_the_new_and_shows_the_difference(world: World) -> None:
    await world.register(optional=OFFERED[2:3])
    await world.agree("rekenrijk", OFFERED, [PURPOSE, OTHER_PURPOSE])
    made = await asked(world)
    change = {"scopes": {"required": list(BASIS), "optional": list(OFFERED[3:])}}
    changed = await world.operate("PATCH", "/v1/connections/rekenrijk", change, If_Match="*")
    assert changed.status_code == 200, changed.text
    shown = await seen(world, made)
    assert shown["scopes"]["optional"] == sorted(OFFERED[3:])
    assert shown["added"] == {"scopes": sorted(OFFERED[3:]), "purposes": []}
    assert shown["version"] == made["version"] + 1
    stale = await answered(world, made, "accept")
    assert stale.status_code == 412, "what was not seen is not accepted"
    missing = await world.administer("POST", f"/requests/{made['requestId']}/_accept")
    assert missing.status_code == 428
    accepted = await answered(world, shown, "accept")
    assert accepted.json()["status"] == "accepted"
    given = (await world.administer("GET", f"/grants/{accepted.json()['grantId']}")).json()
    assert given["scopes"] == sorted([*BASIS, *OFFERED[3:]])


@pytest.mark.empty_world
async def test_what_was_left_out_stays_left_out_when_the_connection_changes(world: World) -> None:
    await world.register(optional=OFFERED[2:4])
    made = await asked(world, scopes=[*BASIS, OFFERED[2]], purposes=[PURPOSE])
    change = {"scopes": {"required": list(BASIS), "optional": list(OFFERED[2:])}}
    await world.operate("PATCH", "/v1/connections/rekenrijk", change, If_Match="*")
    shown = await seen(world, made)
    assert shown["scopes"]["optional"] == sorted({OFFERED[2], *OFFERED[4:]})
    assert shown["purposes"] == [PURPOSE]


@pytest.mark.empty_world
async def test_what_is_new_brings_what_it_needs(world: World) -> None:
    await world.register(optional=["groep.basis"])
    made = await asked(world, scopes=BASIS)
    change = {"scopes": {"required": list(BASIS), "optional": ["groep.basis", "leerling.groepsindeling"]}}
    await world.operate("PATCH", "/v1/connections/rekenrijk", change, If_Match="*")
    assert (await seen(world, made))["scopes"]["optional"] == ["groep.basis", "leerling.groepsindeling"]


async def test_many_schools_are_asked_at_once_and_those_that_cannot_be_are_named(world: World) -> None:
    await world.granted(scopes=ALL, purposes=[PURPOSE, OTHER_PURPOSE])
    answer = await ask(world, schools=["17TX", "16SW", "16SW01", "99ZZ", "17TX", "16SW77"])
    assert answer.status_code == 201, answer.text
    shown = answer.json()
    assert [(each["school"]["brin"], each["location"]) for each in shown["items"]] == [
        ("16SW", "16SW01"),
        ("17TX", None),
    ]
    assert [(each["place"], each["problem"]) for each in shown["notAsked"]] == [
        ("16SW", "nothing_to_ask"),
        ("16SW77", "not_found"),
        ("99ZZ", "not_found"),
    ]
    assert shown["revision"] == shown["items"][0]["revision"]
    again = await ask(world, schools=["17TX"])
    assert (again.status_code, again.json()["type"].rsplit("/", 1)[1]) == (409, "request_exists")


async def test_a_board_is_asked_for_all_its_schools(world: World) -> None:
    answer = await ask(world, schools=None, boardNumber="10001")
    assert [each["school"]["brin"] for each in answer.json()["items"]] == ["16SW"]
    assert (await ask(world, schools=None, boardNumber="99999")).status_code == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"schools": []},
        {"schools": None},
        {"schools": ["16SW"], "boardNumber": "10001"},
        {"schools": ["16sw"]},
        {"schools": ["16SW"] * 501},
        {"scopes": ["leerling.bsn"]},
        {"scopes": ["bestaat.niet"]},
        {"scopes": [], "purposes": []},
        {"purposes": ["bestaat-niet"]},
        {"message": ""},
        {"message": "x" * 501},
        {"message": "\x00"},
        {"boardNumber": "1", "schools": None},
    ],
    ids=str,
)
async def test_what_makes_no_sense_is_refused(world: World, wrong: dict[str, Any]) -> None:
    answer = await ask(world, **wrong)
    assert answer.status_code == 400, answer.text
    assert (await world.administer("GET", "/requests")).json()["items"] == []


@pytest.mark.parametrize(
    ("wish", "slug"),
    [
        ({"scopes": BASIS[:1]}, "required_scope_missing"),
        ({"scopes": [*OFFERED, "docent.email"]}, "scope_not_offered"),
        ({"purposes": ["administratie"]}, "unknown_purpose"),
    ],
)
async def test_a_partner_asks_within_what_its_connection_is_registered_for(
    world: World, wish: dict[str, Any], slug: str
) -> None:
    assert (await ask(world, **wish)).json()["type"].endswith(f"/{slug}")


@pytest.mark.empty_world
async def test_no_more_than_so_many_requests_of_one_partner_wait_for_one_school(world: World) -> None:
    for number in range(MOST_OPEN + 1):
        await world.register(f"koppeling-{number}")
    for number in range(MOST_OPEN):
        assert (await ask(world, f"koppeling-{number}")).status_code == 201
    refused = await ask(world, f"koppeling-{MOST_OPEN}")
    assert (refused.status_code, refused.json()["type"].rsplit("/", 1)[1]) == (409, "too_many_open")
    await world.register("ander", kvk_number="90000002")
    assert (await ask(world, "ander")).status_code == 201, "another partner has its own"
    assert (await ask(world, f"koppeling-{MOST_OPEN}", schools=["17TX"])).status_code == 201, "another school too"


async def test_nobody_reaches_the_requests_of_another(world: World) -> None:
    await world.register("ander", kvk_number="90000002")
    made = await asked(world)
    path = f"/requests/{made['requestId']}"
    for answer in (
        await world.administer("GET", path, brin="17TX"),
        await world.administer("POST", f"{path}/_accept", brin="17TX", If_Match="*"),
        await world.administer("POST", f"{path}/_decline", {"reason": "Nee."}, brin="17TX"),
        await world.call("GET", f"/v1/consents{path}", world.token("partner", client_id="ander")),
        await world.call("POST", f"/v1/consents{path}/_withdraw", world.token("partner", client_id="ander")),
    ):
        assert answer.status_code == 404
    assert await seen(world, made) == made


@pytest.mark.empty_world
async def test_a_connection_that_is_not_placed_asks_nobody(world: World) -> None:
    await world.register(stage="building")  # type: ignore[arg-type]
    assert (await ask(world)).status_code == 404


async def test_a_request_under_one_key_is_made_once(world: World) -> None:
    token = world.token("partner", client_id="rekenrijk")
    answers = [
        await world.call("POST", "/v1/consents/requests", token, {"schools": ["16SW"]}, Idempotency_Key="een")
        for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["Idempotency-Replayed"] == "true"


async def test_the_log_holds_requests_and_nobodys_words(world: World) -> None:
    made = await asked(world, message="Vraag van Sjoukje.")
    await answered(world, made, "decline", {"reason": "Nee, zegt Tjeerd."})
    shown = (await world.call("GET", "/v1/log/entries?limit=500", world.token("operator"))).json()["items"]
    entries = [each for each in shown if each["kind"].startswith("request.")]
    assert [each["kind"] for each in entries] == ["request.made", "request.declined"]
    assert all(each["reason"].startswith("hmac-sha256:") for each in entries)
    assert "Sjoukje" not in str(shown)
    assert "Tjeerd" not in str(shown)
    assert [each["state"]["status"] for each in entries] == ["open", "declined"]


async def test_a_message_that_is_erased_is_told_by_no_remembered_answer(world: World) -> None:
    token = world.token("partner", client_id="rekenrijk")
    body = {"schools": ["16SW"], "message": "Vraag van Sjoukje."}
    first = await world.call("POST", "/v1/consents/requests", token, body, Idempotency_Key="vraag")
    (made,) = first.json()["items"]
    declined = {"If_Match": "*", "Idempotency_Key": "antwoord"}
    answer = await answered(world, made, "decline", {"reason": "Nee, zegt Tjeerd."}, **declined)
    assert (answer.json()["message"], answer.json()["answer"]) == ("Vraag van Sjoukje.", "Nee, zegt Tjeerd.")
    entries = (await world.call("GET", "/v1/log/entries?limit=500", world.token("operator"))).json()["items"]
    (asked_in,) = [each["number"] for each in entries if each["kind"] == "request.made"]
    erased = await world.operate("POST", f"/v1/log/entries/{asked_in}/reason/_erase")
    assert erased.status_code == 200, erased.text
    assert (await seen(world, made))["message"] is None
    again = await answered(world, made, "decline", {"reason": "Nee, zegt Tjeerd."}, **declined)
    assert (problem(again), "Sjoukje" in again.text) == ((409, "idempotency_key_reused"), False)
    repeated = await world.call("POST", "/v1/consents/requests", token, body, Idempotency_Key="vraag")
    assert (repeated.status_code, "Sjoukje" in repeated.text) == (409, False)
