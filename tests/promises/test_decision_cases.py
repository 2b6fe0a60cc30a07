"""One table of decision cases, `cases/*.json`: every door gives the same answer to each of them, on both stores.

In `make test` a sample of them is on SQLite: for each step and each reason at least one.

A case is one file, and its name says the case: `facts` are steps in the words of `STEPS` below, taken in order from
2026-09-01T08:00:00Z on; then comes the `question`, and the `answer`. What a step or a question leaves out is the
usual: `rekenrijk` asks for `leerling` at 16SW, for which `onderwijs-en-begeleiding` was granted with the pupils' names
(`register` and `grant` of `world.py`). `minRevision` is `reached` (the last one) or `next`.

`notAskedBy` names a door that cannot ask this, and why. A new door is one more line in `DOORS`.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

import asyncpg
import pytest
from sqlalchemy import text

from api.gateways.forward_auth import PATH, Authorize
from api.grants.expiry_job import expire
from api.registry.schools_import import import_files
from api.snapshot.current import CurrentSnapshot
from api.store.store import Store
from models.consents.partners import Stage
from models.decision.decision import Reason
from models.decision.route_table import RouteTable, RouteTableInvalid
from models.log.events import Revision
from tests.effort import sample
from tests.worlds.stores import POSTGRESQL, SQLITE
from tests.worlds.world import BASIS, PURPOSE, Answer, World, question

CASES: Final[dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parents[1] / "cases").glob("*.json"))
}
USUAL: Final[dict[str, Any]] = {
    "subjectType": "partner",
    "client": "rekenrijk",
    "action": "release",
    "place": "16SW",
    "type": "leerling",
    "scopes": [],
    "fields": [],
    "purpose": None,
    "minRevision": 0,
}

#: The step that a world's connection came about by.
FURNISHED: Final[dict[str, Any]] = {"register": {}}

Told = dict[str, Any]
Question = dict[str, Any]
#: Nothing is told by a door that cannot ask this.
Door = Callable[[World, Question], Awaitable[Told | None]]


@dataclass
class Facts:
    """The world that a case tells of, and what its steps refer to."""

    world: World
    folder: Path
    grants: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    async def take(self, step: str, given: Any) -> None:
        """Takes one step of a case."""
        await STEPS[step](self, given)

    async def register(self, given: dict[str, Any]) -> None:
        client_id = given.pop("client", "rekenrijk")
        await self.world.register(client_id, **given)

    async def ask(self, given: dict[str, Any]) -> None:
        """The connection asks for something else from now on."""
        change: dict[str, Any] = {"purposes": given["purposes"]} if "purposes" in given else {}
        if "optional" in given:
            change["scopes"] = {"required": BASIS, "optional": given["optional"]}
        done(await self.world.operate("PATCH", "/v1/connections/rekenrijk", change, If_Match="*"))

    async def agree(self, given: dict[str, Any]) -> None:
        purposes = given.pop("purposes", [PURPOSE, "toegang-en-identificatie"])
        done(await self.world.agree("rekenrijk", given.pop("scopes"), purposes, **given))

    async def end_agreement(self, given: dict[str, Any]) -> None:
        """Ends every agreement of a board; without one, every general agreement."""
        path = "/v1/connections/rekenrijk/agreements"
        for agreement in (await self.world.operate("GET", path)).json()["items"]:
            if agreement["boardNumber"] == given.get("boardNumber"):
                end = f"{path}/{agreement['agreementId']}/_end"
                done(await self.world.operate("POST", end, {"reason": "Opgezegd."}))

    async def keep(self, given: dict[str, Any]) -> None:
        done(await self.world.keep("rekenrijk", **given))

    async def withdraw(self, given: dict[str, Any]) -> None:
        """Withdraws the first fact on record about a ground rule."""
        path = "/v1/connections/rekenrijk/ground-rules"
        facts = (await self.world.operate("GET", path)).json()["items"]
        # Facts of one instant stand in no order: the one that `register` recorded has no end and begins at once.
        usual = [fact for fact in facts if fact["rule"] == given["rule"] and not self._is_dated(fact)]
        withdrawn = f"{path}/{usual[0]['groundRuleId']}/_withdraw"
        done(await self.world.operate("POST", withdrawn, {"reason": "Uit het register."}))

    async def grant(self, given: dict[str, Any]) -> None:
        client_id, place = given.pop("client", "rekenrijk"), given.pop("at", "16SW")
        where = {"location": place} if len(place) > 4 else {}
        granted = await self.world.granted(client_id, brin=place[:4], **where, **given)
        self.grants[client_id, place] = granted

    async def amend(self, given: dict[str, Any]) -> None:
        grant = self._granted(given)
        path = f"/grants/{grant['grantId']}"
        done(await self.world.administer("PATCH", path, given, grant["school"], If_Match="*"))

    async def revoke(self, given: dict[str, Any]) -> None:
        await self._step("revoke", given)

    async def suspend(self, given: dict[str, Any]) -> None:
        await self._step("suspend", given)

    async def resume(self, given: dict[str, Any]) -> None:
        await self._step("resume", given)

    async def list_schools(self, given: dict[str, str]) -> None:
        """DUO lists these locations, each under its board, and no others."""
        header = "INSTELLINGSCODE;VESTIGINGSCODE;VESTIGINGSNAAM;BEVOEGD GEZAG NUMMER"
        rows = [f"{code[:4]};{code};Locatie {code};{board}" for code, board in given.items()]
        path = self.folder / "bo.csv"
        path.write_text("\r\n".join([header, *rows, ""]), encoding="cp1252")
        assert (await import_files(self.world.store, [path])).revision is not None

    async def clock(self, given: str) -> None:
        """The store's clock now says this."""
        self.world.clock.now = datetime.fromisoformat(given)

    async def settle(self, given: dict[str, Any]) -> None:
        """The job writes down what time has brought about."""
        assert await expire(self.world.store) > 0

    async def restore_backup(self, given: dict[str, Any]) -> None:
        """The store is set back to before its last change, after it was seen to be further."""
        await self.world.ask()
        async with self.world.store.engine.begin() as connection:
            await connection.execute(text("UPDATE consent_revision SET revision = revision - 1"))

    async def lose_store(self, given: dict[str, Any]) -> None:
        """The store is taken away while the service runs.

        PostgreSQL ends all its connections and takes no new ones. An SQLite file is moved away; since an open file
        stays readable wherever it is moved to, the service's own connections to it are ended as well.
        """
        if not self.world.store.is_sqlite:
            return await self._close_postgresql()
        for path in self.folder.glob("privacy-manager.db*"):
            path.rename(path.with_name(f"away-{path.name}"))
        services = self.world.service.services
        await services.of(CurrentSnapshot)._drop()
        await services.of(Store).engine.dispose()

    async def _close_postgresql(self) -> None:
        url = self.world.store.url.set(drivername="postgresql")
        other = url.set(database="postgres").render_as_string(hide_password=False)
        connection = await asyncpg.connect(other)
        try:
            await connection.execute(f"ALTER DATABASE {url.database} WITH ALLOW_CONNECTIONS false")
            ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1"
            await connection.execute(ended, url.database)
        finally:
            await connection.close()

    async def stop(self, given: dict[str, str]) -> None:
        await self._emergency("stop", given)

    async def lift(self, given: dict[str, str]) -> None:
        await self._emergency("lift", given)

    async def bring(self, given: str) -> None:
        """The connection's road has led it here."""
        await self.world.bring("rekenrijk", Stage(given))

    async def confirm(self, given: dict[str, Any]) -> None:
        """The school agrees to the agreement that was registered last."""
        known = (await self.world.operate("GET", "/v1/connections/rekenrijk/agreements")).json()["items"]
        await self.amend({**given, "agreementId": known[-1]["agreementId"]})

    async def _emergency(self, step: str, given: dict[str, str]) -> None:
        whose = {"partner": "/v1/partners/90000001", "connection": "/v1/connections/rekenrijk"}[given["whose"]]
        done(await self.world.operate("POST", f"{whose}/_{step}", {"reason": "Oefening."}))

    async def _step(self, step: str, given: dict[str, Any]) -> None:
        grant = self._granted(given)
        done(await self.world.step(grant["grantId"], step, given, grant["school"]))

    def _granted(self, given: dict[str, Any]) -> dict[str, Any]:
        return self.grants[given.pop("client", "rekenrijk"), given.pop("at", "16SW")]

    @staticmethod
    def _is_dated(fact: dict[str, Any]) -> bool:
        return fact["validUntil"] is not None or fact["validFrom"] != "2026-09-01T08:00:00Z"


