"""The Edu-V door: each message as both doors and the decision then see it, and what nobody may do."""

from typing import Any

import pytest

from api.edu_v.door import PATH
from models.consents.references import MOST_NAMES
from tests.edu_v.both_sides import (
    all_of,
    ask,
    by_partner,
    by_school,
    code,
    confirm,
    new_reference,
    notify,
    revoke,
    school,
    statuses,
)
from tests.worlds.tenants import NOWHERE
from tests.worlds.world import BASIS, NAMES, OFFERED, OTHER_PURPOSE, PURPOSE, World


async def test_a_request_is_one_of_the_main_door_and_permits_nothing(world: World) -> None:
    reference = new_reference()
    answer = await ask(world, reference, message="Voor het nieuwe schooljaar.")
    assert code(answer) == (201, "0001")
    shown = answer.json()["consent"]
    assert (shown["providerReferenceId"], shown["consumerReferenceId"]) == ("", reference)
    assert (shown["providerStatus"], shown["consumerStatus"]) == ("requested", "accepted")
    assert shown["school"] == school()
    (known,) = (await world.administer("GET", "/requests")).json()["items"]
    assert (known["status"], known["message"]) == ("open", "Voor het nieuwe schooljaar.")
    assert sorted(known["scopes"]["required"] + known["scopes"]["optional"]) == shown["scopes"] == sorted(OFFERED)
    assert known["purposes"] == shown["purposes"]
    assert await world.reason() == "no_grant"
    assert await statuses(world) == [shown]
    assert (await by_partner(world, "GET", "requests")).json() == [shown]
    assert (await by_school(world, "GET", "requests")).json() == [shown]


async def test_the_same_request_again_changes_nothing_and_another_is_refused(world: World) -> None:
    reference = new_reference()
    first = await ask(world, reference)
    again = await ask(world, reference.upper())
    assert (code(again), again.json()["consent"]) == ((200, "0000"), first.json()["consent"])
    for other in (ask(world, reference, scopes=BASIS), ask(world, reference, "17TX")):
        assert code(await other) == (409, "1004")
    assert code(await ask(world, new_reference())) == (409, "0099"), "one request for a place waits at a time"
    await world.register("taalhuis", kvk_number="90000002")
    assert code(await ask(world, reference, client_id="taalhuis")) == (201, "0001"), "another's names are its own"


async def test_a_notification_grants_answers_the_request_and_holds_at_once(world: World) -> None:
    asked, named = new_reference(), new_reference()
    await ask(world, asked)
    answer = await notify(world, scopes=BASIS, providerReferenceId=named, consumerReferenceId=asked)
    assert code(answer) == (201, "0001"), answer.text
    shown = answer.json()["consent"]
    assert (shown["providerReferenceId"], shown["consumerReferenceId"]) == (named, asked)
    assert (shown["providerStatus"], shown["consumerStatus"]) == ("accepted", "accepted")
    (request,) = (await world.administer("GET", "/requests")).json()["items"]
    assert request["status"] == "accepted_in_part"
    grant = (await world.administer("GET", f"/grants/{request['grantId']}")).json()
    assert (grant["scopes"], grant["purposes"]) == (shown["scopes"], shown["purposes"]) == (sorted(BASIS), [PURPOSE])
    assert await world.reason() == "granted"
    assert await statuses(world) == [shown], "the request is a consent now"
    for query in (
        f"providerReferenceId={named}",
        f"providerReferenceId={grant['grantId']}",
        f"consumerReferenceId={asked}",
    ):
        assert (await by_partner(world, "GET", f"statuses/school?{query}")).json() == shown
    by_place = await by_school(world, "GET", "statuses/school?orgMasterId=16SW&clientId=rekenrijk")
    assert (by_place.json(), by_place.headers["ETag"]) == (shown, f'"{grant["grantId"]}.1"')


