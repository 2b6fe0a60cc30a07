"""A partner sees its own consents and their changes only, with the reason where nothing is permitted."""

from typing import Any

import pytest

from tests.worlds.world import BASIS, NAMES, World


async def _changes(world: World, client_id: str = "rekenrijk", **query: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    while True:
        page = (await world.look(client_id, "/changes", **query)).json()
        items += page["items"]
        if page["next"] is None:
            return items
        query["cursor"] = page["next"]


async def test_a_consent_shows_what_the_contract_promises(world: World) -> None:
    grant = await world.granted(location="16SW00", validUntil="2027-01-01T00:00:00Z")
    assert (await world.look()).json() == {
        "items": [
            {
                "school": {"brin": "16SW", "name": "School 16SW"},
                "location": "16SW00",
                "clientId": "rekenrijk",
                "status": "granted",
                "reason": None,
                "scopes": sorted(NAMES),
                "purposes": grant["purposes"],
                "validFrom": grant["validFrom"],
                "validUntil": grant["validUntil"],
                "grantId": grant["grantId"],
                "revision": grant["revision"],
            }
        ],
        "next": None,
    }


async def test_a_partner_sees_its_own_consents_only(world: World) -> None:
    await world.register("taalhuis", kvk_number="90000002")
    await world.granted("rekenrijk")
    await world.granted("taalhuis", location="16SW01")
    for client_id in ("rekenrijk", "taalhuis"):
        assert {item["clientId"] for item in (await world.look(client_id)).json()["items"]} == {client_id}
        assert {item["clientId"] for item in await _changes(world, client_id)} == {client_id}


async def test_two_connections_of_one_partner_do_not_see_each_other(world: World) -> None:
    await world.register("rekenrijk-toetsen")
    await world.granted("rekenrijk-toetsen")
    assert (await world.look("rekenrijk")).json()["items"] == []


async def test_a_school_that_granted_nothing_is_there_with_the_reason(world: World) -> None:
    (item,) = (await world.look(school="17TX")).json()["items"]
    assert (item["status"], item["reason"], item["grantId"]) == ("none", "no_grant", None)
    (item,) = (await world.look(school="99ZZ")).json()["items"]
    assert (item["school"], item["reason"]) == ({"brin": "99ZZ", "name": None}, "unknown_school")
    (item,) = (await world.look("nobody", school="16SW")).json()["items"]
    assert item["reason"] == "unknown_partner"


async def test_a_grant_for_one_location_is_told_apart_from_the_school(world: World) -> None:
    await world.granted(location="16SW01")
    whole, location = (await world.look(school="16SW")).json()["items"]
    assert (whole["location"], whole["status"], whole["reason"]) == (None, "none", "location_not_granted")
    assert (location["location"], location["status"], location["reason"]) == ("16SW01", "granted", None)


async def test_a_partner_that_is_not_eligible_sees_that_and_its_grant_untouched(world: World) -> None:
    await world.granted()
    rule = (await world.operate("GET", "/v1/connections/rekenrijk/ground-rules")).json()["items"][0]["groundRuleId"]
    await world.operate("POST", f"/v1/connections/rekenrijk/ground-rules/{rule}/_withdraw", {"reason": "Weg."})
    (item,) = (await world.look()).json()["items"]
    assert (item["status"], item["reason"]) == ("granted", "partner_not_eligible")


async def test_consents_can_be_had_by_status_as_it_is_at_this_moment(world: World) -> None:
    await world.granted(validUntil="2026-09-02T08:00:00Z")
    await world.granted(brin="17TX")
    world.clock.advance(days=2)
    expired = (await world.look(status="expired")).json()["items"]
    granted = (await world.look(status="granted")).json()["items"]
    assert [item["school"]["brin"] for item in expired] == ["16SW"]
    assert [item["school"]["brin"] for item in granted] == ["17TX"]


async def test_consents_come_in_parts_in_the_order_of_their_places(world: World) -> None:
    for brin, location in (("17TX", None), ("16SW", "16SW01"), ("16SW", None), ("16SW", "16SW00")):
        await world.granted(brin=brin, **({"location": location} if location else {}))
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 3}
    while True:
        page = (await world.look(**query)).json()
        seen += [item["location"] or item["school"]["brin"] for item in page["items"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert seen == ["16SW", "16SW00", "16SW01", "17TX"]


async def test_consents_that_did_not_change_are_not_sent_again(world: World) -> None:
    grant = await world.granted()
    first = await world.look()
    token = world.token("partner", client_id="rekenrijk")
    again = await world.call("GET", "/v1/consents", token, If_None_Match=first.headers["ETag"])
    assert (again.status_code, again.content) == (304, b"")
    await world.step(grant["grantId"], "revoke")
    changed = await world.call("GET", "/v1/consents", token, If_None_Match=first.headers["ETag"])
    assert (changed.status_code, changed.json()["items"][0]["status"]) == (200, "revoked")


async def test_a_partner_asks_about_one_field_for_one_purpose(world: World) -> None:
    await world.granted(scopes=BASIS)
    asked = {"school": "16SW", "type": "leerling"}
    assert (await world.look(**asked, fields="@eckid")).json()["items"][0]["reason"] is None
    assert (await world.look(**asked, fields="achternaam")).json()["items"][0]["reason"] == "scope_not_granted"
    other = await world.look(**asked, purpose="wettelijke-plicht")
    assert other.json()["items"][0]["reason"] == "purpose_not_granted"
    assert (await world.look(school="16SW", fields="achternaam")).status_code == 400


async def test_changes_follow_one_another_from_any_revision_on(world: World) -> None:
    grant = await world.granted()
    await world.step(grant["grantId"], "suspend")
    await world.step(grant["grantId"], "resume")
    await world.step(grant["grantId"], "revoke")
    items = await _changes(world, limit=2)
    assert [(item["event"], item["status"], item["reason"]) for item in items] == [
        ("grant.granted", "granted", None),
        ("grant.suspended", "suspended", "suspended"),
        ("grant.resumed", "granted", None),
        ("grant.revoked", "revoked", "revoked"),
    ]
    revisions = [item["revision"] for item in items]
    assert revisions == sorted(set(revisions))
    assert await _changes(world, since=revisions[1]) == items[2:]
    assert await _changes(world, since=revisions[-1]) == []


@pytest.mark.empty_world
async def test_a_change_of_many_grants_at_once_is_told_for_each(world: World) -> None:
    await world.register(optional=["leerling.naam"])
    for brin in ("16SW", "17TX"):
        await world.granted(brin=brin)
    since = (await _changes(world))[-1]["revision"]
    wider = {"scopes": {"required": BASIS, "optional": ["leerling.naam", "leerling.jaargroep"]}}
    await world.operate("PATCH", "/v1/connections/rekenrijk", wider, If_Match='"1"')
    items = await _changes(world, since=since, limit=1)
    assert {(item["school"]["brin"], item["status"]) for item in items} == {
        ("16SW", "needs_reconfirmation"),
        ("17TX", "needs_reconfirmation"),
    }
    assert len(items) == 2
    assert len({item["revision"] for item in items}) == 1
