"""Ground rules with their evidence: check, source, checker, date, and date of the next check."""

from typing import Any, Final

import pytest

from models.consents.ground_rules import CONVENANTS
from models.decision.kept_rules import GroundRuleName
from tests.grants.test_grants import problem
from tests.worlds.world import World

RULES: Final = "/v1/connections/rekenrijk/ground-rules"
CONVENANT: Final = {"rule": "privacyconvenant", "evidence": "Gezien in het register.", "source": "Edu-K"}


async def state_of(world: World, rule: str) -> dict[str, Any]:
    """The rule as the register shows it."""
    shown = (await world.operate("GET", "/v1/connections/rekenrijk")).json()["groundRules"]
    found: dict[str, Any] = next(each for each in shown if each["rule"] == rule)
    return found


@pytest.mark.empty_world
async def test_a_check_tells_what_was_checked_where_by_whom_when_and_when_again(world: World) -> None:
    await world.register(rules=())
    checked = {
        **CONVENANT,
        "checkedAt": "2026-08-31T10:00:00Z",
        "checkAgainOn": "2027-06-01",
        "convenant": {"version": "4.0", "status": "medestander"},
    }
    recorded = (await world.operate("POST", RULES, checked)).json()
    told = {
        "rule": "privacyconvenant",
        "kept": True,
        "evidence": "Gezien in het register.",
        "source": "Edu-K",
        "checkedBy": "operator-subject",
        "checkedAt": "2026-08-31T10:00:00Z",
        "checkAgainOn": "2027-06-01",
        "convenantVersion": "4.0",
        "convenantStatus": "medestander",
        "validFrom": "2026-09-01T08:00:00Z",
        "validUntil": None,
    }
    assert {name: recorded[name] for name in told} == told
    assert (await world.operate("GET", RULES)).json()["items"] == [recorded]
    state = await state_of(world, "privacyconvenant")
    assert (state["kept"], state["convenantStatus"], state["checkAgainOn"]) == (True, "medestander", "2027-06-01")


def test_the_convenants_and_their_statuses_are_data() -> None:
    assert set(CONVENANTS) == {"3.0", "4.0"}
    for convenant in CONVENANTS.values():
        assert convenant.statuses == {"deelnemer": True, "medestander": True, "none": False}


WRONG: Final[dict[str, dict[str, Any]]] = {
    "the convenant without a version": CONVENANT,
    "an unknown version": {**CONVENANT, "convenant": {"version": "5.0", "status": "deelnemer"}},
    "an unknown status": {**CONVENANT, "convenant": {"version": "4.0", "status": "lid"}},
    "kept though the register says none": {**CONVENANT, "convenant": {"version": "4.0", "status": "none"}},
    "not kept though the register says deelnemer": {
        **CONVENANT,
        "kept": False,
        "convenant": {"version": "4.0", "status": "deelnemer"},
    },
    "a version for another rule": {
        **CONVENANT,
        "rule": "kvk",
        "convenant": {"version": "4.0", "status": "deelnemer"},
    },
    "a check of tomorrow": {**CONVENANT, "rule": "kvk", "checkedAt": "2026-09-01T08:00:01Z"},
    "an end before the start": {**CONVENANT, "rule": "kvk", "validUntil": "2026-01-01T00:00:00Z"},
    "a fifth rule": {**CONVENANT, "rule": "iso27001"},
}


@pytest.mark.empty_world
@pytest.mark.parametrize("case", WRONG)
async def test_a_check_that_contradicts_itself_is_not_recorded(world: World, case: str) -> None:
    await world.register(rules=())
    answer = await world.operate("POST", RULES, WRONG[case])
    assert answer.status_code == 400
    assert problem(answer)[1] in ("invalid_input", "invalid_period")
    assert (await world.operate("GET", RULES)).json()["items"] == []