async def test_what_stands_is_changed_only_by_whoever_has_read_it(world: World) -> None:
    given = await world.granted(validUntil="2027-06-01T00:00:00Z")
    assert code(await notify(world, scopes=BASIS)) == (428, "0099")
    read = f'"{given["grantId"]}.{{}}"'.format
    for other in (read(9), '"1"', f'"{new_reference()}.1"'):
        assert code(await notify(world, scopes=BASIS, if_match=other)) == (412, "0099")
    answer = await notify(world, scopes=BASIS, if_match=read(1))
    assert (code(answer), answer.headers["ETag"]) == ((200, "0000"), read(2))
    shown = (await world.administer("GET", f"/grants/{given['grantId']}")).json()
    assert (shown["scopes"], shown["validUntil"]) == (sorted(BASIS), "2027-06-01T00:00:00Z")
    await world.operate("POST", f"/v1/schools/16SW/grants/{given['grantId']}/_revoke", {"reason": "Noodgeval."})
    assert code(await notify(world, scopes=BASIS, if_match=read(3))) == (412, "0099"), "what was read has ended"
    assert await world.reason() == "revoked"
    narrow = await world.granted(scopes=BASIS)
    assert narrow["version"] == given["version"]
    assert code(await notify(world, if_match=read(1))) == (412, "0099"), "another stands there, in the same version"
    assert await world.reason(scopes=["leerling.naam"]) == "scope_not_granted"


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"scopes": BASIS[:1]}, 409),
        ({"scopes": [*OFFERED, "docent.email"]}, 409),
        ({"scopes": ["bestaat.niet"]}, 400),
        ({"purposes": ["bestaat-niet"]}, 400),
        ({"validUntil": "2020-01-01T00:00:00Z"}, 400),
        ({"clientId": "bestaat-niet"}, 404),
        ({"consumerReferenceId": NOWHERE}, 404),
    ],
    ids=str,
)
async def test_what_the_main_door_refuses_is_refused(world: World, wrong: dict[str, Any], status: int) -> None:
    assert (await notify(world, **wrong)).status_code == status
    assert await world.reason() == "no_grant"
    assert (await world.administer("GET", "/grants")).json()["items"] == []


async def test_a_confirmation_names_a_grant_and_releases_nothing(world: World) -> None:
    given = await world.granted()
    (before,) = await statuses(world)
    assert (before["consumerReferenceId"], before["consumerStatus"]) == ("", "unconfirmed")
    reference = new_reference()
    answer = await confirm(world, given["grantId"], reference, scopes=NAMES)
    shown = answer.json()["consent"]
    assert code(answer) == (201, "0001")
    assert (shown["consumerReferenceId"], shown["consumerStatus"]) == (reference, "accepted")
    assert shown["revision"] > before["revision"]
    assert await statuses(world, since=before["revision"]) == [shown] == await statuses(world)
    assert code(await confirm(world, given["grantId"], reference)) == (200, "0000"), "it was confirmed"
    (confirmed,) = (await by_school(world, "GET", "confirmations")).json()
    assert confirmed == shown
    assert (await world.administer("GET", f"/grants/{given['grantId']}")).json() == given
    elsewhere = await world.granted(location="16SW00")
    assert code(await confirm(world, elsewhere["grantId"], reference, "16SW00")) == (409, "1004")
    assert code(await confirm(world, elsewhere["grantId"], new_reference())) == (404, "1001"), "at another place"
    assert code(await confirm(world, new_reference(), new_reference())) == (404, "1001")
    assert code(await confirm(world, given["grantId"], new_reference(), scopes=BASIS)) == (409, "0099")
    await world.step(given["grantId"], "revoke")
    assert code(await confirm(world, given["grantId"], new_reference())) == (409, "0099")


async def test_a_grant_has_no_more_names_than_so_many(world: World) -> None:
    given = await world.granted()
    for _ in range(MOST_NAMES):
        assert code(await confirm(world, given["grantId"], new_reference())) == (201, "0001")
    assert code(await confirm(world, given["grantId"], new_reference())) == (409, "0099")


