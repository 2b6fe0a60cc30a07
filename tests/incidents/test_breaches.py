"""A suspected breach: the 24 hours until the schools are told, and the emergency stop that it offers."""

from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from tests.grants.test_grants import problem
from tests.incidents.reporters import reported, seen, send, step, taken, wire
from tests.worlds.world import START, World

# -- a suspected breach -----------------------------------------------------------------------------------------------

#: The instant of the suspicion, and the instant at which the notice is due. Summer time ends on 25 October 2026, at
#: 01:00 UTC, and begins on 28 March 2027: these local days have 25 and 23 hours. The notice is due after 24.
NOTICE_DUE: Final = {
    "2026-09-01T08:00:00Z": "2026-09-02T08:00:00Z",
    "2026-10-24T12:00:00Z": "2026-10-25T12:00:00Z",
    "2026-10-25T00:30:00Z": "2026-10-26T00:30:00Z",
    "2026-10-25T01:30:00Z": "2026-10-26T01:30:00Z",
    "2027-03-27T12:00:00Z": "2027-03-28T12:00:00Z",
    "2026-12-31T23:59:59.123456Z": "2027-01-01T23:59:59.123456Z",
}


async def suspected(world: World, how: str) -> dict[str, Any]:
    """An incident with a suspected breach: from the start, or suspected later by the side that `how` names."""
    opened = await reported(world, suspectedBreach=how == "at the opening")
    if how == "at the opening":
        return opened
    world.clock.advance(minutes=30)
    answer = await step(world, opened["incidentId"], "suspect_breach", how)
    assert answer.status_code == 200, answer.text
    view: dict[str, Any] = answer.json()
    return view


@pytest.mark.parametrize("how", ["at the opening", "rekenrijk", "operator"])
async def test_a_suspected_breach_starts_the_clock_of_24_hours(world: World, how: str) -> None:
    breach = (await suspected(world, how))["breach"]
    assert breach["suspectedAt"] == wire(world.clock.now)
    assert breach["noticeDueAt"] == wire(world.clock.now + timedelta(hours=24))
    assert (breach["notifiedAt"], breach["overdue"], breach["stopped"]) == (None, False, False)


@pytest.mark.parametrize("how", ["at the opening", "operator"])
@pytest.mark.parametrize("since", NOTICE_DUE)
async def test_the_notice_is_due_after_24_hours_whatever_the_clocks_on_the_wall_do(
    world: World, since: str, how: str
) -> None:
    world.clock.now = datetime.fromisoformat(since) - timedelta(minutes=30 if how == "operator" else 0)
    incident = await suspected(world, how)
    assert (incident["breach"]["suspectedAt"], incident["breach"]["noticeDueAt"]) == (since, NOTICE_DUE[since])
    for moment, overdue in ((timedelta(microseconds=-1), False), (timedelta(), True), (timedelta(seconds=1), True)):
        world.clock.now = datetime.fromisoformat(NOTICE_DUE[since]) + moment
        for by in ("operator", "rekenrijk"):
            assert (await seen(world, incident["incidentId"], by))["breach"]["overdue"] is overdue


@pytest.mark.parametrize("how", ["at the opening", "rekenrijk", "operator"])
async def test_a_breach_is_suspected_once_and_the_first_suspicion_counts(world: World, how: str) -> None:
    incident_id = (await suspected(world, how))["incidentId"]
    before = await seen(world, incident_id)
    world.clock.advance(hours=1)
    for by in ("rekenrijk", "operator"):
        again = await step(world, incident_id, "suspect_breach", by)
        assert problem(again) == (409, "transition_not_allowed")
    after = await seen(world, incident_id)
    assert (after["breach"], after["version"]) == (before["breach"], before["version"])


@pytest.mark.parametrize("how", ["at the opening", "rekenrijk"])
@pytest.mark.parametrize("late", [False, True])
async def test_the_notice_stops_the_clock_and_is_given_once(world: World, how: str, late: bool) -> None:
    incident_id = (await suspected(world, how))["incidentId"]
    given_at = world.clock.advance(hours=25 if late else 5)
    assert (await seen(world, incident_id))["breach"]["overdue"] is late
    breach = (await step(world, incident_id, "give_notice")).json()["breach"]
    assert (breach["notifiedAt"], breach["overdue"]) == (wire(given_at), False)
    world.clock.advance(days=2)
    assert problem(await step(world, incident_id, "give_notice")) == (409, "transition_not_allowed")
    assert problem(await step(world, incident_id, "suspect_breach")) == (409, "transition_not_allowed")
    assert (await seen(world, incident_id))["breach"] == breach


async def test_where_no_breach_is_suspected_no_notice_is_given(world: World) -> None:
    opened = await reported(world)
    assert problem(await step(world, opened["incidentId"], "give_notice")) == (409, "transition_not_allowed")
    assert await seen(world, opened["incidentId"], "rekenrijk") == opened


async def test_neither_a_solution_nor_a_reopening_touches_the_clock_of_the_notice(world: World) -> None:
    incident_id = (await reported(world, suspectedBreach=True))["incidentId"]
    before = (await seen(world, incident_id))["breach"]
    assert (await taken(world, incident_id, "take", "resolve"))["breach"] == before
    assert (await taken(world, incident_id, "reopen"))["breach"] == before


