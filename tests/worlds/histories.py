"""What can happen in a made-up history: each step goes through the service, its import of schools or its job."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.app import source_for
from api.grants.expiry_job import expire
from api.history.replay_routes import replayed
from api.queries import decision_fact_rows
from api.registry.schools_import import import_files
from api.snapshot.current import CurrentSnapshot
from models.consents.partners import Stage
from models.decision.kept_rules import GroundRuleName
from models.decision.snapshot import Snapshot
from models.log.logged_decisions import LoggedDecision
from tests.worlds.oracle import Asked
from tests.worlds.oracle import answer as answer_of_rows
from tests.worlds.questions import (
    BOARDS,
    BRINS,
    CLIENTS,
    CODES,
    FITTING,
    OPTIONAL,
    PLACES,
    PURPOSES,
    QUESTIONS,
    Said,
    closed,
    is_about_a_release,
    moments_of,
    normal,
    question_of,
    rows_of,
    said,
    stands,
    told_by,
)
from tests.worlds.world import BASIS, PURPOSE, Answer, World, question, world_on


@dataclass
class Tally:
    """What a run has seen: how often each step was taken or refused, and each reason given."""

    steps: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)


class History:
    """One history, on a store of its own; its steps are those of the world, taken or refused by the service."""

    def __init__(self, world: World, folder: Path, tally: Tally, do: Callable[[Any], Any]) -> None:
        self.world, self.folder, self.tally, self.do = world, folder, tally, do
        self.followed = CurrentSnapshot(source_for(world.store), 5)
        self.grants: list[tuple[str, str]] = []
        self.given: list[tuple[Asked, datetime, int, Said]] = []
        self.facts: list[tuple[str, str]] = []
        do(self.followed.load())
        do(world.register("rekenrijk", optional=OPTIONAL, purposes=PURPOSES))

    def nothing_happens(self) -> None:
        """The simplest step: a history that shows a difference is made of it wherever it can be."""

    def the_other_connection_is_registered(self, asks: set[str], agreed: bool) -> None:
        if self.operate("GET", "/v1/connections/taalhuis").status_code == 200:
            return
        covered: list[str] | None = None if agreed else []
        asked = [scope for scope in closed(asks) if scope not in BASIS]
        register = self.world.register("taalhuis", kvk_number="90000002", optional=asked, agreed=covered)
        self.do(register)
        self.tally.steps["registered"] += 1

    def a_request_changes(self, client: str, asks: set[str], codes: list[str]) -> None:
        asked = {"required": BASIS, "optional": [scope for scope in closed(asks) if scope not in BASIS]}
        change = {"scopes": asked, "purposes": codes}
        self.took("request", self.operate("PATCH", f"/v1/connections/{client}", change, If_Match="*"))

    def an_agreement_is_signed(
        self,
        client: str,
        covers: list[str],
        codes: list[str],
        board: str | None,
        start: int | None,
        end: int | None,
        grace: int | None,
    ) -> None:
        terms = {"graceUntil": self.moment(max(start or 0, 0) + grace)} if grace is not None else {}
        agree = self.world.agree(client, covers, codes, boardNumber=board, **terms, **self.period(start, end))
        answer = self.do(agree)
        if self.took("agreement", answer):
            self.facts.append((client, f"agreements/{answer.json()['agreementId']}/_end"))

    def a_ground_rule_is_kept(self, client: str, name: str, start: int | None, end: int | None) -> None:
        answer = self.do(self.world.keep(client, name, **self.period(start, end)))
        if self.took("ground rule", answer):
            self.facts.append((client, f"ground-rules/{answer.json()['groundRuleId']}/_withdraw"))

    def an_agreement_or_ground_rule_ends(self, which: int) -> None:
        if self.facts:
            client, path = self.facts[-1 - which % len(self.facts)]
            self.took("end", self.operate("POST", f"/v1/connections/{client}/{path}", {"reason": "Voorbij."}))

    def evidence_of_a_ground_rule_is_replaced(self, client: str, name: str, start: int | None) -> None:
        """What is known of a rule is withdrawn; what shows it anew may hold only later."""
        path = f"/v1/connections/{client}/ground-rules"
        known = self.operate("GET", path).json().get("items", [])
        for fact in known:
            if fact["rule"] == name:
                withdrawn = f"{path}/{fact['groundRuleId']}/_withdraw"
                self.took("withdrawal", self.operate("POST", withdrawn, {"reason": "Weg."}))
        self.a_ground_rule_is_kept(client, name, start, None)

    def a_school_grants(
        self, client: str, place: str, chosen: set[str], codes: list[str], start: int | None, end: int | None
    ) -> None:
        where = {"location": place} if len(place) > 4 else {}
        wish: dict[str, Any] = {"scopes": closed(chosen), "purposes": codes, **where, **self.period(start, end)}
        answer = self.do(self.world.grant(client, brin=place[:4], **wish))
        if not self.took("grant", answer) and answer.json()["type"].endswith("_not_offered"):
            # The smallest choice is refused more seldom, and a grant is what the other steps are about.
            wish |= {"scopes": BASIS, "purposes": [PURPOSE]}
            answer = self.do(self.world.grant(client, brin=place[:4], **wish))
            self.took("small grant", answer)
        if answer.status_code == 201:
            self.grants.append((place[:4], answer.json()["grantId"]))

    def a_school_amends(self, which: int, chosen: set[str] | None, codes: list[str] | None, end: int | None) -> None:
        change: dict[str, Any] = {"validUntil": self.moment(end)} if end is not None else {}
        change |= {"scopes": closed(chosen)} if chosen is not None else {}
        change |= {"purposes": codes} if codes is not None else {}
        if self.grants:
            brin, grant_id = self.grants[-1 - which % len(self.grants)]
            path = f"/grants/{grant_id}"
            self.took("amend", self.do(self.world.administer("PATCH", path, change, brin, If_Match="*")))

    def a_school_agrees(self, which: int, agreement: int) -> None:
        """To an agreement that may not be the one that counts."""
        if self.grants:
            brin, grant_id = self.grants[-1 - which % len(self.grants)]
            path = f"/grants/{grant_id}"
            client = self.do(self.world.administer("GET", path, None, brin)).json()["clientId"]
            known = self.operate("GET", f"/v1/connections/{client}/agreements").json()["items"]
            change = {"agreementId": known[-1 - agreement % len(known)]["agreementId"]} if known else {}
            self.took("agree", self.do(self.world.administer("PATCH", path, change, brin, If_Match="*")))

    def an_emergency_stop_comes_or_goes(self, client: str, whose: str, step: str) -> None:
        path = f"/v1/connections/{client}"
        if whose == "partner":
            known = self.operate("GET", path).json().get("kvkNumber", "99999999")
            path = f"/v1/partners/{known}"
        self.took(step, self.operate("POST", f"{path}/_{step}", {"reason": "Oefening."}))

    def the_road_moves(self, client: str, stage: Stage) -> None:
        if self.operate("GET", f"/v1/connections/{client}").status_code == 200:
            self.do(self.world.bring(client, stage))
            self.tally.steps[f"now {stage}"] += 1

    def a_school_takes_a_step(self, which: int, step: str, end: int | None) -> None:
        body = {"until": self.moment(end)} if step == "suspend" and end is not None else {}
        if self.grants:
            brin, grant_id = self.grants[-1 - which % len(self.grants)]
            self.took(step, self.do(self.world.step(grant_id, step, body, brin)))

    def schools_are_imported(self, listed: set[str], board: str) -> None:
        """DUO lists these locations: all others are gone, and 17TX may be another board's now."""
        header = "INSTELLINGSCODE;VESTIGINGSCODE;VESTIGINGSNAAM;BEVOEGD GEZAG NUMMER"
        boards = {"16SW": "10001", "17TX": board}
        lines = [f"{code[:4]};{code};Locatie {code};{boards[code[:4]]}" for code in sorted(listed)]
        path = self.folder / "bo.csv"
        path.write_text("\r\n".join([header, *lines, ""]), encoding="cp1252")
        report = self.do(import_files(self.world.store, [path]))
        self.tally.steps["import" if report.revision is not None else "import of nothing new"] += 1

    def time_passes(self, by: int) -> None:
        self.world.clock.advance(hours=by)

    def the_job_writes_down_what_time_brought(self) -> None:
        self.tally.steps["settled" if self.do(expire(self.world.store)) else "nothing to settle"] += 1

    def everything_agrees(self, seed: int) -> None:
        """Every way of answering gives the same answer, now and at the instants at which something begins or ends."""
        chance = random.Random(seed)
        self.do(self.ask_at_the_door(chance))
        self.do(self.compare(chance))

    async def ask_at_the_door(self, chance: random.Random) -> None:
        """Some questions as gateways ask them: each becomes a line of the decision log."""
        token = self.world.token("gateway")
        for asked in chance.sample(FITTING, 3):
            purpose = {"purpose": asked.purpose} if asked.purpose else {}
            scopes = asked.scopes or None
            body = question(asked.client_id, asked.place, resource_type=asked.type, scopes=scopes, **purpose)
            answer = await self.world.call("POST", "/access/v1/evaluation", token, body)
            assert answer.status_code == 200, answer.text

    async def compare(self, chance: random.Random) -> None:
        followed, now = await self.followed.get()
        fresh = await self.fresh()
        async with self.world.store.reading() as session:
            facts = await rows_of(session)
            partners = {client: await decision_fact_rows.snapshot_of(session, client, BRINS) for client in CLIENTS}
            told = await told_by(session)
            await self.look_back(session, chance, now)
        assert normal(followed) == normal(fresh)
        assert normal(told)[:-1] == normal(fresh)[:-1]
        assert stands(told, now) == stands(fresh, now)
        moments = list(moments_of(facts, now))
        known = {connection.client_id for connection in facts.connections}
        fitting = [asked for asked in FITTING if asked.client_id in known]
        for moment in [now, *chance.sample(moments, min(3, len(moments)))]:
            for asked in [*chance.sample(fitting, 40), *chance.sample(QUESTIONS, 10)]:
                expected = answer_of_rows(facts, asked, moment)
                right = (expected.reason, expected.scopes, expected.fields)
                self.tally.reasons[expected.reason] += 1
                if moment == now and is_about_a_release(asked):
                    self.given.append((asked, now, followed.revision, right))
                assert said(followed, asked, moment) == right, (asked, moment)
                assert said(fresh, asked, moment) == right, (asked, moment)
                if asked.client_id in partners:
                    assert said(partners[asked.client_id], asked, moment) == right, (asked, moment)

    async def look_back(self, session: AsyncSession, chance: random.Random, now: datetime) -> None:
        """What was decided before is what the log tells of then, whatever has happened since."""
        for asked, moment, revision, right in chance.sample(self.given, min(6, len(self.given))):
            then = await replayed(session, question_of(asked), moment, revision, now)
            assert (then.reason, frozenset(then.scopes), frozenset(then.fields)) == right, (asked, moment, revision)
            assert then.revision == revision
            self.tally.steps["looked back"] += 1
        logged = (await session.exec(select(LoggedDecision))).all()
        for line in chance.sample(logged, min(6, len(logged))):
            then = await replayed(session, line.question, line.at, line.revision, now)
            assert (then.decision, then.reason, then.grant_id) == (line.permit, line.reason, line.grant_id), line
            self.tally.steps["replayed a line"] += 1

    async def fresh(self) -> Snapshot:
        current = CurrentSnapshot(source_for(self.world.store), 5)
        try:
            return (await current.get()).snapshot
        finally:
            await current.aclose()

    # -- what the steps are made of -----------------------------------------------------------------------------------

    def operate(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        answer: Answer = self.do(self.world.operate(method, path, body, **headers))
        return answer

    def took(self, step: str, answer: Answer) -> bool:
        """Whether the service took the step; a refusal is an answer too, and the comparison shows that it was meant."""
        assert answer.status_code < 500, answer.text
        taken = answer.status_code < 300
        self.tally.steps[step if taken else f"{step} refused"] += 1
        return taken

    def moment(self, hour: int) -> str:
        return (self.world.clock.now + timedelta(hours=hour)).isoformat()

    def period(self, start: int | None, end: int | None) -> dict[str, str]:
        begins = {"validFrom": self.moment(start)} if start is not None else {}
        return begins | ({"validUntil": self.moment(max(start or 0, 0) + end)} if end is not None else {})


# -- how a history is made up -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chance:
    """What one step names, made up from a seed: Hypothesis' own choices favour what is small, and end little."""

    random: random.Random

    def client(self) -> str:
        return self.random.choice([CLIENTS[0], CLIENTS[0], CLIENTS[1]])

    def place(self) -> str:
        return self.random.choice(PLACES)

    def optional(self) -> set[str]:
        return set(self.random.sample(OPTIONAL, self.random.randint(0, 5)))

    def covered(self) -> list[str]:
        """Most of what there is: an agreement may leave anything out, also what the rest needs."""
        left_out = self.random.sample((*BASIS, *OPTIONAL), self.random.choice([0, 1, 2, 4]))
        return [scope for scope in (*BASIS, *OPTIONAL) if scope not in left_out]

    def purposes(self) -> list[str]:
        return list(self.random.choice([PURPOSES, PURPOSES, PURPOSES[:2], PURPOSES[:1], PURPOSES[1:]]))

    def board(self) -> str | None:
        return self.random.choice([None, *BOARDS])

    def rule(self) -> str:
        return str(self.random.choice(list(GroundRuleName)))

    def start(self) -> int | None:
        """Hours from now; few and small, so that what begins and ends by time often does so at the same instant."""
        return self.random.choice([None, None, None, -1, 0, 1, 3])

    def end(self) -> int | None:
        return self.random.choice([None, None, 1, 2, 4, 8])

    def which(self) -> int:
        return self.random.choice([0, 0, 0, 1, 2, 3, 5])

    def maybe(self, value: Any) -> Any:
        return self.random.choice([None, value])

    def listed(self) -> set[str]:
        return set(self.random.sample(CODES, self.random.randint(1, len(CODES))))


Step = tuple[Callable[..., None], dict[str, Any]]

#: Each step, how often it is tried beside the others, and what it names.
TRIED: Final[tuple[tuple[int, Callable[..., None], Callable[[Chance], dict[str, Any]]], ...]] = (
    (
        20,
        History.a_school_grants,
        lambda by: {
            "client": by.client(),
            "place": by.place(),
            "chosen": by.optional(),
            "codes": by.purposes(),
            "start": by.start(),
            "end": by.end(),
        },
    ),
    (
        15,
        History.a_school_takes_a_step,
        lambda by: {
            "which": by.which(),
            "step": by.random.choice(["suspend", "suspend", "resume", "revoke"]),
            "end": by.end(),
        },
    ),
    (
        5,
        History.a_school_amends,
        lambda by: {
            "which": by.which(),
            "chosen": by.maybe(by.optional()),
            "codes": by.maybe(by.purposes()),
            "end": by.maybe(by.end()),
        },
    ),
    (3, History.a_school_amends, lambda by: {"which": by.which(), "chosen": None, "codes": None, "end": None}),
    (
        4,
        History.a_request_changes,
        lambda by: {"client": by.client(), "asks": by.optional(), "codes": by.purposes()},
    ),
    (
        9,
        History.an_agreement_is_signed,
        lambda by: {
            "client": by.client(),
            "covers": by.covered(),
            "codes": by.purposes(),
            "board": by.board(),
            "start": by.start(),
            "end": by.end(),
            "grace": by.end(),
        },
    ),
    (4, History.a_school_agrees, lambda by: {"which": by.which(), "agreement": by.which()}),
    (
        2,
        History.an_emergency_stop_comes_or_goes,
        lambda by: {"client": by.client(), "whose": by.random.choice(["partner", "connection"]), "step": "stop"},
    ),
    (
        8,
        History.an_emergency_stop_comes_or_goes,
        lambda by: {"client": by.client(), "whose": by.random.choice(["partner", "connection"]), "step": "lift"},
    ),
    (1, History.the_road_moves, lambda by: {"client": by.client(), "stage": by.random.choice(list(Stage))}),
    (3, History.the_road_moves, lambda by: {"client": by.client(), "stage": Stage.LIVE}),
    (
        2,
        History.a_ground_rule_is_kept,
        lambda by: {"client": by.client(), "name": by.rule(), "start": by.start(), "end": by.end()},
    ),
    (
        3,
        History.evidence_of_a_ground_rule_is_replaced,
        lambda by: {"client": by.client(), "name": by.rule(), "start": by.random.choice([None, None, 1])},
    ),
    (4, History.an_agreement_or_ground_rule_ends, lambda by: {"which": by.which()}),
    (
        3,
        History.the_other_connection_is_registered,
        lambda by: {"asks": by.optional(), "agreed": by.random.random() < 0.8},
    ),
    (3, History.schools_are_imported, lambda by: {"listed": by.listed(), "board": by.random.choice(BOARDS)}),
    (4, History.schools_are_imported, lambda by: {"listed": set(CODES), "board": by.random.choice(BOARDS)}),
    (9, History.time_passes, lambda by: {"by": by.random.randint(1, 4)}),
    (3, History.the_job_writes_down_what_time_brought, lambda by: {}),
    (16, History.everything_agrees, lambda by: {"seed": by.random.randrange(2**16)}),
)


def step_of(seed: int) -> Step:
    """The step that a seed stands for; 0 is the simplest one."""
    if seed == 0:
        return History.nothing_happens, {}
    chance = Chance(random.Random(seed))
    _, take, named = chance.random.choices(TRIED, [times for times, _, _ in TRIED])[0]
    return take, named(chance)


@contextmanager
def history_on(store_url: str, folder: Path, tally: Tally) -> Iterator[History]:
    with asyncio.Runner() as runner:
        made = world_on(store_url, folder)
        history = History(runner.run(made.__aenter__()), folder, tally, runner.run)
        try:
            yield history
        finally:
            runner.run(history.followed.aclose())
            runner.run(made.__aexit__(None, None, None))