STEPS: Final[dict[str, Callable[[Facts, Any], Awaitable[None]]]] = {
    "register": Facts.register,
    "ask": Facts.ask,
    "agree": Facts.agree,
    "endAgreement": Facts.end_agreement,
    "keep": Facts.keep,
    "withdraw": Facts.withdraw,
    "grant": Facts.grant,
    "amend": Facts.amend,
    "revoke": Facts.revoke,
    "suspend": Facts.suspend,
    "resume": Facts.resume,
    "confirm": Facts.confirm,
    "stop": Facts.stop,
    "lift": Facts.lift,
    "bring": Facts.bring,
    "list": Facts.list_schools,
    "clock": Facts.clock,
    "settle": Facts.settle,
    "restoreBackup": Facts.restore_backup,
    "loseStore": Facts.lose_store,
}


def done(answer: Answer) -> None:
    assert answer.status_code in (200, 201), answer.text


# -- the doors: each asks the question in its own way, and gives back as much of the answer as it tells ---------------


async def evaluation(world: World, asked: Question) -> Told:
    answer = await world.call("POST", "/access/v1/evaluation", world.token("gateway"), authzen(asked))
    told = told_by(answer.json())
    assert answer.status_code == (503 if told["reason"] in ("store_unreachable", "revision_behind") else 200)
    return told


