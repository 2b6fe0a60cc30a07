"""The main job: a school grants, a partner looks, a gateway asks; and the whole life of a grant."""

import json
import time
import uuid
from datetime import timedelta
from typing import Any

import pytest

from api.security.tokens import DEMO_AUDIENCE, DEMO_ISSUER
from tests.security.signing_keys import SigningKey, good_claims
from tests.worlds.world import BASIS, NAMES, OFFERED, OTHER_PURPOSE, PURPOSE, START, Answer, World, question


def problem(answer: Answer) -> tuple[int, str]:
    """The status and the slug of a problem document."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["type"].rsplit("/", 1)[1]


async def test_a_school_grants_a_partner_looks_and_a_gateway_asks(world: World) -> None:
    grant = await world.granted()
    consents = (await world.look()).json()["items"]
    assert [(consent["grantId"], consent["status"], consent["reason"]) for consent in consents] == [
        (grant["grantId"], "granted", None)
    ]
    answer = (await world.ask(scopes=["leerling.naam"])).json()
    assert answer["decision"] is True
    assert answer["context"]["fields"] == ["@eckid", "@key", "achternaam", "voorvoegsel", "roepnaam"]


async def test_a_revoked_grant_denies_the_next_request(world: World) -> None:
    grant = await world.granted()
    assert await world.reason() == "granted"
    revoked = await world.step(grant["grantId"], "revoke", {"reason": "De les is voorbij."})
    assert (revoked.status_code, revoked.json()["status"]) == (200, "revoked")
    assert await world.reason() == "revoked"


async def test_a_grant_shows_what_the_contract_promises(world: World) -> None:
    answer = await world.grant(location="16SW01", validUntil="2027-07-31T22:00:00Z")
    given = answer.json()
    assert answer.headers["Location"] == f"/v1/schools/16SW/grants/{given['grantId']}"
    assert answer.headers["ETag"] == '"1"'
    (agreement,) = (await world.operate("GET", "/v1/connections/rekenrijk/agreements")).json()["items"]
    assert given == {
        "grantId": given["grantId"],
        "school": "16SW",
        "location": "16SW01",
        "clientId": "rekenrijk",
        "partner": {"name": "Partner 90000001", "kvkNumber": "90000001"},
        "scopes": sorted(NAMES),
        "purposes": [PURPOSE],
        "status": "granted",
        "validFrom": "2026-09-01T08:00:00Z",
        "validUntil": "2027-07-31T22:00:00Z",
        "suspendedUntil": None,
        "agreementId": agreement["agreementId"],
        "reconfirmBy": None,
        "version": 1,
        "revision": given["revision"],
        "createdAt": "2026-09-01T08:00:00Z",
        "changedAt": "2026-09-01T08:00:00Z",
    }
    assert uuid.UUID(given["grantId"])
    assert (await world.administer("GET", f"/grants/{given['grantId']}")).json() == given


REFUSED: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "no scope": ({"scopes": []}, 400, "invalid_input", "scope"),
    "no purpose": ({"purposes": []}, 400, "invalid_input", "purpose"),
    "an unknown scope": ({"scopes": [*BASIS, "leerling.hobby"]}, 400, "unknown_scope", "leerling.hobby"),
    "a field that is never released": ({"scopes": [*BASIS, "leerling.bsn"]}, 400, "unknown_scope", "bsn"),
    "an unknown purpose": ({"purposes": ["reclame"]}, 400, "unknown_purpose", "reclame"),
    "a scope without what it needs": (
        {"scopes": [*BASIS, "leerling.groepsindeling"]},
        400,
        "scope_dependency_missing",
        "groep.basis",
    ),
    "less than the connection requires": ({"scopes": ["school.basis"]}, 409, "required_scope_missing", "pseudoniem"),
    "more than the connection asks for": (
        {"scopes": [*BASIS, "vestiging.basis"]},
        409,
        "scope_not_offered",
        "vestiging",
    ),
    "a purpose that the connection doesn't name": (
        {"purposes": ["onderzoek-en-analyse"]},
        409,
        "purpose_not_offered",
        "onderzoek",
    ),
    "another school's location": ({"location": "17TX00"}, 400, "invalid_input", "17TX00"),
    "an end before now": ({"validUntil": "2026-08-31T00:00:00Z"}, 400, "invalid_period", "validUntil"),
    "an end before the start": (
        {"validFrom": "2026-12-01T00:00:00Z", "validUntil": "2026-11-01T00:00:00Z"},
        400,
        "invalid_period",
        "validUntil",
    ),
    "a moment without an offset": ({"validUntil": "2027-01-01T00:00:00"}, 400, "invalid_input", ""),
    "a misspelt end": ({"valid_Until": "2027-01-01T00:00:00Z"}, 400, "invalid_input", ""),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_may_not_be_granted_is_refused_by_name(world: World, name: str) -> None:
    wish, status, slug, named = REFUSED[name]
    answer = await world.grant(**wish)
    assert problem(answer) == (status, slug)
    assert named in answer.json()["detail"]
    assert await world.reason() == "no_grant"


async def test_a_grant_for_an_unknown_connection_is_not_found(world: World) -> None:
    assert problem(await world.grant("nobody")) == (404, "connection_not_placed")


@pytest.mark.empty_world
async def test_a_grant_never_covers_more_than_the_signed_agreement(world: World) -> None:
    await world.register(agreed=BASIS)
    assert problem(await world.grant()) == (409, "scope_not_offered")
    assert (await world.grant(scopes=BASIS)).status_code == 201


@pytest.mark.empty_world
async def test_a_connection_that_is_not_eligible_gets_no_grant(world: World) -> None:
    await world.register(rules=["kvk", "doelbinding", "verwerkersovereenkomst"])
    assert problem(await world.grant()) == (409, "partner_not_eligible")


async def test_a_second_grant_for_a_place_is_a_conflict_and_one_for_a_location_is_not(world: World) -> None:
    await world.granted()
    assert problem(await world.grant()) == (409, "grant_exists")
    await world.granted(location="16SW00")
    assert problem(await world.grant(location="16SW00")) == (409, "grant_exists")


async def test_after_a_revoke_or_the_end_a_school_can_grant_again(world: World) -> None:
    first = await world.granted(validUntil="2026-10-01T00:00:00Z")
    world.clock.advance(days=30)
    assert await world.reason() == "expired"
    second = await world.granted()
    history = (await world.administer("GET", f"/grants/{first['grantId']}/history")).json()["items"]
    assert [event["event"] for event in history] == ["grant.granted", "grant.expired"]
    assert history[-1]["actorRole"] == "system"
    await world.step(second["grantId"], "revoke")
    assert (await world.grant()).status_code == 201


async def test_a_grant_that_starts_later_is_not_yet_valid_until_then(world: World) -> None:
    await world.granted(validFrom="2026-09-02T08:00:00Z")
    assert await world.reason() == "not_yet_valid"
    world.clock.advance(hours=23, minutes=59, seconds=59)
    assert await world.reason() == "not_yet_valid"
    world.clock.advance(seconds=1)
    assert await world.reason() == "granted"


async def test_a_grant_never_begins_before_it_was_given(world: World) -> None:
    given = await world.granted(validFrom="2020-01-01T00:00:00Z")
    assert given["validFrom"] == "2026-09-01T08:00:00Z"


async def test_a_suspended_grant_denies_until_it_is_resumed(world: World) -> None:
    grant = await world.granted()
    assert (await world.step(grant["grantId"], "suspend", {"reason": "Vakantie."})).json()["status"] == "suspended"
    assert await world.reason() == "suspended"
    assert (await world.step(grant["grantId"], "resume")).json()["status"] == "granted"
    assert await world.reason() == "granted"


async def test_a_suspension_with_an_end_resumes_by_itself(world: World) -> None:
    grant = await world.granted()
    until = (START + timedelta(days=7)).isoformat()
    await world.step(grant["grantId"], "suspend", {"until": until})
    assert await world.reason() == "suspended"
    world.clock.advance(days=7)
    assert await world.reason() == "granted"
    shown = (await world.administer("GET", f"/grants/{grant['grantId']}")).json()
    assert (shown["status"], shown["suspendedUntil"]) == ("granted", None)
    assert problem(await world.step(grant["grantId"], "suspend", {"until": until})) == (400, "invalid_period")


async def test_a_step_that_the_present_status_forbids_is_a_conflict(world: World) -> None:
    grant = await world.granted()
    assert problem(await world.step(grant["grantId"], "resume")) == (409, "transition_not_allowed")
    await world.step(grant["grantId"], "revoke")
    for step in ("revoke", "suspend", "resume"):
        assert problem(await world.step(grant["grantId"], step)) == (409, "transition_not_allowed")


async def test_an_amendment_needs_the_version_that_was_read(world: World) -> None:
    grant = await world.granted()
    path = f"/grants/{grant['grantId']}"
    assert problem(await world.administer("PATCH", path, {"scopes": BASIS})) == (428, "version_required")
    amended = await world.amend(grant, scopes=BASIS)
    assert (amended.status_code, amended.headers["ETag"], amended.json()["scopes"]) == (200, '"2"', sorted(BASIS))
    assert problem(await world.amend(grant, scopes=NAMES)) == (412, "version_mismatch")
    assert await world.reason(scopes=["leerling.naam"]) == "scope_not_granted"


async def test_an_amendment_leaves_what_it_does_not_name(world: World) -> None:
    grant = await world.granted(validUntil="2027-01-01T00:00:00Z")
    grant = (await world.amend(grant, scopes=[*NAMES, "leerling.jaargroep"])).json()
    assert (grant["validUntil"], grant["purposes"]) == ("2027-01-01T00:00:00Z", [PURPOSE])
    grant = (await world.amend(grant, validUntil=None)).json()
    assert grant["validUntil"] is None
    assert "leerling.jaargroep" in grant["scopes"]
    assert problem(await world.amend(grant, validFrom="2026-12-01T00:00:00Z")) == (400, "invalid_period")


@pytest.mark.empty_world
async def test_an_amendment_goes_no_further_than_a_grant_may(world: World) -> None:
    await world.register(agreed=NAMES)
    grant = await world.granted()
    assert problem(await world.amend(grant, scopes=[*NAMES, "leerling.jaargroep"])) == (409, "scope_not_offered")
    assert problem(await world.amend(grant, scopes=["school.basis"])) == (409, "required_scope_missing")


async def test_a_school_may_narrow_a_grant_whatever_has_become_of_the_partner(world: World) -> None:
    grant = await world.granted()
    rules = (await world.operate("GET", "/v1/connections/rekenrijk/ground-rules")).json()["items"]
    path = f"/v1/connections/rekenrijk/ground-rules/{rules[0]['groundRuleId']}/_withdraw"
    assert (await world.operate("POST", path, {"reason": "Uit het register."})).status_code == 200
    assert await world.reason() == "partner_not_eligible"
    assert problem(await world.amend(grant, scopes=[*NAMES, "leerling.jaargroep"])) == (409, "partner_not_eligible")
    assert (await world.amend(grant, scopes=BASIS)).status_code == 200


async def test_a_replayed_grant_after_a_revoke_does_not_grant_again(world: World) -> None:
    first = await world.grant(key="a-key")
    await world.step(first.json()["grantId"], "revoke")
    again = await world.grant(key="a-key")
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["ETag"] == first.headers["ETag"]
    assert await world.reason() == "revoked"


async def test_a_key_is_for_one_request_and_one_caller(world: World) -> None:
    await world.grant(key="a-key")
    assert problem(await world.grant(key="a-key", location="16SW00")) == (409, "idempotency_key_reused")
    assert (await world.grant(key="a-key", brin="17TX")).status_code == 201


async def test_a_refused_write_does_not_use_up_its_key(world: World) -> None:
    assert problem(await world.grant(key="a-key", scopes=["school.basis"])) == (409, "required_scope_missing")
    assert (await world.grant(key="a-key")).status_code == 201


@pytest.mark.empty_world
async def test_widening_a_request_never_widens_a_grant_but_asks_again(world: World) -> None:
    await world.register(optional=["leerling.naam"], agreed=OFFERED)
    grant = await world.granted()
    wider = {"scopes": {"required": BASIS, "optional": ["leerling.naam", "leerling.jaargroep"]}}
    changed = await world.operate("PATCH", "/v1/connections/rekenrijk", wider, If_Match='"1"')
    assert changed.json()["requestVersion"] == 2
    assert await world.reason() == "needs_reconfirmation"
    shown = (await world.administer("GET", "/connections")).json()["items"][0]
    assert shown["grant"]["status"] == "needs_reconfirmation"
    assert shown["difference"]["scopes"] == ["leerling.jaargroep"]
    confirmed = await world.amend(shown["grant"])
    assert confirmed.json()["scopes"] == grant["scopes"]
    assert await world.reason() == "granted"
    assert await world.reason(scopes=["leerling.jaargroep"]) == "scope_not_granted"


@pytest.mark.empty_world
async def test_a_grant_that_was_suspended_when_the_request_grew_needs_reconfirmation_afterwards(world: World) -> None:
    await world.register(optional=["leerling.naam"], agreed=OFFERED)
    grant = await world.granted()
    until = (START + timedelta(days=1)).isoformat()
    await world.step(grant["grantId"], "suspend", {"until": until})
    wider = {"purposes": [PURPOSE, OTHER_PURPOSE, "wettelijke-plicht"]}
    await world.operate("PATCH", "/v1/connections/rekenrijk", wider, If_Match='"1"')
    world.clock.advance(days=2)
    assert await world.reason() == "suspended"
    assert (await world.step(grant["grantId"], "resume")).json()["status"] == "needs_reconfirmation"
    assert await world.reason() == "needs_reconfirmation"


async def test_narrowing_a_request_leaves_the_grants_and_releases_less(world: World) -> None:
    await world.granted(scopes=OFFERED)
    narrower = {"scopes": {"required": BASIS, "optional": []}}
    changed = await world.operate("PATCH", "/v1/connections/rekenrijk", narrower, If_Match='"1"')
    assert changed.json()["requestVersion"] == 1
    assert (await world.ask()).json()["context"]["scopes"] == ["leerling.pseudoniem"]
    assert await world.reason(scopes=["leerling.naam"]) == "scope_not_granted"


async def test_history_tells_who_did_what_when_and_why(world: World) -> None:
    grant = await world.granted()
    world.clock.advance(days=1)
    await world.amend(grant, scopes=BASIS)
    await world.step(grant["grantId"], "revoke", {"reason": "Niet meer nodig."})
    events = (await world.administer("GET", f"/grants/{grant['grantId']}/history")).json()["items"]
    assert [(event["event"], event["reason"], event["grant"]["status"]) for event in events] == [
        ("grant.granted", None, "granted"),
        ("grant.amended", None, "granted"),
        ("grant.revoked", "Niet meer nodig.", "revoked"),
    ]
    assert [event["at"] for event in events] == ["2026-09-01T08:00:00Z", "2026-09-02T08:00:00Z", "2026-09-02T08:00:00Z"]
    assert [event["actorRole"] for event in events] == ["school"] * 3
    first = (await world.administer("GET", f"/grants/{grant['grantId']}/history?limit=1")).json()
    rest = (await world.administer("GET", f"/grants/{grant['grantId']}/history?cursor={first['next']}")).json()
    assert [*first["items"], *rest["items"]] == events


async def test_an_operator_revokes_in_an_emergency_with_a_reason(world: World) -> None:
    grant = await world.granted()
    path = f"/v1/schools/16SW/grants/{grant['grantId']}/_revoke"
    assert problem(await world.operate("POST", path)) == (400, "invalid_input")
    assert (await world.operate("POST", path, {"reason": "Datalek."})).json()["status"] == "revoked"
    assert await world.reason() == "revoked"


async def test_a_school_sees_every_grant_that_it_ever_gave_in_parts(world: World) -> None:
    for _ in range(3):
        await world.step((await world.granted())["grantId"], "revoke")
    await world.granted(brin="17TX")
    seen: list[str] = []
    path: str | None = "/grants?limit=2"
    while path is not None:
        page = (await world.administer("GET", path)).json()
        seen += [grant["school"] for grant in page["items"]]
        path = page["next"] and f"/grants?limit=2&cursor={page['next']}"
    assert seen == ["16SW"] * 3


@pytest.mark.empty_world
async def test_a_school_sees_what_can_be_granted_and_what_it_would_release(world: World) -> None:
    await world.register(optional=["leerling.naam"])
    await world.register("zonder-convenant", kvk_number="90000002", rules=["kvk"])
    first, second = (await world.administer("GET", "/connections")).json()["items"]
    assert (first["clientId"], first["eligible"], first["grant"]) == ("rekenrijk", True, None)
    assert first["scopes"] == {"required": sorted(BASIS), "optional": ["leerling.naam"]}
    assert first["agreement"]["agreementVersion"] == "4.0"
    assert [rule["kept"] for rule in first["groundRules"]] == [True] * 4
    assert {release["type"]: release["fields"] for release in first["releases"]}["leerling"] == [
        "@eckid",
        "@key",
        "achternaam",
        "voorvoegsel",
        "roepnaam",
    ]
    assert second["eligible"] is False
    assert [rule["rule"] for rule in second["groundRules"] if rule["kept"]] == ["kvk"]


@pytest.mark.empty_world
async def test_an_agreement_of_one_board_holds_for_its_schools_alone(world: World) -> None:
    await world.register(agreed=BASIS)
    signed = await world.agree("rekenrijk", NAMES, [PURPOSE], boardNumber="10001")
    assert signed.status_code == 201
    assert (await world.grant()).status_code == 201
    assert problem(await world.grant(brin="17TX")) == (409, "scope_not_offered")


async def test_a_school_sees_itself_and_its_locations(world: World) -> None:
    shown = (await world.administer("GET", "")).json()
    assert (shown["brin"], shown["boardNumber"]) == ("16SW", "10001")
    assert [location["code"] for location in shown["locations"]] == ["16SW00", "16SW01"]


async def test_a_header_that_comes_twice_is_refused(world: World) -> None:
    grant = await world.granted()
    path = f"/v1/schools/16SW/grants/{grant['grantId']}"
    given = [
        ("Authorization", f"Bearer {world.token('school', school='16SW')}"),
        ("If-Match", '"1"'),
        ("If-Match", '"9"'),
    ]
    assert problem(await world.client.patch(path, json={"scopes": BASIS}, headers=given)) == (400, "invalid_input")


@pytest.mark.empty_world
async def test_widening_ends_a_suspensions_end_and_tells_so(world: World) -> None:
    await world.register(optional=["leerling.naam"], agreed=OFFERED)
    grant = await world.granted()
    until = (START + timedelta(days=7)).isoformat()
    suspended = (await world.step(grant["grantId"], "suspend", {"until": until})).json()
    wider = {"scopes": {"required": BASIS, "optional": ["leerling.naam", "leerling.jaargroep"]}}
    await world.operate("PATCH", "/v1/connections/rekenrijk", wider, If_Match='"1"')
    shown = (await world.administer("GET", f"/grants/{grant['grantId']}")).json()
    assert (shown["suspendedUntil"], shown["version"]) == (None, suspended["version"] + 1)
    history = (await world.administer("GET", f"/grants/{grant['grantId']}/history")).json()["items"]
    assert history[-1]["grant"] == shown


async def test_a_batch_without_evaluations_is_a_single_question(world: World) -> None:
    await world.granted()
    for body in (question(), {**question(), "evaluations": []}):
        answer = await world.call("POST", "/access/v1/evaluations", world.token("gateway"), body)
        assert (answer.status_code, answer.json()["decision"]) == (200, True)


async def test_a_question_with_a_member_twice_is_refused(world: World) -> None:
    twice = '{"resource": {"type": "leerling", "id": "17TX"}, ' + json.dumps(question())[1:]
    for path in ("evaluation", "evaluations"):
        answer = await world.client.post(
            f"/access/v1/{path}", content=twice, headers={"Authorization": f"Bearer {world.token('gateway')}"}
        )
        assert problem(answer) == (400, "invalid_input")


async def test_an_operator_that_is_also_a_school_revokes_for_another_school_as_an_operator(world: World) -> None:
    grant = await world.granted(brin="17TX")
    key = SigningKey.of(json.loads((world.folder / "embedded-issuer.jwk").read_text()))
    claims = good_claims(DEMO_ISSUER, DEMO_AUDIENCE, int(time.time()), roles=["school", "operator"], school="16SW")
    path = f"/v1/schools/17TX/grants/{grant['grantId']}"
    assert problem(await world.call("GET", path, key.token(claims))) == (404, "not_found")
    revoked = await world.call("POST", f"{path}/_revoke", key.token(claims), {"reason": "Datalek."})
    assert revoked.json()["status"] == "revoked"


@pytest.mark.parametrize("revision", [0, 1])
async def test_an_answer_is_never_behind_the_revision_asked_for(world: World, revision: int) -> None:
    grant = await world.granted()
    answer = await world.ask(minRevision=grant["revision"] + revision)
    assert (answer.status_code, answer.json()["decision"]) == ((200, True), (503, False))[revision]