async def test_either_side_takes_back_and_it_holds_at_once(world: World) -> None:
    for side, role in ((by_partner, "partner"), (by_school, "school")):
        given = await world.granted()
        part = await side(world, "PUT", "revokes", revoke(providerReferenceId=given["grantId"], scopes=BASIS))
        assert code(part) == (409, "0099"), "of a part nothing is taken back"
        assert await world.reason() == "granted"
        body = revoke(providerReferenceId=given["grantId"], scopes=NAMES, reason="Wij stoppen ermee.")
        answer = await side(world, "PUT", "revokes", body)
        assert code(answer) == (200, "0000")
        assert answer.json()["consent"]["providerStatus"] == "revoked"
        assert await world.reason() == "revoked"
        happened = (await world.administer("GET", f"/grants/{given['grantId']}/history")).json()["items"][-1]
        assert (happened["event"], happened["actorRole"]) == ("grant.revoked", role)
        assert happened["reason"] == "Wij stoppen ermee."
        again = await side(world, "PUT", "revokes", body)
        assert (code(again), again.json()) == (code(answer), answer.json()), "what has ended stays as it is"


async def test_what_a_connection_gives_back_its_board_may_give_again(world: World) -> None:
    """It speaks for no school: nobody is left out of what the board gives because a connection gave up."""
    given = await world.granted()
    assert code(await by_partner(world, "PUT", "revokes", revoke(providerReferenceId=given["grantId"]))) == (
        200,
        "0000",
    )
    token = world.token("board", board="10001")
    found = (await world.call("GET", "/v1/boards/10001/grants?clientId=rekenrijk", token)).json()["items"]
    assert [each["standing"] for each in found] == ["none"]


async def test_a_request_that_waits_is_withdrawn_or_declined(world: World) -> None:
    first, second = new_reference(), new_reference()
    await ask(world, first)
    withdrawn = await by_partner(world, "PUT", "revokes", revoke(consumerReferenceId=first))
    shown = withdrawn.json()["consent"]
    assert (shown["providerStatus"], shown["consumerStatus"]) == ("requested", "revoked")
    await ask(world, second)
    declined = await by_school(world, "PUT", "revokes", revoke(consumerReferenceId=second))
    assert declined.json()["consent"]["providerStatus"] == "declined"
    requests = (await world.administer("GET", "/requests")).json()["items"]
    answers = {each["status"]: each["answer"] for each in requests}
    assert answers == {"withdrawn": None, "declined": "Geen reden opgegeven."}
    assert code(await ask(world, new_reference())) == (409, "0099"), "who was declined waits a while"
    assert await world.reason() == "no_grant"


async def test_a_list_comes_in_parts_in_order_of_change_and_goes_on_from_anywhere(world: World) -> None:
    for place in ("16SW", "16SW00", "16SW01", "17TX", "17TX00"):
        world.clock.advance(minutes=1)
        await world.granted(brin=place[:4], **({"location": place} if len(place) > 4 else {}))
    whole = await statuses(world)
    revisions = [each["revision"] for each in whole]
    assert revisions == sorted(revisions)
    assert len(whole) == 5
    for limit in (1, 2, 3, 5):
        assert await statuses(world, limit=limit) == whole
    for index, each in enumerate(whole):
        assert await statuses(world, limit=2, since=each["revision"]) == whole[index + 1 :]
        assert await statuses(world, since=each["changedAt"]) == whole[index:]
    later = (await by_partner(world, "GET", "statuses?since=2999-01-01T00:00:00Z")).json()
    assert later == (await by_partner(world, "GET", f"statuses?since={revisions[-1]}")).json() == []
    own = await all_of(world, world.token("school", school="17TX"), "statuses", limit=1)
    assert own == whole[3:]