async def evaluations(world: World, asked: Question) -> Told:
    """In a batch, between a question that is denied and one that may be permitted."""
    batch = {"evaluations": [question("nobody", "99ZZ"), authzen(asked), question()]}
    answer = await world.call("POST", "/access/v1/evaluations", world.token("gateway"), batch)
    if answer.status_code == 503:
        return told_by(answer.json())
    assert answer.status_code == 200
    items = answer.json()["evaluations"]
    assert len(items) == 3
    return told_by(items[1])


async def status(world: World, asked: Question) -> Told:
    """What the partner itself sees: the reason alone, and none when the data may be released."""
    names = ("type", "scopes", "fields", "purpose", "minRevision")
    query = {name: asked[name] for name in names if asked[name]}
    answer = await world.look(asked["client"], school=asked["place"], **query)
    if answer.status_code == 503:
        return {"decision": False, "reason": answer.json()["type"].rsplit("/", 1)[1]}
    consent = answer.json()["items"][0]
    assert (consent["location"] or consent["school"]["brin"]) == asked["place"]
    return {"decision": consent["reason"] is None, "reason": consent["reason"] or "granted"}


async def forward_auth(world: World, asked: Question) -> Told | None:
    """A gateway that holds a request for this. Of fields, a purpose or a revision no route speaks."""
    if any(asked[name] != USUAL[name] for name in ("subjectType", "action", "fields", "purpose", "minRevision")):
        return None
    try:
        routes = RouteTable.read(f"* /{{place}} {asked['type']} {{place}} {' '.join(asked['scopes'])}")
    except RouteTableInvalid:
        return None
    door = cast(Authorize, world.service.hooks[PATH])
    door.routes = routes
    answer = await world.hold("GET", f"/{asked['place']}", asked["client"])
    assert answer.status_code in (200, 403, 503)
    if answer.status_code != 200:
        return {name: answer.json()[name] for name in ("decision", "reason")}
    told = {name: answer.headers[f"x-consent-{name}"].split() for name in ("scopes", "fields")}
    return {"decision": True, "reason": "granted", **told}


async def searching(world: World, asked: Question, searched: str, wanted: str) -> Told:
    """Whether a search finds what is asked about; and what it may release, where the search tells."""
    body = authzen(asked)
    if searched == "action":
        del body["action"]
    else:
        del body[searched]["id"]
    answer = await world.call("POST", f"/access/v1/search/{searched}", world.token("gateway"), body)
    if answer.status_code == 503:
        return told_by(answer.json())
    assert answer.status_code == 200
    found = {each.get("id", each.get("name")): each for each in answer.json()["results"]}
    told: Told = {"decision": wanted in found}
    return told | (found[wanted].get("properties", {}) if wanted in found else {})


