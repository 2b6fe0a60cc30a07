"""Deletion duties after the end of a grant, as partner, school and operator see them."""

from datetime import timedelta
from typing import Any

import pytest

from api.deletions import duties
from api.deletions.duties import DutyJob
from api.grants.expiry_job import expire
from models.consents.deletions import DEFAULT_TERM, due_at
from tests.worlds.world import BASIS, NAMES, OFFERED, OTHER_PURPOSE, PURPOSE, START, TERMS, Answer, World

DAYS = TERMS["retentionDays"]


async def kept(world: World) -> int:
    """One run of the job that runs beside the service."""
    return await DutyJob(world.store).run()


async def ended(world: World, client_id: str = "rekenrijk", **more: Any) -> dict[str, Any]:
    """A grant that permitted for an hour and was revoked."""
    given = await world.granted(client_id, **more)
    world.clock.advance(hours=1)
    assert (await world.step(given["grantId"], "revoke", brin=given["school"])).status_code == 200
    await kept(world)
    return dict(given)


async def told(world: World, status: str | None = None, client_id: str = "rekenrijk") -> list[dict[str, Any]]:
    """The duties, which partner, school and operator see alike."""
    query = "" if status is None else f"status={status}"
    token = world.token("partner", client_id=client_id)
    of_partner = (await world.call("GET", f"/v1/consents/deletions?{query}", token)).json()["items"]
    of_all = (await world.operate("GET", f"/v1/deletions?clientId={client_id}&{query}")).json()["items"]
    assert of_partner == of_all
    for brin in ("16SW", "17TX"):
        of_school = (await world.administer("GET", f"/deletions?{query}", brin=brin)).json()["items"]
        narrowed = (await world.operate("GET", f"/v1/deletions?school={brin}&{query}")).json()["items"]
        own = [each for each in of_school if each["clientId"] == client_id]
        assert of_school == narrowed
        assert own == [each for each in of_partner if each["school"] == brin]
    return list(of_partner)


async def confirm(world: World, given: dict[str, Any], body: Any = None, **headers: str) -> Answer:
    body = body or {"statement": "Gewist."}
    token = world.token("partner", client_id=given["clientId"])
    return await world.call("POST", f"/v1/consents/deletions/{given['grantId']}/_confirm", token, body, **headers)


async def test_what_was_permitted_is_deleted_by_the_day_that_was_agreed(world: World) -> None:
    given = await ended(world)
    (duty,) = await told(world)
    assert (duty["grantId"], duty["school"], duty["scopes"]) == (given["grantId"], "16SW", given["scopes"])
    assert duty["endedAt"] == "2026-09-01T09:00:00Z"
    assert duty["dueAt"] == (START + timedelta(hours=1, days=DAYS)).isoformat().replace("+00:00", "Z")
    assert (duty["status"], duty["confirmedAt"], duty["statement"]) == ("due", None, None)
    assert await told(world, "due") == [duty]
    assert await told(world, "overdue") == []
    assert await kept(world) == 0, "there is one duty of one end"


async def test_a_partner_confirms_with_its_own_words(world: World) -> None:
    given = await ended(world)
    world.clock.advance(days=1)
    answer = await confirm(world, given, {"statement": "Gewist, ook uit de reservekopie."}, Idempotency_Key="gewist-1")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["status"], answer.json()["statement"]) == ("confirmed", "Gewist, ook uit de reservekopie.")
    assert await told(world, "confirmed") == [answer.json()]
    assert await told(world, "due") == []
    assert (await confirm(world, given)).json()["type"].endswith("/transition_not_allowed")
    again = await confirm(world, given, {"statement": "Gewist, ook uit de reservekopie."}, Idempotency_Key="gewist-1")
    assert again.json() == answer.json()
    world.clock.advance(days=DAYS)
    assert await kept(world) == 0, "what is confirmed is never overdue"


@pytest.mark.parametrize("body", [None, {}, {"statement": " "}, {"statement": None}, {"statement": "x" * 501}])
async def test_nobody_confirms_without_a_word(world: World, body: Any) -> None:
    given = await ended(world)
    token = world.token("partner", client_id="rekenrijk")
    path = f"/v1/consents/deletions/{given['grantId']}/_confirm"
    assert (await world.call("POST", path, token, body)).status_code == 400
    assert [each["status"] for each in await told(world)] == ["due"]


async def test_an_overdue_duty_shows_and_is_told_once(world: World) -> None:
    given = await ended(world)
    world.clock.advance(days=DAYS)
    assert [each["status"] for each in await told(world, "overdue")] == ["overdue"]
    assert (await kept(world), await kept(world)) == (1, 0)
    log = (await world.operate("GET", "/v1/log/entries?limit=500")).json()["items"]
    of_duty = [entry for entry in log if entry["kind"].startswith("deletion.")]
    assert [entry["kind"] for entry in of_duty] == ["deletion.required", "deletion.overdue"]
    assert {entry["state"]["deletionOf"] for entry in of_duty} == {given["grantId"]}
    assert (await confirm(world, given)).json()["status"] == "confirmed", "late is better than never"


async def test_what_ends_by_time_is_deleted_too(world: World) -> None:
    await world.granted(validUntil="2026-10-01T00:00:00Z")
    world.clock.advance(days=60)
    await expire(world.store)
    await kept(world)
    (duty,) = await told(world)
    assert duty["endedAt"] == "2026-10-01T00:00:00Z"
    assert duty["dueAt"] == "2027-01-29T08:00:00Z", "who is told late has as long from then"


