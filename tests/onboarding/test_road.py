"""A partner's road by API only: from the application to a permitted decision and a resolved incident."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

import pytest

from models.consents.onboarding import (
    CONDITIONS,
    REFUSALS,
    ROAD,
    TAKEN_FROM,
    Case,
    Condition,
    Readiness,
    RoadStep,
    require_step,
)
from models.consents.partners import Connection, Stage
from models.decision.kept_rules import GroundRuleName
from models.vocabulary.refusals import StepTooEarly, TransitionNotAllowed
from tests.grants.test_grants import problem
from tests.worlds.applicant_road import KVK, REGISTERED, Road
from tests.worlds.world import BASIS, NAMES, OFFERED, PURPOSE, START, TERMS, Answer, World

pytestmark = pytest.mark.empty_world


@pytest.fixture
def road(world: World) -> Road:
    return Road(world)


async def test_the_whole_road_from_the_form_to_a_permit_and_a_solved_incident(world: World, road: Road) -> None:
    applied = await road.apply()
    assert (applied.json()["step"], applied.json()["dueAt"]) == ("applied", "2026-09-04T22:00:00Z")
    for step in ("contacted", "introduced"):
        world.clock.advance(hours=5)
        assert (await road.step(step)).status_code == 200
    assert (await road.register()).json()["stage"] == "building"
    assert (await road.step("agreements_sent", clientId="rekenrijk")).status_code == 200
    assert (await road.sign()).status_code == (await road.hand_in()).status_code == 201
    for step in ("agreements_returned", "building"):
        world.clock.advance(days=2)
        assert (await road.step(step)).status_code == 200
    await road.keep_rules()

    assert (await world.administer("GET", "/connections")).json()["items"] == []
    assert (await road.step("placed")).status_code == 200
    (seen,) = (await world.administer("GET", "/connections")).json()["items"]
    assert (seen["clientId"], seen["stage"], seen["eligible"]) == ("rekenrijk", "placed", True)
    given = await world.granted()
    assert await world.reason() == "partner_not_eligible"

    assert (await road.step("live")).status_code == 200
    permitted = (await world.ask()).json()
    assert permitted["decision"] is True
    assert permitted["context"]["grantId"] == given["grantId"]
    assert (await road.follow()).json()["steps"][-1]["step"] == "live"
    await _an_incident_is_solved(world)


async def _an_incident_is_solved(world: World) -> None:
    token = world.token("partner", client_id="rekenrijk")
    wish = {"title": "Geen leerlingen", "description": "De lijst is leeg.", "severity": "high"}
    incident = (await world.call("POST", "/v1/incidents", token, wish)).json()
    path = f"/v1/incidents/{incident['incidentId']}"
    for step, minutes in (("_take", 10), ("_answer", 20), ("_resolve", 30)):
        world.clock.advance(minutes=minutes)
        assert (await world.operate("POST", f"{path}/{step}", {"text": "Gedaan."})).status_code == 200
    solved = (await world.call("GET", path, token)).json()
    assert (solved["status"], solved["secondsToFirstAnswer"], solved["secondsToSolution"]) == ("resolved", 1800, 3600)


async def test_a_case_tells_operators_who_took_which_step_when_and_on_what_evidence(world: World, road: Road) -> None:
    await road.apply()
    world.clock.advance(hours=1)
    taken = (await road.step("contacted", evidence="Teruggebeld; afspraak via Teams op 8 september.")).json()
    applied, contacted = taken["steps"]
    assert (applied["role"], applied["by"]) == ("applicant", f"applicant:{road.reference}")
    assert contacted == {
        "step": "contacted",
        "at": "2026-09-01T09:00:00Z",
        "by": "operator-subject",
        "role": "operator",
        "evidence": "Teruggebeld; afspraak via Teams op 8 september.",
    }
    assert taken == (await world.operate("GET", f"/v1/cases/{road.case_id}")).json()


# -- refused steps ----------------------------------------------------------------------------------------------------

Turn = Callable[[Road], Awaitable[Answer]]


async def _grant(road: Road) -> Answer:
    return await road.world.grant()


async def _report(road: Road) -> Answer:
    token = road.world.token("partner", client_id="rekenrijk")
    wish = {"title": "Kapot", "description": "Het doet het niet.", "severity": "low"}
    return await road.world.call("POST", "/v1/incidents", token, wish)


async def _place_with_an_expired_rule(road: Road) -> Answer:
    await road.keep_rules(but="privacyconvenant")
    await road.world.keep("rekenrijk", "privacyconvenant", validUntil="2026-09-02T00:00:00Z")
    road.world.clock.advance(days=1)
    return await road.step("placed")


async def _go_live_with_a_lapsed_rule(road: Road) -> Answer:
    await road.world.keep("rekenrijk", "kvk", kept=False)
    return await road.step("live")


async def _return_without_a_signature(road: Road) -> Answer:
    return await road.sign(signatories=TERMS["signatories"][:1])


async def _return_without_the_document(road: Road) -> Answer:
    await road.sign()
    return await road.step("agreements_returned")


async def _of_another_partner(road: Road) -> Answer:
    await road.register(kvkNumber="90000009")
    return await road.step("agreements_sent", clientId="rekenrijk")


async def _more_than_applied_for(road: Road) -> Answer:
    optional = [*OFFERED[2:], "groep.samengesteld"]
    await road.register(scopes={"required": BASIS, "optional": optional})
    return await road.step("agreements_sent", clientId="rekenrijk")


async def _stopped(road: Road) -> Answer:
    await road.keep_rules()
    await road.world.operate("POST", "/v1/connections/rekenrijk/_stop", {"reason": "Oefening."})
    return await road.step("placed")


#: The partner's step, the call that is tried, and the type and status of the refusal.
WRONG_TURNS: Final[dict[str, tuple[RoadStep, Turn, int, str]]] = {
    "a step too early": (RoadStep.CONTACTED, lambda road: road.step("building"), 409, "step_too_early"),
    "live before it is placed": (RoadStep.BUILDING, lambda road: road.step("live"), 409, "step_too_early"),
    "a step twice": (RoadStep.INTRODUCED, lambda road: road.step("contacted"), 409, "step_too_early"),
    "no connection": (RoadStep.INTRODUCED, lambda road: road.step("agreements_sent"), 409, "connection_not_registered"),
    "an unknown connection": (
        RoadStep.INTRODUCED,
        lambda road: road.step("agreements_sent", clientId="bestaat-niet"),
        409,
        "connection_not_registered",
    ),
    "another partner's connection": (RoadStep.INTRODUCED, _of_another_partner, 409, "other_partner"),
    "more than was applied for": (RoadStep.INTRODUCED, _more_than_applied_for, 409, "beyond_application"),
    "a missing signature": (RoadStep.AGREEMENTS_SENT, _return_without_a_signature, 409, "signature_missing"),
    "nothing signed": (
        RoadStep.AGREEMENTS_SENT,
        lambda road: road.step("agreements_returned"),
        409,
        "signature_missing",
    ),
    "a missing document": (RoadStep.AGREEMENTS_SENT, _return_without_the_document, 409, "document_missing"),
    "an expired rule": (RoadStep.BUILDING, _place_with_an_expired_rule, 409, "ground_rule_not_kept"),
    "a rule that lapsed on the way": (RoadStep.PLACED, _go_live_with_a_lapsed_rule, 409, "ground_rule_not_kept"),
    "an emergency stop": (RoadStep.BUILDING, _stopped, 409, "connection_stopped"),
    "a grant for an unplaced connection": (RoadStep.BUILDING, _grant, 404, "connection_not_placed"),
    "an incident before it is live": (RoadStep.PLACED, _report, 409, "connection_not_live"),
}


@pytest.mark.parametrize("turn", WRONG_TURNS)
async def test_a_wrong_turn_is_refused_with_a_problem_of_its_own(world: World, road: Road, turn: str) -> None:
    where, tried, status, slug = WRONG_TURNS[turn]
    await road.travel_to(where)
    assert problem(await tried(road)) == (status, slug)
    assert (await world.operate("GET", f"/v1/cases/{road.case_id}")).json()["step"] == where
    assert await world.reason() in ("partner_not_eligible", "unknown_partner")


async def test_a_refused_step_names_all_its_conditions_that_are_not_met(road: Road) -> None:
    await road.travel_to(RoadStep.BUILDING)
    refused = (await road.step("placed")).json()
    assert [each["condition"] for each in refused["conditions"]] == [rule.value for rule in GroundRuleName]
    await road.keep_rules(but="kvk")
    (missing,) = (await road.step("placed")).json()["conditions"]
    assert missing == {"condition": "kvk", "detail": "The ground rule kvk is not shown to be kept now."}


async def test_a_connection_that_is_not_placed_looks_to_a_school_like_one_that_does_not_exist(
    world: World, road: Road
) -> None:
    await road.travel_to(RoadStep.BUILDING)
    unplaced, unknown = await world.grant(), await world.grant("bestaat-niet")
    assert (unplaced.status_code, unplaced.content) == (unknown.status_code, unknown.content)
    assert (await world.administer("GET", "/connections")).json()["items"] == []


# -- the table --------------------------------------------------------------------------------------------------------

#: The road as the platform describes it, written a second time: the steps before each step.
DESCRIBED: Final = """
contacted            from applied
introduced           from contacted
agreements_sent      from introduced agreements_sent agreements_returned
agreements_returned  from agreements_sent
building             from agreements_returned
placed               from building
live                 from placed
rejected             from applied contacted introduced agreements_sent agreements_returned building placed
withdrawn            from applied contacted introduced agreements_sent agreements_returned building placed live
"""


def test_the_road_is_the_one_that_is_described() -> None:
    lines = (line.split(" from ") for line in DESCRIBED.strip().splitlines())
    described = {(RoadStep(step.strip()), RoadStep(one)) for step, before in lines for one in before.split()}
    assert {(step, one) for step, before in TAKEN_FROM.items() for one in before} == described
    assert set(CONDITIONS) <= set(ROAD)


def case_at(step: RoadStep) -> Case:
    return Case(
        case_id="case",
        reference="00000-00000",
        secret_digest="",
        company_name="Uitgeverij",
        kvk_number=KVK,
        contact_name="C. van Contact",
        contact_email="contact@uitgeverij.example",
        product_name="Rekenrijk",
        requested=REQUESTED,
        legal_relation="Opdracht van de school.",
        convenant_version="4.0",
        convenant_status="deelnemer",
        step=step,
        due_at=START,
        revision=1,
        created_at=START,
        changed_at=START,
    )


@pytest.mark.parametrize("step", list(RoadStep))
@pytest.mark.parametrize("where", list(RoadStep))
def test_every_step_from_everywhere_is_on_the_road_or_refused(where: RoadStep, step: RoadStep) -> None:
    case = case_at(where)
    if where in (RoadStep.REJECTED, RoadStep.WITHDRAWN):
        with pytest.raises(TransitionNotAllowed, match=where.value):
            require_step(case, step, READY)
    elif where in TAKEN_FROM.get(step, ()):
        require_step(case, step, READY)
    else:
        with pytest.raises(StepTooEarly):
            require_step(case, step, READY)


REQUESTED: Final = [{"scope": scope, "purpose": PURPOSE} for scope in NAMES]


def connection_of(kvk_number: str = KVK, optional: Sequence[str] = ()) -> Connection:
    return Connection(
        client_id="rekenrijk",
        kvk_number=kvk_number,
        name="Rekenrijk",
        profile="smalle-set@2.3",
        recipient_role="processor",
        required_scopes=BASIS,
        optional_scopes=list(optional),
        purposes=[PURPOSE],
        revision=1,
        created_at=START,
        changed_at=START,
    )


#: All facts that any step needs.
READY: Final = Readiness(connection_of(), False, True, True, frozenset(GroundRuleName), False)
#: For each condition, the facts when only that condition is not met.
LACKING: Final = {
    Condition.CONNECTION_REGISTERED: replace(READY, taken=True),
    Condition.SAME_PARTNER: replace(READY, connection=connection_of("90000009")),
    Condition.WITHIN_APPLICATION: replace(READY, connection=connection_of(optional=OFFERED)),
    Condition.AGREEMENT_SIGNED: replace(READY, signed=False),
    Condition.DOCUMENT_KEPT: replace(READY, document_kept=False),
    Condition.NOT_STOPPED: replace(READY, stopped=True),
    **{Condition(rule): replace(READY, rules_kept=frozenset(GroundRuleName) - {rule}) for rule in GroundRuleName},
}


def test_every_condition_is_tried_alone() -> None:
    assert set(LACKING) == set(Condition) - {Condition.STEP_BEFORE}


@pytest.mark.parametrize("condition", list(LACKING))
def test_a_step_that_lacks_one_condition_names_that_one(condition: Condition) -> None:
    assert [step for step, needed in CONDITIONS.items() if condition in needed]
    for step, needed in CONDITIONS.items():
        case = case_at(min(TAKEN_FROM[step]))
        if condition not in needed:
            require_step(case, step, LACKING[condition])
            continue
        with pytest.raises(REFUSALS[condition]) as refused:
            require_step(case, step, LACKING[condition])
        assert [each.condition for each in refused.value.unmet] == [condition]


# -- the end of the road ----------------------------------------------------------------------------------------------


async def test_an_applicant_withdraws_with_its_secret_until_the_connection_is_placed(world: World, road: Road) -> None:
    await road.travel_to(RoadStep.PLACED)
    path, wish = f"/v1/applications/{road.reference}/_withdraw", {"reason": "Wij stoppen ermee."}
    refused = await world.call("POST", path, None, wish, X_Application_Secret=road.secret)
    assert problem(refused) == (409, "transition_not_allowed")
    other = Road(world, "90000002")
    await other.apply()
    path = f"/v1/applications/{other.reference}/_withdraw"
    withdrawn = await world.call("POST", path, None, wish, X_Application_Secret=other.secret)
    assert (withdrawn.status_code, withdrawn.json()["step"]) == (200, "withdrawn")
    again = await world.call("POST", path, None, wish, X_Application_Secret=other.secret)
    assert problem(again) == (409, "transition_not_allowed")


async def test_a_partner_that_leaves_is_denied_and_out_of_sight_and_its_grants_are_untouched(
    world: World, road: Road
) -> None:
    await road.travel_to(RoadStep.LIVE)
    given = await world.granted()
    assert await world.reason() == "granted"
    assert (await road.step("withdrawn", evidence="Opgezegd per brief.")).status_code == 200
    assert await world.reason() == "partner_not_eligible"
    assert (await world.administer("GET", "/connections")).json()["items"] == []
    assert (await world.administer("GET", f"/grants/{given['grantId']}")).json() == given
    assert (await world.step(given["grantId"], "revoke")).status_code == 200


async def test_a_case_that_ends_takes_away_only_the_connection_that_it_had_brought_there(
    world: World, road: Road
) -> None:
    """A connection that was live before cases existed stays live when an application for it is rejected."""
    await world.register()
    await road.apply()
    for step, more in (("contacted", {}), ("introduced", {}), ("agreements_sent", {"clientId": "rekenrijk"})):
        assert (await road.step(step, **more)).status_code == 200
    assert (await road.step("rejected")).status_code == 200
    assert (await world.operate("GET", "/v1/connections/rekenrijk")).json()["stage"] == Stage.LIVE


async def test_a_partner_that_comes_back_finds_every_school_asked_anew(world: World, road: Road) -> None:
    await road.travel_to(RoadStep.LIVE)
    given, other = await world.granted(), await world.granted(location="16SW00")
    await world.step(other["grantId"], "suspend", {"until": "2026-12-01T00:00:00Z"})
    await road.step("withdrawn")
    again = Road(world)
    await again.apply()
    for step in ("contacted", "introduced"):
        await again.step(step)
    assert (await again.step("agreements_sent", clientId="rekenrijk")).status_code == 200
    for step in ("agreements_returned", "building", "placed", "live"):
        assert (await again.step(step)).status_code == 200
    assert await world.reason() == "needs_reconfirmation"
    shown = (await world.administer("GET", f"/grants/{other['grantId']}")).json()
    assert (shown["status"], shown["suspendedUntil"]) == ("suspended", None)
    assert (await world.step(other["grantId"], "resume")).json()["status"] == "needs_reconfirmation"
    asked = (await world.administer("GET", f"/grants/{given['grantId']}")).json()
    assert (await world.amend(asked)).status_code == 200
    assert await world.reason() == "granted"


async def test_a_case_that_ends_leaves_a_connection_that_was_live_before_it(world: World, road: Road) -> None:
    await road.travel_to(RoadStep.BUILDING)
    await world.bring("rekenrijk", Stage.LIVE)
    await road.keep_rules()
    assert (await road.step("placed")).status_code == (await road.step("rejected")).status_code == 200
    assert (await world.operate("GET", "/v1/connections/rekenrijk")).json()["stage"] == Stage.LIVE


async def test_to_be_placed_an_agreement_is_in_force_and_its_own_document_is_kept(world: World, road: Road) -> None:
    await road.travel_to(RoadStep.AGREEMENTS_SENT)
    later = "2027-01-01T00:00:00Z"
    await road.sign(validFrom=later)
    await road.hand_in()
    for step in ("agreements_returned", "building"):
        assert (await road.step(step)).status_code == 200
    await road.keep_rules()
    assert problem(await road.step("placed")) == (409, "signature_missing")
    await road.sign()
    assert problem(await road.step("placed")) == (409, "document_missing")
    await road.hand_in()
    assert (await road.step("placed")).status_code == 200


async def test_a_takeover_inherits_nothing(world: World, road: Road) -> None:
    """A company that takes over applies under its own KvK number, and needs its own connection and grants."""
    await road.travel_to(RoadStep.LIVE)
    await world.granted()
    successor = Road(world, "90000007")
    await successor.apply()
    for step in ("contacted", "introduced"):
        await successor.step(step)
    assert problem(await successor.step("agreements_sent", clientId="rekenrijk")) == (409, "connection_not_registered")
    assert (await road.step("withdrawn")).status_code == 200
    assert problem(await successor.step("agreements_sent", clientId="rekenrijk")) == (409, "other_partner")
    made = await world.operate(
        "POST", "/v1/connections", {**REGISTERED, "clientId": "opvolger", "kvkNumber": "90000007"}
    )
    assert problem(made) == (400, "invalid_input")
    await world.register("opvolger", kvk_number="90000007")
    assert await world.reason("opvolger") == "no_grant"
    assert (await world.look("opvolger")).json()["items"] == []
