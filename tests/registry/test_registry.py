"""The operators' register: partners, connections, agreements and ground rules."""

from typing import Any

import pytest

from models.decision.kept_rules import GroundRuleName
from tests.grants.test_grants import problem
from tests.worlds.world import BASIS, NAMES, PURPOSE, World

CONNECTION = {
    "clientId": "rekenrijk",
    "kvkNumber": "90000001",
    "name": "Rekenrijk",
    "profile": "smalle-set@2.3",
    "scopes": {"required": BASIS, "optional": ["leerling.naam"]},
    "purposes": [PURPOSE],
}


async def _with_partner(world: World) -> None:
    made = await world.operate("POST", "/v1/partners", {"kvkNumber": "90000001", "name": "Rekenrijk B.V."})
    assert made.status_code == 201


@pytest.mark.empty_world
async def test_a_partner_is_registered_once_and_can_be_renamed(world: World) -> None:
    await _with_partner(world)
    again = await world.operate("POST", "/v1/partners", {"kvkNumber": "90000001", "name": "Een ander"})
    assert problem(again) == (409, "already_exists")
    renamed = await world.operate("PATCH", "/v1/partners/90000001", {"name": "Rekenrijk N.V."}, If_Match='"1"')
    assert (renamed.json()["name"], renamed.headers["ETag"]) == ("Rekenrijk N.V.", '"2"')
    assert (await world.operate("GET", "/v1/partners/90000001")).json() == renamed.json()
    assert [each["kvkNumber"] for each in (await world.operate("GET", "/v1/partners")).json()["items"]] == ["90000001"]
    assert problem(await world.operate("GET", "/v1/partners/99999999")) == (404, "not_found")


WRONG: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "a partner that is not registered": ({"kvkNumber": "99999999"}, 400, "invalid_input", "99999999"),
    "an unknown profile": ({"profile": "brede-set@9"}, 400, "invalid_input", "brede-set@9"),
    "a scope outside the profile": (
        {"scopes": {"required": [*BASIS, "leerling.geboortedatum"], "optional": []}},
        400,
        "invalid_input",
        "leerling.geboortedatum",
    ),
    "a national number": ({"scopes": {"required": [*BASIS, "leerling.bsn"]}}, 400, "unknown_scope", "bsn"),
    "a scope that is both required and optional": (
        {"scopes": {"required": BASIS, "optional": BASIS}},
        400,
        "invalid_input",
        "leerling.pseudoniem",
    ),
    "required scopes that cannot stand alone": (
        {"scopes": {"required": ["leerling.naam"], "optional": BASIS}},
        400,
        "scope_dependency_missing",
        "leerling.pseudoniem",
    ),
    "an unknown purpose": ({"purposes": ["reclame"]}, 400, "unknown_purpose", "reclame"),
    "no purpose": ({"purposes": []}, 400, "invalid_input", ""),
    "a client id with capitals": ({"clientId": "Rekenrijk"}, 400, "invalid_input", ""),
}


@pytest.mark.empty_world
@pytest.mark.parametrize("name", WRONG)
async def test_a_connection_that_could_never_be_granted_is_not_registered(world: World, name: str) -> None:
    changed, status, slug, named = WRONG[name]
    await _with_partner(world)
    answer = await world.operate("POST", "/v1/connections", {**CONNECTION, **changed})
    assert problem(answer) == (status, slug)
    assert named in answer.json()["detail"]


@pytest.mark.empty_world
async def test_a_connection_is_registered_once(world: World) -> None:
    await _with_partner(world)
    made = await world.operate("POST", "/v1/connections", CONNECTION)
    assert (made.status_code, made.json()["requestVersion"], made.json()["version"]) == (201, 1, 1)
    assert problem(await world.operate("POST", "/v1/connections", CONNECTION)) == (409, "already_exists")
    assert (await world.operate("GET", "/v1/connections/rekenrijk")).json() == made.json()
    assert (await world.operate("GET", "/v1/connections")).json()["items"] == [made.json()]


@pytest.mark.empty_world
async def test_a_profile_with_the_date_of_birth_can_ask_for_it(world: World) -> None:
    await _with_partner(world)
    scopes = {"required": BASIS, "optional": ["leerling.geboortedatum"]}
    wish = {**CONNECTION, "profile": "smalle-set@2.2", "scopes": scopes}
    assert (await world.operate("POST", "/v1/connections", wish)).status_code == 201


