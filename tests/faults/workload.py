"""Clients that grant, revoke and ask at several replicas at once while things fail, and write down what they were told.

A history has schools of its own, so that nothing is left in it of the one before. What a client believes of a key
decides what it does next and nothing else: most of what it sends makes sense, so that writes take effect.
"""

import asyncio
import contextlib
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx2

from api.evidence.key_custody import record_schools
from api.security.tokens import EmbeddedIssuer
from api.store.store import Store
from models.consents.schools import School
from tests.faults import cases
from tests.faults.cases import Case
from tests.faults.replicas import Site, fresh_store, site_on
from tests.linearizability.history import NOTHING, Key, Kind, Operation, Outcome, Phase, Scopes
from tests.worlds.live_connections import add_connections
from tests.worlds.world import BASIS, PURPOSE, question

CLIENTS: Final = 5
READ_SECONDS: Final = 0.6
WRITE_SECONDS: Final = 1.5
#: How long things may take to come back once nothing is in the way any more.
RECOVERY_SECONDS: Final = 60.0
READS: Final = 0.7
CONNECTIONS: Final = ("rekenrijk", "taalhuis")
SCHOOLS_A_HISTORY: Final = 2
OPTIONAL: Final = ("leerling.naam", "leerling.jaargroep", "leerling.geboortedatum")
#: Every answer about pupils speaks of these, whether or not it releases them.
WITHIN: Final[Scopes] = frozenset({"leerling.pseudoniem", *OPTIONAL})

#: What makes sense from where a key is believed to stand.
SENSIBLE: Final = {
    Phase.NEVER: (Kind.GRANT,),
    Phase.REVOKED: (Kind.GRANT,),
    Phase.GRANTED: (Kind.AMEND, Kind.AMEND, Kind.REVOKE, Kind.SUSPEND),
    Phase.SUSPENDED: (Kind.RESUME, Kind.REVOKE),
}
WRITES: Final = (Kind.GRANT, Kind.AMEND, Kind.REVOKE, Kind.SUSPEND, Kind.RESUME)


#: What befalls a replica or the store meanwhile. PostgreSQL takes a second to come back, so it is killed rarely.
FAULTS: Final = (
    Case("paused", cases.paused),
    Case("connection cut", cases.connection_cut),
    Case("connection stalled", cases.connection_stalled),
    Case("line slow", cases.line_slow),
    Case("reload broken off", cases.reload_broken_off),
    Case("PostgreSQL killed", cases.postgresql_killed, weight=0.15),
)


@dataclass(frozen=True)
class Plan:
    """How long a history is, and what makes it this one and no other."""

    operations: int
    keys: Sequence[Key]
    seed: str
    faults: Sequence[Case] = FAULTS


@dataclass
class Belief:
    """What clients think of a key: what they were told last."""

    phase: Phase = Phase.NEVER
    grant: str | None = None
    version: str = "*"


@dataclass
class Recording:
    """What a history holds, and what it met."""

    operations: list[Operation] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    refused_reads: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)

    @property
    def tally(self) -> Counter[str]:
        """How many operations of each kind there are, by what became of them."""
        counted: Counter[str] = Counter(operations=len(self.operations))
        for operation in self.operations:
            if not operation.is_read:
                counted[f"writes {operation.outcome}"] += 1
            elif not operation.is_acknowledged:
                counted["reads none"] += 1
            else:
                counted["reads permit" if operation.reason == Phase.GRANTED else "reads deny"] += 1
        return counted


class Wish(NamedTuple):
    """A write as it is sent, once or again, under one Idempotency-Key."""

    kind: Kind
    method: str
    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    scopes: Scopes
    grant: str | None


async def record_history(site: Site, plan: Plan) -> Recording:
    """Runs a history to its end: until so many operations are written down, all is well again, and each replica has
    been asked about each key once more."""
    recording = Recording()
    beliefs = {key: Belief() for key in plan.keys}
    left, over = iter(range(plan.operations)), asyncio.Event()
    clients = [Client(f"client {number}", site, plan, beliefs, recording) for number in range(CLIENTS)]
    try:
        failing = asyncio.create_task(fail_at_random(site, plan, recording, over))
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(client.work(left))
        over.set()
        await failing
        await clients[0].ask_everything_until_answered()
    finally:
        over.set()
        await failing
        for client in clients:
            await client.aclose()
    return recording