@pytest.mark.parametrize("rule", list(GroundRuleName))
async def test_a_check_that_finds_a_rule_not_kept_outweighs_all_that_was_known(world: World, rule: str) -> None:
    given = await world.granted()
    await world.keep("rekenrijk", rule, validFrom="2026-09-10T00:00:00Z")
    more = {"convenant": {"version": "4.0", "status": "none"}} if rule == "privacyconvenant" else {}
    found = (await world.keep("rekenrijk", rule, kept=False, **more)).json()
    assert (found["kept"], found["validFrom"], found["validUntil"]) == (False, found["createdAt"], found["createdAt"])
    assert await world.reason() == "partner_not_eligible"
    world.clock.advance(days=20)
    assert await world.reason() == "partner_not_eligible"
    assert (await state_of(world, rule))["kept"] is False
    await world.keep("rekenrijk", rule)
    assert await world.reason() == "granted"
    assert (await world.administer("GET", f"/grants/{given['grantId']}")).json() == given


@pytest.mark.empty_world
async def test_a_check_is_due_again_on_its_day_and_a_later_check_takes_its_place(world: World) -> None:
    await world.register(rules=[rule for rule in GroundRuleName if rule != "kvk"])
    await world.keep("rekenrijk", "kvk", checkAgainOn="2026-09-10")
    (due,) = (await world.operate("GET", "/v1/due")).json()["items"]
    assert (due["kind"], due["rule"], due["clientId"]) == ("ground_rule_check", "kvk", "rekenrijk")
    assert (due["dueAt"], due["overdue"]) == ("2026-09-10T22:00:00Z", False)
    world.clock.advance(days=10)
    (late,) = (await world.operate("GET", "/v1/due?overdue=true")).json()["items"]
    assert late["overdue"] is True
    assert await world.reason() != "partner_not_eligible"
    await world.keep("rekenrijk", "kvk", checkAgainOn="2027-09-10")
    assert (await world.operate("GET", "/v1/due")).json()["items"] == []


@pytest.mark.empty_world
async def test_a_gap_between_two_facts_is_due(world: World) -> None:
    await world.register(rules=[rule for rule in GroundRuleName if rule != "kvk"])
    await world.keep("rekenrijk", "kvk", validUntil="2026-09-05T00:00:00Z")
    await world.keep("rekenrijk", "kvk", validFrom="2030-01-01T00:00:00Z")
    (due,) = (await world.operate("GET", "/v1/due")).json()["items"]
    assert (due["kind"], due["dueAt"]) == ("ground_rule_end", "2026-09-05T00:00:00Z")


async def test_no_day_is_too_late_to_be_listed(world: World) -> None:
    for day in ("9999-12-31", "3000-01-01", "1999-12-31", "0001-01-01"):
        assert problem(await world.keep("rekenrijk", "kvk", checkAgainOn=day)) == (400, "invalid_input")
    assert (await world.keep("rekenrijk", "kvk", checkAgainOn="2999-12-31")).status_code == 201
    assert (await world.operate("GET", "/v1/due?until=2999-12-31T23:59:59Z")).status_code == 200


@pytest.mark.empty_world
async def test_evidence_is_as_long_as_the_contract_allows_on_either_store(world: World) -> None:
    await world.register(rules=())
    assert (await world.keep("rekenrijk", "kvk", evidence="é" * 1000)).json()["evidence"] == "é" * 1000
    assert problem(await world.keep("rekenrijk", "kvk", evidence="é" * 1001)) == (400, "invalid_input")


@pytest.mark.empty_world
async def test_a_rule_that_ends_is_due_unless_another_fact_shows_it_further(world: World) -> None:
    await world.register(rules=[rule for rule in GroundRuleName if rule != "kvk"])
    await world.keep("rekenrijk", "kvk", validUntil="2026-09-20T00:00:00Z")
    (due,) = (await world.operate("GET", "/v1/due")).json()["items"]
    assert (due["kind"], due["rule"], due["dueAt"]) == ("ground_rule_end", "kvk", "2026-09-20T00:00:00Z")
    await world.keep("rekenrijk", "kvk", validFrom="2026-09-20T00:00:00Z", validUntil="2027-09-20T00:00:00Z")
    assert (await world.operate("GET", "/v1/due")).json()["items"] == []
    (later,) = (await world.operate("GET", "/v1/due?until=2028-01-01T00:00:00Z")).json()["items"]
    assert later["dueAt"] == "2027-09-20T00:00:00Z"
