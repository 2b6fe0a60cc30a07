"""Calls of partners that report disruptions, and of consultants that resolve them."""

from datetime import datetime
from typing import Any, Final

from tests.worlds.world import Answer, World

INCIDENT: Final[dict[str, Any]] = {
    "title": "Inloggen lukt niet",
    "description": "Leerlingen zien sinds vanochtend een wit scherm.",
    "severity": "high",
    "suspectedBreach": False,
}
SEVERITIES: Final = ("critical", "high", "normal", "low")

#: The path of each step in the published contract.
ROUTES: Final = {
    "comment": "comments",
    "take": "_take",
    "answer": "_answer",
    "resolve": "_resolve",
    "reopen": "_reopen",
    "suspect_breach": "_suspect",
    "give_notice": "_notify",
}
BY_CONSULTANTS_ALONE: Final = ("take", "answer", "resolve", "give_notice")
BY_EITHER_SIDE: Final = ("comment", "reopen", "suspect_breach")

#: The steps possible in each status, with the status that they lead to. All others are refused.
LIFE: Final = """
open -> take taken, answer answered
taken -> take taken, answer answered, resolve resolved
answered -> take answered, answer answered, resolve resolved
resolved -> reopen reopened
reopened -> take taken, answer answered
"""
#: The steps that bring a new incident to each status.
WAYS: Final = {
    "open": "",
    "taken": "take",
    "answered": "answer",
    "resolved": "take resolve",
    "reopened": "take resolve reopen",
}


def described_life() -> dict[tuple[str, str], str]:
    """`LIFE` as a table."""
    table = {}
    for before, steps in (line.split(" -> ") for line in LIFE.strip().splitlines()):
        for step, reached in (each.split() for each in steps.split(", ")):
            table[before, step] = reached
    return table


LEADS_TO: Final = described_life()


# -- reports and steps ------------------------------------------------------------------------------------------------


async def send(world: World, method: str, path: str, body: Any = None, by: str = "rekenrijk", **headers: str) -> Answer:
    """A call on the portal; `by` is `operator`, or the client id of a partner's connection."""
    token = world.token("operator") if by == "operator" else world.token("partner", client_id=by)
    return await world.call(method, f"/v1/incidents{path}", token, body, **headers)


async def reported(world: World, client_id: str = "rekenrijk", **more: Any) -> dict[str, Any]:
    """An incident reported by a partner."""
    answer = await send(world, "POST", "", {**INCIDENT, **more}, client_id)
    assert answer.status_code == 201, answer.text
    opened: dict[str, Any] = answer.json()
    return opened


async def step(world: World, incident_id: str, name: str, by: str | None = None, **headers: str) -> Answer:
    """One step, by a consultant unless `by` names the partner."""
    text = {"text": f"Gezegd bij {name}."}
    return await send(world, "POST", f"/{incident_id}/{ROUTES[name]}", text, by or "operator", **headers)


async def taken(world: World, incident_id: str, *names: str) -> dict[str, Any]:
    """The incident after these steps, all of which were allowed."""
    for name in names:
        answer = await step(world, incident_id, name)
        assert answer.status_code in (200, 201), answer.text
    return await seen(world, incident_id)


async def seen(world: World, incident_id: str, by: str = "operator") -> dict[str, Any]:
    answer = await send(world, "GET", f"/{incident_id}", by=by)
    assert answer.status_code == 200, answer.text
    view: dict[str, Any] = answer.json()
    return view


def wire(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
