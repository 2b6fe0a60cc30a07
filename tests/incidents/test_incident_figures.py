"""Durations of incidents, in figures and in lists."""

from datetime import timedelta
from typing import Any, Final

import pytest

from tests.grants.test_grants import problem
from tests.incidents.reporters import SEVERITIES, WAYS, reported, seen, send, step, taken, wire
from tests.worlds.world import START, World

# -- reporters --------------------------------------------------------------------------------------------------------


# -- durations --------------------------------------------------------------------------------------------------------

#: Steps with their minutes after the opening; the seconds to the first answer, to the solution, and open.
COURSES: Final[dict[str, tuple[str, float | None, float | None, float | None]]] = {
    "nobody looked at it": ("", None, None, 3600),
    "to take it is not to answer it": ("5 take", None, None, 3600),
    "a comment is no answer": ("5 comment", None, None, 3600),
    "an answer": ("5 take, 15 answer", 900, None, 3600),
    "an answer by who did not take it": ("15 answer", 900, None, 3600),
    "the first answer counts": ("10 answer, 20 answer", 600, None, 3600),
    "an answer and a solution": ("5 take, 15 answer, 45 resolve", 900, 2700, None),
    "a solution without an answer is the answer too": ("5 take, 30 resolve", 1800, 1800, None),
    "who reopens it takes the solution away": ("5 take, 30 resolve, 40 reopen", 1800, None, 3600),
    "the first answer outlives the reopening": ("10 answer, 20 resolve, 30 reopen, 40 answer", 600, None, 3600),
    "the last solution counts": ("10 answer, 20 resolve, 30 reopen, 35 take, 50 resolve", 600, 3000, None),
    "what is said afterwards changes no time": ("10 answer, 20 resolve, 50 comment", 600, 1200, None),
    "part of a minute": ("0.025 answer, 0.5 resolve", 1.5, 30, None),
}


@pytest.mark.parametrize("name", COURSES)
async def test_the_times_are_counted_in_seconds_from_the_opening(world: World, name: str) -> None:
    done, to_first_answer, to_solution, still_open = COURSES[name]
    incident_id = (await reported(world))["incidentId"]
    for minutes, each in (entry.split() for entry in done.split(", ") if entry):
        world.clock.now = START + timedelta(minutes=float(minutes))
        await taken(world, incident_id, each)
    world.clock.now = START + timedelta(hours=1)
    view = await seen(world, incident_id)
    assert view["secondsToFirstAnswer"] == to_first_answer
    assert view["secondsToSolution"] == to_solution
    assert view["secondsOpen"] == still_open


NOTHING: Final[dict[str, Any]] = {"count": 0, "median": None, "longest": None}


async def figures(world: World, by: str = "operator") -> dict[str, dict[str, Any]]:
    """The figures by severity, the worst first."""
    answer = await send(world, "GET", "/figures", by=by)
    assert answer.status_code == 200, answer.text
    severities = answer.json()["severities"]
    assert [each["severity"] for each in severities] == list(SEVERITIES)
    return {each.pop("severity"): each for each in severities}


async def test_without_incidents_the_figures_are_empty(world: World) -> None:
    none = {"open": 0, "unanswered": 0, "oldestOpenSince": None, "firstAnswer": NOTHING, "solution": NOTHING}
    for by in ("operator", "rekenrijk", "onbekend"):
        assert await figures(world, by) == dict.fromkeys(SEVERITIES, none)


async def dealt_with(world: World, client_id: str, severity: str, opened: int, done: str) -> None:
    """An incident opened some minutes after the start, with steps some minutes after its opening."""
    world.clock.now = START + timedelta(minutes=opened)
    incident_id = (await reported(world, client_id, severity=severity))["incidentId"]
    for minutes, each in (entry.split() for entry in done.split(", ") if entry):
        world.clock.now = START + timedelta(minutes=opened + int(minutes))
        await taken(world, incident_id, each)


