"""The incident portal: reports of live partners, steps of consultants, and durations.

`LIFE` (`reporters.py`) and `COURSES` are the rules of the portal, written a second time.
"""

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from sqlmodel import select

from api.security import sealing
from models.consents.incidents import MOVING, TRANSITIONS, Incident, IncidentStatus, IncidentStep, move
from models.consents.partners import Stage
from models.log.events import Event
from models.log.log_entries import entry_of
from models.vocabulary.refusals import TransitionNotAllowed
from tests.grants.test_grants import problem
from tests.incidents.reporters import (
    BY_CONSULTANTS_ALONE,
    BY_EITHER_SIDE,
    INCIDENT,
    LEADS_TO,
    ROUTES,
    SEVERITIES,
    WAYS,
    reported,
    seen,
    send,
    step,
    taken,
    wire,
)
from tests.worlds.world import START, World

# -- reporters --------------------------------------------------------------------------------------------------------


async def test_a_partner_that_is_live_reports_a_disruption_and_follows_it(world: World) -> None:
    answer = await send(world, "POST", "", {**INCIDENT, "clientId": "rekenrijk"})
    opened = answer.json()
    assert (answer.status_code, answer.headers["ETag"], opened["version"]) == (201, '"1"', 1)
    assert (opened["title"], opened["description"]) == (INCIDENT["title"], INCIDENT["description"])
    assert (opened["clientId"], opened["severity"], opened["status"]) == ("rekenrijk", "high", "open")
    assert (opened["createdAt"], opened["secondsOpen"], opened["breach"]) == (wire(START), 0, None)
    assert [(line["number"], line["step"], line["role"]) for line in opened["course"]] == [(1, "open", "partner")]
    followed = await send(world, "GET", f"/{opened['incidentId']}")
    assert (followed.json(), followed.headers["ETag"]) == (opened, '"1"')
    summary = {name: opened[name] for name in opened if name not in ("description", "course", "attachments")}
    assert (await send(world, "GET", "")).json() == {"items": [summary], "next": None}


@pytest.mark.parametrize("severity", SEVERITIES)
async def test_a_disruption_has_one_of_four_severities(world: World, severity: str) -> None:
    assert (await reported(world, severity=severity))["severity"] == severity


NO_REPORT: Final[dict[str, dict[str, Any]]] = {
    "an unknown severity": {"severity": "urgent"},
    "no severity": {"severity": None},
    "an empty title": {"title": "  "},
    "a title that is too long": {"title": "x" * 201},
    "an empty description": {"description": ""},
    "a description that is too long": {"description": "x" * 4001},
    "a member that is not known": {"assignee": "iemand"},
}


@pytest.mark.parametrize("name", NO_REPORT)
async def test_what_is_no_report_is_refused(world: World, name: str) -> None:
    assert problem(await send(world, "POST", "", {**INCIDENT, **NO_REPORT[name]})) == (400, "invalid_input")
    assert (await send(world, "GET", "")).json()["items"] == []


@pytest.mark.empty_world
@pytest.mark.parametrize("stage", [Stage.BUILDING, Stage.PLACED, Stage.WITHDRAWN])
async def test_a_connection_that_is_not_live_reports_nothing(world: World, stage: Stage) -> None:
    await world.register(stage=stage)
    assert problem(await send(world, "POST", "", INCIDENT)) == (409, "connection_not_live")
    await world.bring("rekenrijk", Stage.LIVE)
    await reported(world)
    await world.bring("rekenrijk", stage)
    assert problem(await send(world, "POST", "", INCIDENT)) == (409, "connection_not_live")


async def test_a_client_that_is_not_registered_reports_nothing(world: World) -> None:
    named = {**INCIDENT, "clientId": "onbekend"}
    assert problem(await send(world, "POST", "", INCIDENT, "onbekend")) == (409, "connection_not_live")
    assert problem(await send(world, "POST", "", named, "onbekend")) == (409, "connection_not_live")


async def test_nobody_reports_for_another_connection_be_it_registered_or_not(world: World) -> None:
    await world.register("taalhuis", kvk_number="90000002")
    foreign = await send(world, "POST", "", {**INCIDENT, "clientId": "taalhuis"})
    unknown = await send(world, "POST", "", {**INCIDENT, "clientId": "onbekend"})
    assert problem(foreign) == (404, "not_found")
    assert foreign.content == unknown.content
    assert (await send(world, "GET", "", by="operator")).json()["items"] == []