async def subject_search(world: World, asked: Question) -> Told:
    return await searching(world, asked, "subject", asked["client"])


async def resource_search(world: World, asked: Question) -> Told:
    return await searching(world, asked, "resource", asked["place"])


async def action_search(world: World, asked: Question) -> Told:
    return await searching(world, asked, "action", asked["action"])


DOORS: Final[dict[str, Door]] = {
    "evaluation": evaluation,
    "evaluations": evaluations,
    "subject search": subject_search,
    "resource search": resource_search,
    "action search": action_search,
    "status": status,
    "forward_auth": forward_auth,
}


def authzen(asked: Question) -> dict[str, Any]:
    body = question(
        asked["client"],
        asked["place"],
        resource_type=asked["type"],
        scopes=asked["scopes"] or None,
        fields=asked["fields"] or None,
        **{name: asked[name] for name in ("purpose", "minRevision") if asked[name]},
    )
    body["subject"]["type"], body["action"]["name"] = asked["subjectType"], asked["action"]
    return body


def told_by(answer: dict[str, Any]) -> Told:
    context = answer["context"]
    told = {name: context[name] for name in ("reason", "scopes", "fields")}
    return {"decision": answer["decision"], **told, "uwlrFault": context.get("uwlrFault")}


# -- the table --------------------------------------------------------------------------------------------------------


def _marks(name: str) -> tuple[pytest.MarkDecorator, ...]:
    """Nearly every case begins with the usual connection, which is in every world that is not empty."""
    return () if CASES[name]["facts"][:1] == [FURNISHED] else (pytest.mark.empty_world,)


def _reason(name: str) -> str:
    return str(CASES[name]["answer"]["reason"])


def _takes(step: str) -> Callable[[str], bool]:
    return lambda name: any(step in each for each in CASES[name]["facts"])


@pytest.mark.parametrize(
    ("store_url", "name"),
    [
        *(pytest.param(POSTGRESQL, name, marks=_marks(name)) for name in CASES),
        *(pytest.param(SQLITE, name, marks=_marks(name)) for name in sample(CASES, _reason, *map(_takes, STEPS))),
    ],
    indirect=["store_url"],
)
async def test_a_case_has_the_same_answer_through_every_door(world: World, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    facts = Facts(world, tmp_path)
    asked = {**USUAL, **case["question"]}
    steps = [(step, given) for each in case["facts"] for step, given in each.items()]
    for step, given in steps[1:] if case["facts"][:1] == [FURNISHED] else steps:
        if step == "loseStore":
            asked["minRevision"] = await _revision(world, asked["minRevision"])
        await facts.take(step, json.loads(json.dumps(given)))
    asked["minRevision"] = await _revision(world, asked["minRevision"])
    doors = {door: ask for door, ask in DOORS.items() if door not in case.get("notAskedBy", {})}
    answers = {door: await ask(world, asked) for door, ask in doors.items()}
    told = {door: answer for door, answer in answers.items() if answer is not None}
    expected = {"scopes": [], "fields": [], "uwlrFault": None, **case["answer"]}
    assert told == {door: {member: expected[member] for member in answer} for door, answer in told.items()}


async def _revision(world: World, named: str | int) -> int:
    if isinstance(named, int):
        return named
    async with world.store.reading() as session:
        reached = (await session.get_one(Revision, 1)).revision
    return reached + (named == "next")


def test_every_reason_occurs_in_the_table() -> None:
    assert {case["answer"]["reason"] for case in CASES.values()} == set(Reason)


@pytest.mark.both_stores
@pytest.mark.parametrize("name", CASES)
def test_a_case_says_all_there_is_to_say(name: str) -> None:
    case = CASES[name]
    assert set(case) - {"notAskedBy"} == {"facts", "question", "answer"}
    assert set(case["question"]) <= set(USUAL)
    assert set(case.get("notAskedBy", {})) < set(DOORS)
    permitted = case["answer"]["reason"] == "granted"
    assert set(case["answer"]) == {"decision", "reason", *(("scopes", "fields") if permitted else ("uwlrFault",))}
    assert case["answer"]["decision"] is permitted
    assert all(len(each) == 1 and set(each) <= set(STEPS) for each in case["facts"])