async def test_the_figures_tell_by_severity_what_is_open_and_how_long_things_took(world: World) -> None:
    for opened, done in enumerate(("10 answer, 20 resolve", "20 answer", "60 answer, 90 resolve", "", "5 take"), 1):
        await dealt_with(world, "rekenrijk", "critical", opened, done)
    await dealt_with(world, "rekenrijk", "low", 7, "2 take, 4 resolve, 6 reopen")
    told = await figures(world)
    assert told["critical"] == {
        "open": 3,
        "unanswered": 2,
        "oldestOpenSince": wire(START + timedelta(minutes=2)),
        "firstAnswer": {"count": 3, "median": 1200, "longest": 3600},
        "solution": {"count": 2, "median": 3300, "longest": 5400},
    }
    assert told["low"] == {
        "open": 1,
        "unanswered": 0,
        "oldestOpenSince": wire(START + timedelta(minutes=7)),
        "firstAnswer": {"count": 1, "median": 240, "longest": 240},
        "solution": NOTHING,
    }
    assert told["high"] == told["normal"]
    assert told["high"]["open"] == 0


async def test_a_partners_figures_are_of_its_own_incidents_and_the_operators_of_all(world: World) -> None:
    await world.register("taalhuis", kvk_number="90000002")
    await dealt_with(world, "rekenrijk", "normal", 0, "10 answer, 20 resolve")
    await dealt_with(world, "taalhuis", "normal", 1, "30 answer, 50 resolve")
    await dealt_with(world, "taalhuis", "normal", 2, "")
    own, others, all_of_them = [(await figures(world, by))["normal"] for by in ("rekenrijk", "taalhuis", "operator")]
    assert own == {
        "open": 0,
        "unanswered": 0,
        "oldestOpenSince": None,
        "firstAnswer": {"count": 1, "median": 600, "longest": 600},
        "solution": {"count": 1, "median": 1200, "longest": 1200},
    }
    assert (others["open"], others["firstAnswer"]) == (1, {"count": 1, "median": 1800, "longest": 1800})
    assert all_of_them == {
        "open": 1,
        "unanswered": 1,
        "oldestOpenSince": wire(START + timedelta(minutes=2)),
        "firstAnswer": {"count": 2, "median": 1200, "longest": 1800},
        "solution": {"count": 2, "median": 2100, "longest": 3000},
    }


async def test_an_incident_takes_so_many_comments_and_can_still_be_resolved(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.incidents.incident_routes.MOST_ENTRIES", 3)
    incident_id = (await reported(world))["incidentId"]
    answers = [await step(world, incident_id, "comment", "rekenrijk") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [201, 201, 409, 409]
    assert problem(answers[-1]) == (409, "conflict")
    for name in ("take", "resolve"):
        assert (await step(world, incident_id, name, "operator")).status_code == 200


async def test_a_list_tells_no_more_of_an_incident_than_what_sums_it_up(world: World) -> None:
    opened = await reported(world)
    (item,) = (await send(world, "GET", "")).json()["items"]
    assert set(opened) - set(item) == {"description", "course", "attachments"}


async def test_the_list_can_be_read_by_status_and_in_parts(world: World) -> None:
    ids = {status: (await reported(world, title=status))["incidentId"] for status in WAYS}
    for status, incident_id in ids.items():
        await taken(world, incident_id, *WAYS[status].split())
    for status, incident_id in ids.items():
        items = (await send(world, "GET", f"?status={status}")).json()["items"]
        assert [(each["incidentId"], each["title"], each["status"]) for each in items] == [
            (incident_id, status, status)
        ]
    unsolved = (await send(world, "GET", "?unsolved=true")).json()["items"]
    assert {each["incidentId"] for each in unsolved} == set(ids.values()) - {ids["resolved"]}
    cursor, read = "", []
    while cursor is not None:
        page = (await send(world, "GET", f"?limit=2{cursor and f'&cursor={cursor}'}")).json()
        read += [each["incidentId"] for each in page["items"]]
        cursor = page["next"]
    assert read == sorted(ids.values())