async def test_a_connection_that_was_stopped_is_live_and_may_still_report(world: World) -> None:
    stop = await world.operate("POST", "/v1/connections/rekenrijk/_stop", {"reason": "Onderzoek."})
    assert stop.status_code == 200
    opened = await reported(world, suspectedBreach=True)
    assert opened["breach"]["stopped"] is True
    assert (await seen(world, opened["incidentId"]))["breach"]["offers"] == [
        {"rel": "give-notice", "method": "POST", "href": f"/v1/incidents/{opened['incidentId']}/_notify"}
    ]


@pytest.mark.parametrize("role", ["operator", "gateway", "school"])
async def test_only_a_partner_reports(world: World, role: str) -> None:
    token = world.token(role, school="16SW" if role == "school" else None)
    assert problem(await world.call("POST", "/v1/incidents", token, INCIDENT)) == (403, "forbidden")


# -- the life of an incident ------------------------------------------------------------------------------------------


def test_the_table_is_the_life_that_is_described() -> None:
    assert {(str(before), str(step)): str(reached) for (before, step), reached in TRANSITIONS.items()} == LEADS_TO
    assert set(WAYS) == {str(status) for status in IncidentStatus}
    assert {str(step) for step in MOVING} == {name for _, name in LEADS_TO}


@pytest.mark.parametrize(("status", "name"), list(itertools.product(IncidentStatus, IncidentStep)))
def test_every_step_from_every_status_moves_as_described_or_is_refused(
    status: IncidentStatus, name: IncidentStep
) -> None:
    incident = Incident(
        incident_id="incident",
        client_id="rekenrijk",
        title="Storing",
        description="Storing.",
        severity="low",
        status=status,
        revision=1,
        created_at=START,
        changed_at=START,
    )
    if (status, name) in LEADS_TO:
        move(incident, name, "consultant", START)
        assert incident.status == LEADS_TO[status, name]
        return
    before = incident.model_dump()
    with pytest.raises(TransitionNotAllowed, match=status.value):
        move(incident, name, "consultant", START)
    assert incident.model_dump() == before


@pytest.mark.parametrize(("status", "name"), list(itertools.product(WAYS, sorted(MOVING))))
async def test_over_the_wire_every_step_works_as_described_or_is_409_and_changes_nothing(
    world: World, status: str, name: str
) -> None:
    incident_id = (await reported(world))["incidentId"]
    before = await taken(world, incident_id, *WAYS[status].split())
    assert before["status"] == status
    answer = await step(world, incident_id, name)
    if (status, name) in LEADS_TO:
        assert (answer.status_code, answer.json()["status"]) == (200, LEADS_TO[status, name])
        assert (answer.headers["ETag"], answer.json()["version"]) == (
            f'"{before["version"] + 1}"',
            before["version"] + 1,
        )
        assert answer.json()["course"][-1]["text"] == f"Gezegd bij {name}."
        assert answer.json() == await seen(world, incident_id)
    else:
        assert problem(answer) == (409, "transition_not_allowed")
        assert await seen(world, incident_id) == before


@pytest.mark.parametrize("status", WAYS)
async def test_what_moves_nothing_can_be_said_at_any_time(world: World, status: str) -> None:
    incident_id = (await reported(world))["incidentId"]
    before = await taken(world, incident_id, *WAYS[status].split())
    for name in ("comment", "suspect_breach", "give_notice"):
        answer = await step(world, incident_id, name)
        assert answer.status_code == (201 if name == "comment" else 200)
        assert (answer.json()["status"], answer.json()["course"][-1]["step"]) == (status, name)
    after = await seen(world, incident_id)
    assert after["version"] == before["version"] + 3
    times = ("secondsToFirstAnswer", "secondsToSolution", "secondsOpen")
    assert [after[each] for each in times] == [before[each] for each in times]


@pytest.mark.parametrize("name", BY_EITHER_SIDE)
@pytest.mark.parametrize("by", ["operator", "rekenrijk"])
async def test_either_side_comments_and_reopens_and_suspects(world: World, by: str, name: str) -> None:
    incident_id = (await reported(world))["incidentId"]
    await taken(world, incident_id, "take", "resolve")
    answer = await step(world, incident_id, name, by)
    assert answer.status_code in (200, 201)
    role = "operator" if by == "operator" else "partner"
    assert [(line["step"], line["role"]) for line in answer.json()["course"][-1:]] == [(name, role)]


@pytest.mark.parametrize("name", BY_CONSULTANTS_ALONE)
async def test_a_partner_does_not_do_the_consultants_work(world: World, name: str) -> None:
    opened = await reported(world, suspectedBreach=True)
    assert problem(await step(world, opened["incidentId"], name, "rekenrijk")) == (403, "forbidden")
    assert await seen(world, opened["incidentId"], "rekenrijk") == opened