# -- the emergency stop that it offers --------------------------------------------------------------------------------


async def offers(world: World, incident_id: str, by: str = "operator") -> dict[str, dict[str, str]]:
    """The offered links by relation; the list of incidents offers the same."""
    found: list[dict[str, str]] = (await seen(world, incident_id, by))["breach"]["offers"]
    listed = (await send(world, "GET", "", by=by)).json()["items"]
    assert [each["breach"]["offers"] for each in listed] == [found]
    return {each["rel"]: each for each in found}


@pytest.mark.parametrize("how", ["at the opening", "rekenrijk", "operator"])
async def test_a_suspected_breach_offers_the_operator_an_emergency_stop_that_works_at_once(
    world: World, how: str
) -> None:
    await world.granted()
    incident_id = (await suspected(world, how))["incidentId"]
    assert await world.reason() == "granted"
    offer = (await offers(world, incident_id))["emergency-stop"]
    answer = await world.operate(offer["method"], offer["href"], {"reason": "Vermoeden van een datalek."})
    assert answer.status_code == 200
    assert await world.reason() == "partner_not_eligible"
    assert set(await offers(world, incident_id)) == {"give-notice"}
    assert (await seen(world, incident_id, "rekenrijk"))["breach"]["stopped"] is True


async def test_the_emergency_stop_is_not_offered_to_the_partner_nor_open_to_it(world: World) -> None:
    await world.granted()
    opened = await reported(world, suspectedBreach=True)
    offer = (await offers(world, opened["incidentId"]))["emergency-stop"]
    assert opened["breach"]["offers"] == []
    assert await offers(world, opened["incidentId"], "rekenrijk") == {}
    token = world.token("partner", client_id="rekenrijk")
    refused = await world.call(offer["method"], offer["href"], token, {"reason": "Zelf gestopt."})
    assert problem(refused) == (403, "forbidden")
    assert await world.reason() == "granted"


async def test_without_a_suspicion_nothing_is_offered(world: World) -> None:
    incident_id = (await reported(world))["incidentId"]
    assert (await seen(world, incident_id))["breach"] is None


async def test_what_is_offered_follows_the_stop_of_the_connection_and_that_of_its_partner(world: World) -> None:
    incident_id = (await reported(world, suspectedBreach=True))["incidentId"]
    for path in ("/v1/connections/rekenrijk", "/v1/partners/90000001"):
        for action, offered in (("_stop", False), ("_lift", True)):
            assert (await world.operate("POST", f"{path}/{action}", {"reason": "Onderzoek."})).status_code == 200
            assert ("emergency-stop" in await offers(world, incident_id)) is offered


async def test_the_notice_is_offered_until_it_was_given(world: World) -> None:
    incident_id = (await reported(world, suspectedBreach=True))["incidentId"]
    offer = (await offers(world, incident_id))["give-notice"]
    answer = await world.operate(offer["method"], offer["href"], {"text": "De scholen zijn gebeld."})
    assert answer.status_code == 200
    assert set(await offers(world, incident_id)) == {"emergency-stop"}


# -- due notices ------------------------------------------------------------------------------------------------------


async def due(world: World, query: str = "") -> list[dict[str, Any]]:
    """The breach notices in the list of due items."""
    items = (await world.operate("GET", f"/v1/due{query}")).json()["items"]
    return [item for item in items if item["kind"] == "breach_notice"]


@pytest.mark.parametrize("how", ["at the opening", "rekenrijk", "operator"])
async def test_the_notice_is_among_what_is_due_until_it_was_given(world: World, how: str) -> None:
    incident_id = (await suspected(world, how))["incidentId"]
    due_at = world.clock.now + timedelta(hours=24)
    item = {
        "kind": "breach_notice",
        "dueAt": wire(due_at),
        "overdue": False,
        "id": incident_id,
        "clientId": "rekenrijk",
        "rule": None,
    }
    world.clock.now = due_at - timedelta(microseconds=1)
    assert (await due(world), await due(world, "?overdue=true")) == ([item], [])
    world.clock.now = due_at
    late = [{**item, "overdue": True}]
    assert (await due(world), await due(world, "?overdue=true")) == (late, late)
    await taken(world, incident_id, "take", "resolve")
    assert await due(world, "?overdue=true") == late
    await taken(world, incident_id, "give_notice")
    assert (await due(world), await due(world, "?overdue=true")) == ([], [])


async def test_the_notices_that_are_due_come_the_earliest_first_and_by_the_day_that_was_asked_for(world: World) -> None:
    ids = []
    for _ in range(3):
        ids.append((await reported(world, suspectedBreach=True))["incidentId"])
        world.clock.advance(hours=1)
    await reported(world)
    assert [item["id"] for item in await due(world)] == ids
    assert [item["id"] for item in await due(world, f"?until={wire(START + timedelta(hours=25))}")] == ids[:2]
    world.clock.now = START + timedelta(hours=24)
    assert [item["id"] for item in await due(world, "?overdue=true")] == ids[:1]