async def fail_at_random(site: Site, plan: Plan, recording: Recording, over: asyncio.Event) -> None:
    """One fault after another, each for a moment, with a moment of peace between them, until it is over."""
    chance = random.Random(f"faults {plan.seed}")
    weights = [case.weight for case in plan.faults]
    while plan.faults and not await _came(over, chance.uniform(0.02, 0.25)):
        (case,) = chance.choices(plan.faults, weights)
        recording.faults[case.name] += 1
        async with case.fault(site, chance.choice(site.replicas), chance):
            await _came(over, chance.uniform(0.05, 0.5))


async def _came(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


class Client:
    """Asks and writes, one after the other, each at a replica of its choice; and writes down what came of it."""

    def __init__(self, name: str, site: Site, plan: Plan, beliefs: dict[Key, Belief], recording: Recording) -> None:
        issuer = EmbeddedIssuer.at(site.folder / "embedded-issuer.jwk")
        self._name = name
        self._replicas = [httpx2.AsyncClient(base_url=replica.url) for replica in site.replicas]
        self._chance = random.Random(f"{name} {plan.seed}")
        self._plan = plan
        self._beliefs = beliefs
        self._recording = recording
        self._gateway = _bearer(issuer, "gateway")
        self._schools = {key.brin: _bearer(issuer, "school", key.brin) for key in plan.keys}

    async def work(self, left: Iterator[int]) -> None:
        for _ in left:
            key = self._chance.choice(self._plan.keys)
            if self._chance.random() < READS:
                await self._ask(key, self._any_replica(), self._asked())
            else:
                await self._write(key)

    async def ask_everything_until_answered(self) -> None:
        """The last look, at each replica: what was acknowledged and is lost shows at the latest here."""
        left = [(key, replica) for key in self._plan.keys for replica in range(len(self._replicas))]
        async with asyncio.timeout(RECOVERY_SECONDS):
            while left:
                left = [(key, replica) for key, replica in left if not await self._ask(key, replica, NOTHING)]
                await asyncio.sleep(0.02)

    async def aclose(self) -> None:
        for client in self._replicas:
            await client.aclose()

    def _any_replica(self) -> int:
        return self._chance.randrange(len(self._replicas))

    def _asked(self) -> Scopes:
        return frozenset(self._chance.sample(sorted(WITHIN), self._chance.choice((0, 0, 1, 1, 2))))

    # -- asking ---------------------------------------------------------------------------------------------------

    async def _ask(self, key: Key, replica: int, asked: Scopes) -> bool:
        """Whether there was a decision: one that says it cannot know counts as none."""
        body = question(key.client_id, key.brin, scopes=sorted(asked) if asked else None)
        called = time.monotonic()
        answer = await self._sent(replica, "POST", "/access/v1/evaluation", body, self._gateway, READ_SECONDS)
        returned = time.monotonic()
        seen: dict[str, Any] = {"outcome": Outcome.UNKNOWN}
        if answer is not None:
            seen = self._seen(key, answer)
        self._note(key, replica, Kind.READ, called, returned, within=WITHIN, asked=asked, **seen)
        return answer is not None and answer.status_code == 200

    def _seen(self, key: Key, answer: httpx2.Response) -> dict[str, Any]:
        told = answer.json()
        assert answer.status_code in (200, 503), answer.text
        assert answer.status_code == 200 or told["decision"] is False, answer.text
        context = told["context"]
        if answer.status_code == 503:
            self._recording.refused_reads[context["reason"]] += 1
            return {"outcome": Outcome.UNKNOWN}
        assert told["decision"] == (context["reason"] == Phase.GRANTED), answer.text
        self._believe(key, context["reason"], context.get("grantId"))
        return {
            "reason": context["reason"],
            "scopes": frozenset(context["scopes"]),
            "revision": context["revision"],
            "grant": context.get("grantId"),
        }

    def _believe(self, key: Key, reason: str, grant: str | None) -> None:
        phase = Phase.GRANTED if reason in ("scope_not_granted", "not_yet_valid") else Phase(reason)
        belief = self._beliefs[key]
        version = belief.version if belief.grant == grant and self._chance.random() < 0.3 else "*"
        self._beliefs[key] = Belief(phase, grant, version)

    # -- writing --------------------------------------------------------------------------------------------------

    async def _write(self, key: Key) -> None:
        """One write, sent once, or once more when its outcome is not known and this client wants to know.

        When a later one is refused, the first may yet take effect: then it is not known still.
        """
        wish = self._wish(key)
        called = time.monotonic()
        outcome, answer, replica = Outcome.UNKNOWN, None, 0
        for attempt in range(2):
            replica = self._any_replica()
            answer = await self._sent(replica, wish.method, wish.path, wish.body, wish.headers, WRITE_SECONDS)
            if answer is not None and answer.status_code < 500:
                is_taken = answer.status_code < 300
                outcome = Outcome.OK if is_taken else Outcome.UNKNOWN if attempt else Outcome.FAILED
                break
            if self._chance.random() < 0.5:
                break
        told: dict[str, Any] = {"outcome": outcome, "scopes": wish.scopes, "grant": wish.grant}
        if answer is not None and outcome is Outcome.OK:
            told |= self._acknowledged(key, answer)
        elif answer is not None and outcome is Outcome.FAILED:
            assert answer.status_code in (409, 412, 428), answer.text
        self._note(key, replica, wish.kind, called, time.monotonic(), **told)

    def _acknowledged(self, key: Key, answer: httpx2.Response) -> dict[str, Any]:
        grant = answer.json()
        self._beliefs[key] = Belief(Phase(grant["status"]), grant["grantId"], answer.headers["ETag"])
        return {"revision": grant["revision"], "grant": grant["grantId"]}

    def _wish(self, key: Key) -> Wish:
        belief = self._beliefs[key]
        kind = self._chance.choice(SENSIBLE[belief.phase] if self._chance.random() < 0.85 else WRITES)
        chosen = [*BASIS, *self._chance.sample(OPTIONAL, self._chance.randint(0, len(OPTIONAL)))]
        headers = {**self._schools[key.brin], "Idempotency-Key": str(uuid.UUID(int=self._chance.getrandbits(128)))}
        path = f"/v1/schools/{key.brin}/grants"
        if belief.grant is None or kind is Kind.GRANT:
            body = {"clientId": key.client_id, "scopes": chosen, "purposes": [PURPOSE]}
            return Wish(Kind.GRANT, "POST", path, body, headers, frozenset(chosen), None)
        path = f"{path}/{belief.grant}"
        if kind is Kind.AMEND:
            headers["If-Match"] = belief.version
            return Wish(kind, "PATCH", path, {"scopes": chosen}, headers, frozenset(chosen), belief.grant)
        return Wish(kind, "POST", f"{path}/_{kind}", {"reason": "Zo is het."}, headers, NOTHING, belief.grant)

    # -- both -----------------------------------------------------------------------------------------------------

    async def _sent(
        self, replica: int, method: str, path: str, body: Any, headers: dict[str, str], seconds: float
    ) -> httpx2.Response | None:
        """The answer; none when it did not come in time, or the connection was lost over it."""
        try:
            async with asyncio.timeout(seconds):
                return await self._replicas[replica].request(method, path, json=body, headers=headers, timeout=None)
        except (TimeoutError, httpx2.TransportError):
            return None

    def _note(self, key: Key, replica: int, kind: Kind, called: float, returned: float, **told: Any) -> None:
        began, name = self._recording.began, f"replica {replica}"
        self._recording.operations.append(
            Operation(self._name, key, kind, called - began, returned - began, replica=name, **told)
        )


def _bearer(issuer: EmbeddedIssuer, role: str, school: str | None = None) -> dict[str, str]:
    lifetime, now = timedelta(hours=12), datetime.now(UTC)
    return {"Authorization": f"Bearer {issuer.mint(role, subject='iemand', school=school, lifetime=lifetime, now=now)}"}


# -- what is asked, and about what ------------------------------------------------------------------------------------


@asynccontextmanager
async def running_site(folder: Path, histories: int, *, protected: bool = True) -> AsyncIterator[Site]:
    """Three replicas, and a store with all that so many histories are about."""
    async with fresh_store() as postgresql:
        await furnish(postgresql.url, histories)
        async with site_on(postgresql, folder, protected=protected) as site:
            yield site


def keys_of(number: int) -> list[Key]:
    """The keys of a history: each connection at each of its schools."""
    first = number * SCHOOLS_A_HISTORY
    return [Key(brin_of(first + each), client_id) for each in range(SCHOOLS_A_HISTORY) for client_id in CONNECTIONS]


def brin_of(number: int) -> str:
    return f"{number // 676 % 100:02}{chr(65 + number // 26 % 26)}{chr(65 + number % 26)}"


async def furnish(store_url: str, histories: int) -> None:
    """The schools of so many histories, and the connections, which may be granted everything that they ask for."""
    store = Store(store_url)
    async with store.writing() as write:
        for number in range(histories * SCHOOLS_A_HISTORY):
            brin = brin_of(number)
            write.session.add(School(brin=brin, name=f"School {brin}", revision=write.revision))
        await write.session.flush()
        await add_connections(write, CONNECTIONS, required=BASIS, optional=OPTIONAL)
        await record_schools(write)
    await store.aclose()