@pytest.mark.parametrize("name", [name for name in ROUTES if name != "take"])
async def test_a_step_says_something(world: World, name: str) -> None:
    opened = await reported(world)
    path = f"/{opened['incidentId']}/{ROUTES[name]}"
    for body in (None, {}, {"text": ""}, {"text": " \n "}, {"text": "x" * 4001}, {"said": "Ja."}):
        assert problem(await send(world, "POST", path, body, "operator")) == (400, "invalid_input"), body
    assert await seen(world, opened["incidentId"], "rekenrijk") == opened


async def test_who_takes_an_incident_need_say_nothing(world: World) -> None:
    path = f"/{(await reported(world))['incidentId']}/_take"
    for body, said in ((None, None), ({}, None), ({"text": "Ik kijk ernaar."}, "Ik kijk ernaar.")):
        answer = await send(world, "POST", path, body, "operator")
        assert (answer.status_code, answer.json()["course"][-1]["text"]) == (200, said)


async def test_the_course_tells_what_was_done_and_said_in_order(world: World) -> None:
    incident_id = (await reported(world))["incidentId"]
    for name in ("take", "answer", "comment", "resolve", "reopen"):
        world.clock.advance(minutes=1)
        await step(world, incident_id, name, "rekenrijk" if name == "reopen" else None)
    course = (await seen(world, incident_id))["course"]
    assert [(line["number"], line["step"], line["role"], line["text"]) for line in course] == [
        (1, "open", "partner", None),
        (2, "take", "operator", "Gezegd bij take."),
        (3, "answer", "operator", "Gezegd bij answer."),
        (4, "comment", "operator", "Gezegd bij comment."),
        (5, "resolve", "operator", "Gezegd bij resolve."),
        (6, "reopen", "partner", "Gezegd bij reopen."),
    ]
    assert [line["at"] for line in course] == [wire(START + timedelta(minutes=number)) for number in range(6)]


# -- names of people --------------------------------------------------------------------------------------------------


def consultant(world: World, name: str) -> str:
    """A token of one of several consultants."""
    return world.issuer.mint("operator", subject=name, lifetime=timedelta(hours=1), now=datetime.now(UTC))


async def test_operators_are_told_which_consultant_it_was_and_partners_are_not(world: World) -> None:
    incident_id = (await reported(world))["incidentId"]
    said = {"text": "Wij kijken ernaar."}
    for name, route in (("consultant-een", "_take"), ("consultant-twee", "_answer"), ("consultant-drie", "_resolve")):
        path = f"/v1/incidents/{incident_id}/{route}"
        assert (await world.call("POST", path, consultant(world, name), said)).status_code == 200
    answer = await step(world, incident_id, "reopen", "rekenrijk")
    told, untold = await seen(world, incident_id), await seen(world, incident_id, "rekenrijk")
    assert answer.json() == untold
    assert told["assignee"] == "consultant-een"
    names = ["partner-subject", "consultant-een", "consultant-twee", "consultant-drie", "partner-subject"]
    assert [line["by"] for line in told["course"]] == names
    assert untold["assignee"] is None
    assert [line["by"] for line in untold["course"]] == ["partner-subject", None, None, None, "partner-subject"]
    shown = [answer.text, json.dumps(untold), (await send(world, "GET", "")).text]
    assert not [text for text in shown if "consultant-" in text]
    assert {**told, "assignee": None, "course": None} == {**untold, "course": None}


async def test_another_consultant_takes_an_incident_over(world: World) -> None:
    incident_id = (await reported(world))["incidentId"]
    for name, reached in (("consultant-een", "taken"), ("consultant-twee", "taken")):
        path = f"/v1/incidents/{incident_id}/_take"
        view = (await world.call("POST", path, consultant(world, name))).json()
        assert (view["assignee"], view["status"]) == (name, reached)


# -- If-Match ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROUTES)
async def test_a_step_on_another_version_than_the_one_that_was_read_is_refused(world: World, name: str) -> None:
    opened = await reported(world, suspectedBreach=name == "give_notice")
    incident_id = opened["incidentId"]
    before = await taken(world, incident_id, *(["take", "resolve"] if name == "reopen" else ["take"]))
    for stale in ('"1"', '"99"', "1", 'W/"2"'):
        assert problem(await step(world, incident_id, name, If_Match=stale)) == (412, "version_mismatch")
    assert await seen(world, incident_id) == before
    answer = await step(world, incident_id, name, If_Match=f'"{before["version"]}"')
    assert answer.status_code in (200, 201)
    assert answer.headers["ETag"] == f'"{before["version"] + 1}"'