@pytest.mark.parametrize("listed", ["requests", "confirmations"])
async def test_what_was_asked_and_confirmed_shows_what_is_permitted_and_moves_with_it(
    world: World, listed: str
) -> None:
    assert (await ask(world, new_reference(), scopes=OFFERED)).status_code == 201
    permitted = (await notify(world, scopes=BASIS)).json()["consent"]
    assert (await confirm(world, permitted["providerReferenceId"], new_reference())).status_code == 201
    token = world.token("partner", client_id="rekenrijk")
    (before,) = await all_of(world, token, listed)
    assert (before["scopes"], before["purposes"]) == (sorted(BASIS), [PURPOSE]), "no more than is permitted"
    assert before["providerStatus"] == "accepted"
    assert await all_of(world, token, listed, since=before["revision"]) == []
    world.clock.advance(minutes=1)
    grant_id = (await world.look()).json()["items"][0]["grantId"]
    assert (await world.step(grant_id, "revoke")).status_code == 200
    (after,) = await all_of(world, token, listed, since=before["revision"])
    assert (after["providerStatus"], after["changedAt"]) == ("revoked", "2026-09-01T08:01:00Z")
    assert after["revision"] > before["revision"]
    assert await all_of(world, token, listed, since=after["revision"]) == []


async def test_of_the_standards_own_data_services_nothing_is_registered(world: World) -> None:
    await world.granted()
    assert await statuses(world, api="students-api") == []
    assert len(await statuses(world, api="uwlr-api")) == 1
    assert (await by_partner(world, "GET", "statuses?api=other-api")).status_code == 400
    wrong = {"consumerReferenceId": new_reference(), "school": school(), "api": "students-api", "scopes": BASIS}
    assert code(await by_partner(world, "PUT", "requests", wrong)) == (400, "0011")


#: How a school may be named, and where that leads.
NAMED: dict[str, tuple[dict[str, Any], tuple[int, str]]] = {
    "by BRIN4": (school("16SW"), (201, "0001")),
    "a location by BRIN6": (school("16SW00"), (201, "0001")),
    "by BRIN as its first name": ({"organisationMasterIdentifier": "16SW"}, (201, "0001")),
    "by an id of RIO beside": ({**school("16SW"), "organisationMasterIdentifier": "100A123"}, (201, "0001")),
    "by an id of RIO alone": ({"organisationMasterIdentifier": "100A123"}, (400, "0023")),
    "by two that differ": ({**school("16SW"), "organisationMasterIdentifier": "17TX"}, (400, "0023")),
    "by a code that is none": ({**school("1"), "organisationMasterIdentifier": "16SW"}, (400, "0023")),
    "by one that is not": (school("99ZZ"), (400, "0023")),
    "by a location that is not": (school("16SW77"), (400, "0023")),
    "by another register's": (
        {"organisationIds": [{"organisationId": "16SW", "organisationIdType": "BP_ID"}]},
        (400, "0023"),
    ),
    "by a type that is not": (
        {"organisationIds": [{"organisationId": "16SW", "organisationIdType": "BRIN"}]},
        (400, "0011"),
    ),
    "by nothing": ({}, (400, "0011")),
    "by an empty list": ({"organisationIds": []}, (400, "0011")),
}


@pytest.mark.parametrize("case", NAMED)
async def test_a_school_is_named_by_brin_and_by_nothing_that_is_not_kept_here(world: World, case: str) -> None:
    named, expected = NAMED[case]
    body = {"consumerReferenceId": new_reference(), "school": named, "api": "uwlr-api", "scopes": OFFERED}
    assert code(await by_partner(world, "PUT", "requests", body)) == expected