async def test_what_never_began_leaves_nothing_to_delete(world: World) -> None:
    await ended(world, validFrom="2026-10-01T00:00:00Z")
    assert await told(world) == []


#: A grant for a place is revoked and another is given, in either order: the status of the duty.
AGAIN: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "the same": ({}, {}, "lapsed"),
    "more": ({}, {"scopes": OFFERED}, "lapsed"),
    "less": ({}, {"scopes": BASIS}, "due"),
    "the school instead of its location": ({"location": "16SW01"}, {}, "lapsed"),
    "a location instead of the school": ({}, {"location": "16SW01"}, "due"),
    "another location": ({"location": "16SW00"}, {"location": "16SW01"}, "due"),
    "another school": ({}, {"brin": "17TX"}, "due"),
    "from later on": ({}, {"validFrom": "2026-09-20T00:00:00Z"}, "due"),
    "for another purpose": ({}, {"purposes": [OTHER_PURPOSE]}, "due"),
}


@pytest.mark.parametrize("first", ["the duty", "the grant"])
@pytest.mark.parametrize("case", AGAIN)
async def test_what_is_permitted_again_need_not_be_deleted(world: World, case: str, first: str) -> None:
    before, after, status = AGAIN[case]
    given = await world.granted(**before)
    world.clock.advance(hours=1)
    assert (await world.step(given["grantId"], "revoke")).status_code == 200
    if first == "the duty":
        await kept(world)
    await world.granted(**after)
    await kept(world)
    (duty,) = await told(world)
    assert duty["status"] == status
    assert (await confirm(world, given)).status_code == (409 if status == "lapsed" else 200)


async def test_a_school_that_permits_it_counts_only_where_the_location_says_nothing_itself(world: World) -> None:
    first = await ended(world, location="16SW01")
    own = await world.granted(location="16SW01", scopes=BASIS)
    await world.granted()
    assert [each["status"] for each in await told(world)] == ["due"]
    assert await world.reason(place="16SW01", scopes=["leerling.naam"]) == "scope_not_granted"
    world.clock.advance(hours=1)
    await world.step(own["grantId"], "revoke")
    await kept(world)
    stands = {each["grantId"]: each["status"] for each in await told(world)}
    assert stands == {first["grantId"]: "due", own["grantId"]: "lapsed"}
    world.clock.advance(days=DAYS)
    await kept(world)
    assert {each["status"] for each in await told(world)} == {"lapsed"}, "it is looked at again before it is overdue"


async def test_what_begins_before_it_is_due_need_not_be_deleted_and_what_never_does_must(world: World) -> None:
    await ended(world)
    later = await world.granted(validFrom="2026-10-01T00:00:00Z")
    never = await ended(world, brin="17TX")
    again = await world.granted(brin="17TX", validFrom="2027-06-01T00:00:00Z")
    await world.step(again["grantId"], "revoke", brin="17TX")
    assert {each["status"] for each in await told(world)} == {"due"}
    world.clock.advance(days=DAYS)
    await kept(world)
    assert [each["grantId"] for each in await told(world, "overdue")] == [never["grantId"]]
    await world.step(later["grantId"], "revoke")
    await kept(world)
    assert [each["grantId"] for each in await told(world, "due")] == [later["grantId"]]


async def test_a_wider_grant_ends_the_duty_once_it_is_wide_enough(world: World) -> None:
    await ended(world)
    again = await world.granted(scopes=BASIS)
    assert [each["status"] for each in await told(world)] == ["due"]
    body = {"scopes": NAMES, "purposes": [PURPOSE]}
    path = f"/grants/{again['grantId']}"
    assert (await world.administer("PATCH", path, body, If_Match="*")).status_code == 200
    assert [each["status"] for each in await told(world)] == ["lapsed"]


async def test_another_partner_sees_and_confirms_nothing(world: World) -> None:
    await world.register("taalhuis", kvk_number="90000002")
    given = await ended(world)
    assert await told(world, client_id="taalhuis") == []
    assert (await confirm(world, {**given, "clientId": "taalhuis"})).status_code == 404
    assert (await confirm(world, {**given, "grantId": "0" * 8 + "-0000" * 3 + "-" + "0" * 12})).status_code == 404


async def test_many_ends_at_once_are_taken_in_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duties, "BATCH", 1)
    given = [await world.granted(), *[await world.granted(location=code) for code in ("16SW00", "16SW01")]]
    world.clock.advance(hours=1)
    for each in given:
        assert (await world.step(each["grantId"], "revoke")).status_code == 200
    job = DutyJob(world.store)
    assert [await job.run() for _ in range(4)] == [1, 1, 1, 0]
    assert {each["grantId"] for each in await told(world)} == {each["grantId"] for each in given}


async def test_what_a_partner_said_can_be_erased(world: World) -> None:
    given = await ended(world)
    await confirm(world, given, {"statement": "Gewist door C. van Contact."})
    log = (await world.operate("GET", "/v1/log/entries?limit=500")).json()["items"]
    (number,) = [entry["number"] for entry in log if entry["kind"] == "deletion.confirmed"]
    assert (await world.operate("POST", f"/v1/log/entries/{number}/reason/_erase")).status_code == 200
    (duty,) = await told(world)
    assert (duty["status"], duty["statement"]) == ("confirmed", None)


def test_an_agreement_that_does_not_say_leaves_thirty_days() -> None:
    assert due_at(START, START, 0) == due_at(START, START, None) == START + DEFAULT_TERM