@pytest.mark.parametrize("rule", list(GroundRuleName))
async def test_a_connection_that_loses_one_ground_rule_is_denied_at_once(world: World, rule: GroundRuleName) -> None:
    await world.granted()
    facts = (await world.operate("GET", "/v1/connections/rekenrijk/ground-rules")).json()["items"]
    fact = next(each["groundRuleId"] for each in facts if each["rule"] == rule)
    path = f"/v1/connections/rekenrijk/ground-rules/{fact}/_withdraw"
    withdrawn = await world.operate("POST", path, {"reason": "Niet meer in het register."})
    assert withdrawn.status_code == 200
    assert await world.reason() == "partner_not_eligible"
    assert problem(await world.operate("POST", path, {"reason": "Nogmaals."})) == (409, "transition_not_allowed")
    await world.keep("rekenrijk", rule)
    assert await world.reason() == "granted"


@pytest.mark.empty_world
async def test_a_ground_rule_ends_by_itself_at_its_instant(world: World) -> None:
    await world.register(rules=[rule for rule in GroundRuleName if rule != "kvk"])
    await world.keep("rekenrijk", "kvk", validUntil="2026-09-08T08:00:00Z")
    await world.granted()
    world.clock.advance(days=6, hours=23, minutes=59, seconds=59)
    assert await world.reason() == "granted"
    world.clock.advance(seconds=1)
    assert await world.reason() == "partner_not_eligible"


async def test_a_period_that_ends_before_it_begins_is_refused(world: World) -> None:
    backwards = {"validFrom": "2027-01-01T00:00:00Z", "validUntil": "2026-01-01T00:00:00Z"}
    assert problem(await world.keep("rekenrijk", "kvk", **backwards)) == (400, "invalid_period")
    assert problem(await world.agree("rekenrijk", BASIS, [PURPOSE], **backwards)) == (400, "invalid_period")


async def test_a_newer_agreement_takes_the_place_of_the_one_before(world: World) -> None:
    await world.granted()
    later = "2026-10-01T00:00:00Z"
    assert (await world.agree("rekenrijk", BASIS, [PURPOSE], validFrom=later)).status_code == 201
    assert await world.reason(scopes=["leerling.naam"]) == "granted"
    world.clock.advance(days=30)
    assert await world.reason(scopes=["leerling.naam"]) == "scope_not_granted"
    assert await world.reason() == "granted"


async def test_without_an_agreement_in_force_nothing_is_released(world: World) -> None:
    await world.granted()
    (agreement,) = (await world.operate("GET", "/v1/connections/rekenrijk/agreements")).json()["items"]
    path = f"/v1/connections/rekenrijk/agreements/{agreement['agreementId']}/_end"
    assert (await world.operate("POST", path, {"reason": "Opgezegd."})).status_code == 200
    assert await world.reason() == "partner_not_eligible"
    assert problem(await world.operate("POST", path, {"reason": "Opgezegd."})) == (409, "transition_not_allowed")


async def test_an_agreement_names_what_is_known(world: World) -> None:
    assert problem(await world.agree("rekenrijk", ["leerling.bsn"], [PURPOSE])) == (400, "unknown_scope")
    assert problem(await world.agree("rekenrijk", NAMES, ["reclame"])) == (400, "unknown_purpose")
    unknown_board = await world.agree("rekenrijk", NAMES, [PURPOSE], boardNumber="99999")
    assert problem(unknown_board) == (400, "invalid_input")


async def test_what_belongs_to_another_connection_is_not_found(world: World) -> None:
    await world.register("taalhuis", kvk_number="90000002")
    facts = (await world.operate("GET", "/v1/connections/rekenrijk/ground-rules")).json()["items"]
    path = f"/v1/connections/taalhuis/ground-rules/{facts[0]['groundRuleId']}/_withdraw"
    assert problem(await world.operate("POST", path, {"reason": "Verkeerd."})) == (404, "not_found")


@pytest.mark.empty_world
async def test_every_change_of_the_register_takes_a_revision(world: World) -> None:
    await _with_partner(world)
    first = (await world.operate("GET", "/v1/partners/90000001")).json()["revision"]
    made = (await world.operate("POST", "/v1/connections", CONNECTION)).json()["revision"]
    assert made == first + 1


async def test_a_changed_request_names_both_lists_so_that_none_is_emptied_by_omission(world: World) -> None:
    change = {"scopes": {"required": BASIS}}
    answer = await world.operate("PATCH", "/v1/connections/rekenrijk", change, If_Match='"1"')
    assert problem(answer) == (400, "invalid_input")
    nothing: dict[str, Any] = {"scopes": {"required": [], "optional": []}}
    answer = await world.operate("PATCH", "/v1/connections/rekenrijk", nothing, If_Match='"1"')
    assert problem(answer) == (400, "invalid_input")


async def test_a_day_is_written_as_a_day(world: World) -> None:
    for day in (0, "2026-08-01T00:00:00Z", "1 augustus", "2026-13-01"):
        assert problem(await world.agree("rekenrijk", BASIS, [PURPOSE], signedOn=day)) == (400, "invalid_input")