async def test_two_consultants_who_read_the_same_version_do_not_both_resolve_it(world: World) -> None:
    incident_id = (await reported(world))["incidentId"]
    await taken(world, incident_id, "take")
    read = (await send(world, "GET", f"/{incident_id}", by="operator")).headers["ETag"]
    assert (await step(world, incident_id, "answer", If_Match=read)).status_code == 200
    assert problem(await step(world, incident_id, "answer", If_Match=read)) == (412, "version_mismatch")


# -- free text in events ----------------------------------------------------------------------------------------------

#: Free text, none of which may be in an event.
WRITTEN: Final = {
    "title": "Guusje Zandstra kan niet inloggen",
    "description": "Bel juf Wiepkje Bronsema over de zesdeklasser.",
    "file": "schermafdruk-van-sjoerd.txt",
    "content": "Sjoerd Veldkamp stond in beeld.",
    **{name: f"Gezegd door Aafke Terpstra bij {route}." for name, route in ROUTES.items()},
}


async def test_nothing_that_was_written_stands_in_the_events(world: World) -> None:
    incident_id = (await reported(world, title=WRITTEN["title"], description=WRITTEN["description"]))["incidentId"]
    done = ("take", "answer", "comment", "resolve", "reopen", "suspect_breach", "give_notice")
    for name in done:
        path = f"/{incident_id}/{ROUTES[name]}"
        assert (await send(world, "POST", path, {"text": WRITTEN[name]}, "operator")).status_code in (200, 201)
    await attached(world, incident_id, WRITTEN["file"], WRITTEN["content"])
    events = await all_events(world)
    kept = [event.state for event in events if event.kind.startswith("incident.")]
    assert [state["step"] for state in kept] == ["open", *done, "attach"]
    assert {state["incidentId"] for state in kept} == {incident_id}
    for event in events:
        text = json.dumps(entry_of(event), ensure_ascii=False)
        assert not [written for written in WRITTEN.values() if written in text], event.kind
        assert not [word for word in ("Guusje", "Wiepkje", "Sjoerd", "sjoerd", "Aafke") if word in text], event.kind


async def test_every_step_is_an_event_with_who_took_it_and_where_it_led(world: World) -> None:
    incident_id = (await reported(world, severity="critical", suspectedBreach=True))["incidentId"]
    await taken(world, incident_id, "take", "resolve")
    await step(world, incident_id, "reopen", "rekenrijk")
    events = [event for event in await all_events(world) if event.kind.startswith("incident.")]
    async with world.store.reading() as session:
        names = await sealing.named(session, [event.actor for event in events])
    assert [
        (event.kind, names[event.actor], event.actor_role, event.client_id, event.state["status"]) for event in events
    ] == [
        ("incident.opened", "partner-subject", "partner", "rekenrijk", "open"),
        ("incident.changed", "operator-subject", "operator", "rekenrijk", "taken"),
        ("incident.changed", "operator-subject", "operator", "rekenrijk", "resolved"),
        ("incident.changed", "partner-subject", "partner", "rekenrijk", "reopened"),
    ]
    assert {(event.state["severity"], event.state["suspectedBreach"]) for event in events} == {("critical", True)}


async def all_events(world: World) -> list[Event]:
    async with world.store.reading() as session:
        return sorted((await session.exec(select(Event))).all(), key=lambda event: event.number)


# -- attachments ------------------------------------------------------------------------------------------------------


async def attached(world: World, incident_id: str, name: str, content: str, by: str = "rekenrijk") -> dict[str, Any]:
    """A text file attached to an incident."""
    token = world.token("operator") if by == "operator" else world.token("partner", client_id=by)
    answer = await world.client.post(
        f"/v1/incidents/{incident_id}/attachments",
        params={"name": name},
        content=content.encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "text/plain"},
    )
    assert answer.status_code == 201, answer.text
    kept: dict[str, Any] = answer.json()
    return kept


@pytest.mark.parametrize("by", ["operator", "rekenrijk"])
async def test_either_side_hands_in_a_file_which_both_can_read(world: World, by: str) -> None:
    incident_id = (await reported(world))["incidentId"]
    kept = await attached(world, incident_id, "melding.txt", "Foutcode 500.", by)
    for reader in ("operator", "rekenrijk"):
        view = await seen(world, incident_id, reader)
        assert (view["attachments"], view["version"], view["status"]) == ([kept], 2, "open")
        assert [(line["step"], line["text"]) for line in view["course"][1:]] == [("attach", "melding.txt")]
        answer = await send(world, "GET", f"/{incident_id}/attachments/{kept['fileId']}", by=reader)
        assert (answer.status_code, answer.text) == (200, "Foutcode 500.")