async def test_nobody_reaches_the_consents_of_another(world: World) -> None:
    """What is another's is as what is not there: the same answer, to the byte, and nothing changes."""
    await world.register("taalhuis", kvk_number="90000002")
    given, asked = await world.granted(), new_reference()
    await ask(world, asked, "16SW01")
    before = await statuses(world)
    for theirs, unknown in (("taalhuis", None), (None, "17TX")):
        for name, real in (("providerReferenceId", given["grantId"]), ("consumerReferenceId", asked)):
            answers = []
            place = "16SW" if name.startswith("provider") else "16SW01"
            for reference in (real, NOWHERE):
                query = f"statuses/school?{name}={reference}"
                body = revoke(place if unknown is None else "17TX", **{name: reference})
                if theirs is not None:
                    read = await by_partner(world, "GET", query, client_id=theirs)
                    took = await by_partner(world, "PUT", "revokes", body, theirs)
                else:
                    read = await by_school(world, "GET", query, brin="17TX")
                    took = await by_school(world, "PUT", "revokes", body, brin="17TX")
                answers.append([each.text.replace(reference, "") for each in (read, took)])
                assert {read.status_code, took.status_code} == {404}
            assert answers[0] == answers[1]
    assert code(await confirm(world, given["grantId"], new_reference(), client_id="taalhuis")) == (404, "1001")
    assert code(await by_school(world, "PUT", "revokes", revoke(providerReferenceId=given["grantId"]), "17TX")) == (
        400,
        "0023",
    )
    assert code(await notify(world, brin="17TX")) == (400, "0023")
    assert (await notify(world, brin="17TX")).content == (await notify(world, "99ZZ", brin="17TX")).content
    assert await statuses(world, "taalhuis") == []
    assert await all_of(world, world.token("school", school="17TX"), "statuses") == []
    assert await statuses(world) == before


async def test_two_schools_that_use_one_name_are_told_apart_by_the_school(world: World) -> None:
    name = new_reference()
    for place in ("16SW", "17TX"):
        assert code(await notify(world, place, providerReferenceId=name)) == (201, "0001")
    assert code(await by_partner(world, "GET", f"statuses/school?providerReferenceId={name}")) == (409, "0099")
    for place in ("16SW", "17TX"):
        query = f"statuses/school?providerReferenceId={name}&orgMasterId={place}"
        assert (await by_partner(world, "GET", query)).json()["school"] == school(place)
    again = await notify(world, "16SW00", providerReferenceId=name)
    assert code(again) == (409, "1002"), "one school calls two things so"


async def test_the_log_tells_of_references_and_of_no_consent_by_them(world: World) -> None:
    reference = new_reference()
    given = await world.granted()
    feed = (await world.look(path="/changes")).json()
    await confirm(world, given["grantId"], reference)
    assert (await world.look(path="/changes")).json() == feed
    changed = (await world.administer("GET", "/changes?limit=500")).json()["items"][-1]
    assert (changed["event"], changed["grantId"]) == ("consent.referenced", None)
    assert (changed["after"]["reference"], changed["after"]["grantId"]) == (reference, given["grantId"])
    assert changed["before"] is None


async def test_a_message_under_one_key_is_done_once(world: World) -> None:
    body = {"consumerReferenceId": new_reference(), "school": school(), "api": "uwlr-api", "scopes": OFFERED}
    first = await by_partner(world, "PUT", "requests", body, Idempotency_Key="een")
    again = await by_partner(world, "PUT", "requests", body, Idempotency_Key="een")
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    other = await by_partner(world, "PUT", "requests", {**body, "purposes": [PURPOSE]}, Idempotency_Key="een")
    assert code(other) == (409, "0099")


async def test_a_consent_that_ended_by_time_alone_has_ended_here_too(world: World) -> None:
    given = await world.granted(validUntil="2026-09-01T10:00:00Z", purposes=[PURPOSE, OTHER_PURPOSE])
    world.clock.advance(hours=3)
    (shown,) = await statuses(world)
    assert shown["providerStatus"] == "expired"
    assert code(await confirm(world, given["grantId"], new_reference())) == (409, "0099")
    assert code(await notify(world)) == (201, "0001"), "it stands in nobody's way"


async def test_the_doors_contract_is_open_to_anyone(world: World) -> None:
    assert (await world.call("GET", f"{PATH}/openapi.json", None)).status_code == 200
