"""The probe: permits that are asked for after a revocation was acknowledged, while something goes wrong.

A round is of one connection and one school: granted, seen to be permitted, revoked, and asked about again at once, at
every replica, while the fault lasts and after it. Rounds that share a fault run at once.
"""

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx2

from api.security.tokens import EmbeddedIssuer
from tests.faults.cases import Case
from tests.faults.replicas import Replica, Site
from tests.faults.workload import brin_of
from tests.worlds.world import BASIS, PURPOSE, question

SCHOOLS: Final = 40
ROUNDS_AT_ONCE: Final = 16
ASKED_AT_ONCE: Final = 2
ANSWER_SECONDS: Final = 8.0
#: A fault begins before the revocations are sent, or at any moment within this time: amid them, or after them.
BEGINS_WITHIN_SECONDS: Final = 0.3
ACKNOWLEDGED_SECONDS: Final = 120.0
#: Between two tries of a write: each pause is twice as long as the one before, up to what `Retry-After` asks for.
FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 1.0
#: Promised are 2 seconds; a machine that is busy with other things takes its own time on top.
BACK_SECONDS: Final = 60.0

WIDE, OTHER = [*BASIS, "leerling.naam"], [*BASIS, "leerling.jaargroep"]
NO_PERMITS: Final = {(200, "revoked"), (503, "store_unreachable"), (503, "revision_behind")}


@dataclass
class Tally:
    """What a case came to. `leaks` must be 0, and `permits_before` must not."""

    rounds: int = 0
    permits_before: int = 0
    after: Counter[str] = field(default_factory=Counter)
    leaks: int = 0
    wrong: list[str] = field(default_factory=list)
    slowest_return: float = 0.0

    def add(self, other: "Tally") -> None:
        self.rounds += other.rounds
        self.permits_before += other.permits_before
        self.after += other.after
        self.leaks += other.leaks
        self.wrong += other.wrong
        self.slowest_return = max(self.slowest_return, other.slowest_return)


class Prober:
    """Runs rounds against a site."""

    def __init__(self, site: Site, chance: random.Random) -> None:
        self._site = site
        self._chance = chance
        issuer = EmbeddedIssuer.at(site.folder / "embedded-issuer.jwk")
        self._gateway = _bearer(issuer, "gateway")
        self._schools = {brin_of(number): _bearer(issuer, "school", brin_of(number)) for number in range(SCHOOLS)}

    async def together(self, case: Case, rounds: int) -> Tally:
        """So many rounds under one occurrence of the fault."""
        tally = Tally(rounds=rounds)
        victim = self._chance.choice(self._site.replicas) if case.victim is None else self._site.replicas[case.victim]
        writer = self._chance.choice([replica for replica in self._site.replicas if replica is not victim])
        brins = self._chance.sample(sorted(self._schools), rounds)
        grants = await asyncio.gather(*(self._granted(writer, brin) for brin in brins))
        # Of the replica that will be hurt, if it is in time, so that it has something to permit wrongly.
        watched = [victim, *self._site.replicas]
        tally.permits_before = sum(await asyncio.gather(*(self._permitted_by_one(watched, brin) for brin in brins)))
        asked: list[asyncio.Task[None]] = []
        delay = self._chance.choice((0.0, self._chance.uniform(0.0, BEGINS_WITHIN_SECONDS)))
        async with begun_after(delay, case.fault(self._site, victim, self._chance)):
            turns = [self._turn(case, tally, asked, writer, each) for each in grants]
            await asyncio.gather(*turns)
            if asked:
                await asyncio.wait(asked, timeout=self._chance.uniform(0.0, case.lasts))
        ended = time.monotonic()
        await asyncio.gather(*asked)
        again = [self._judge(tally, replica, grant["school"]) for grant in grants for replica in self._site.replicas]
        await asyncio.gather(*again)
        tally.slowest_return = await self._back_to_normal(brins[0]) - ended
        return tally

    async def _turn(
        self, case: Case, tally: Tally, asked: "list[asyncio.Task[None]]", writer: Replica, grant: dict[str, Any]
    ) -> None:
        if case.narrows:
            await self._narrowed(tally, writer, grant)
        revision, least, newer = await self._revoked(writer, grant), 0, None
        if case.brings_new_data:
            newer = await self._granted(writer, grant["school"], "taalhuis")
            revision = least = newer["revision"]
        for replica in self._site.replicas:
            # Some at once, and one at any time while the fault may last.
            for later in (*[0.0] * ASKED_AT_ONCE, self._chance.uniform(0.0, case.lasts)):
                judging = self._judge(tally, replica, grant["school"], revision, least, later=later)
                asked.append(asyncio.create_task(judging))
        if newer is not None:
            await self._revoked(writer, newer)

    # -- asking ---------------------------------------------------------------------------------------------------

    async def _judge(
        self, tally: Tally, replica: Replica, brin: str, revision: int = 0, least: int = 0, *, later: float = 0.0
    ) -> None:
        """Asks after the revocation, which took `revision`, was acknowledged: whatever comes back, it is no permit."""
        await asyncio.sleep(later)
        answer = await self._asked(replica, brin, minRevision=least)
        if answer is None:
            tally.after["none"] += 1
            return
        told = answer.json()
        context = told.get("context", {})
        tally.after[f"{answer.status_code} {context.get('reason', '?')}"] += 1
        if told.get("decision") is not False:
            tally.leaks += 1
            tally.wrong.append(f"{replica.url} permits after revision {revision}: {told}")
        elif (answer.status_code, context.get("reason")) not in NO_PERMITS:
            tally.wrong.append(f"{replica.url} answers {answer.status_code} after revision {revision}: {told}")
        elif answer.status_code == 200 and context["revision"] < revision:
            tally.wrong.append(f"{replica.url} denies by what it knew before revision {revision}: {told}")

    async def _permitted_by_one(self, replicas: Sequence[Replica], brin: str) -> bool:
        for replica in replicas:
            if await self._permits(replica, brin):
                return True
        return False

    async def _permits(self, replica: Replica, brin: str) -> bool:
        answer = await self._asked(replica, brin)
        return answer is not None and bool(answer.json()["decision"])

    async def _asked(self, replica: Replica, brin: str, **context: Any) -> httpx2.Response | None:
        body = question("rekenrijk", brin, **context)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await replica.client.post("/access/v1/evaluation", json=body, headers=self._gateway)
        except (TimeoutError, httpx2.TransportError):
            return None

    async def _back_to_normal(self, brin: str) -> float:
        """When every replica permits again what is granted."""
        async with asyncio.timeout(BACK_SECONDS):
            grant = await self._granted(self._site.replicas[0], brin)
            for replica in self._site.replicas:
                while not await self._permits(replica, brin):  # noqa: ASYNC110 - another process decides
                    await asyncio.sleep(0.01)
            back = time.monotonic()
            await self._revoked(self._site.replicas[0], grant)
        return back

    # -- writing --------------------------------------------------------------------------------------------------

    async def _granted(self, writer: Replica, brin: str, client_id: str = "rekenrijk") -> dict[str, Any]:
        body = {"clientId": client_id, "scopes": WIDE, "purposes": [PURPOSE]}
        return await self._acknowledged(writer, brin, "POST", f"/v1/schools/{brin}/grants", body)

    async def _revoked(self, writer: Replica, grant: dict[str, Any]) -> int:
        path = f"/v1/schools/{grant['school']}/grants/{grant['grantId']}/_revoke"
        revoked = await self._acknowledged(writer, grant["school"], "POST", path, {"reason": "Genoeg."})
        return int(revoked["revision"])

    async def _narrowed(self, tally: Tally, writer: Replica, grant: dict[str, Any]) -> None:
        """From one set of scopes to the other and back, each in one transaction.

        Seen is always just one of them; and after an acknowledgement, the one that was acknowledged.
        """
        brin = grant["school"]
        path = f"/v1/schools/{brin}/grants/{grant['grantId']}"
        for scopes in (OTHER, WIDE):
            writing = self._acknowledged(writer, brin, "PATCH", path, {"scopes": scopes}, {"If-Match": "*"})
            amending = asyncio.create_task(writing)
            while not amending.done():
                await self._everywhere(tally, brin, WIDE, OTHER)
            await amending
            await self._everywhere(tally, brin, scopes)

    async def _everywhere(self, tally: Tally, brin: str, *possible: list[str]) -> None:
        released = {frozenset(scopes) - {"school.basis"} for scopes in possible}
        await asyncio.gather(*(self._one_of(tally, replica, brin, released) for replica in self._site.replicas))

    async def _one_of(self, tally: Tally, replica: Replica, brin: str, released: set[frozenset[str]]) -> None:
        answer = await self._asked(replica, brin)
        if answer is None or answer.status_code == 503:
            return
        seen = frozenset(answer.json()["context"]["scopes"])
        if seen not in released:
            tally.leaks += 1
            tally.wrong.append(f"{replica.url} releases {sorted(seen)}")

    async def _acknowledged(
        self, writer: Replica, brin: str, method: str, path: str, body: Any, more: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """The answer of a write that was acknowledged; until it is, it is repeated under its key."""
        headers = {**self._schools[brin], **(more or {}), "Idempotency-Key": str(uuid.uuid4())}
        met: Counter[str] = Counter()
        pause = FIRST_PAUSE_SECONDS
        until = time.monotonic() + ACKNOWLEDGED_SECONDS
        while time.monotonic() < until:
            try:
                answer = await writer.client.request(method, path, json=body, headers=headers)
                if answer.status_code < 300:
                    told: dict[str, Any] = answer.json()
                    return told
                met[f"{answer.status_code} {answer.text[:120]}"] += 1
                if answer.status_code != 503:
                    break
            except httpx2.TransportError as error:
                met[repr(error)] += 1
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        raise RuntimeError(f"{writer.url} does not acknowledge {method} {path}: {met.most_common(3)}")


@asynccontextmanager
async def begun_after(delay: float, fault: AbstractAsyncContextManager[None]) -> AsyncIterator[None]:
    """The fault, which begins before the block, or so many seconds after the block began; it ends with the block."""
    if not delay:
        async with fault:
            yield
        return
    over = asyncio.Event()

    async def lasting() -> None:
        await asyncio.sleep(delay)
        async with fault:
            await over.wait()

    task = asyncio.create_task(lasting())
    try:
        yield
    finally:
        over.set()
        await task


async def probe(
    site: Site,
    cases: Sequence[Case],
    rounds: int,
    chance: random.Random,
    on_progress: Callable[[int], None] = lambda _: None,
    *,
    at_once: int = ROUNDS_AT_ONCE,
) -> dict[str, Tally]:
    """So many rounds, some at once: each case once, and from then on as often as its weight says."""
    prober = Prober(site, chance)
    tallies = {case.name: Tally() for case in cases}
    once, weights = list(cases), [case.weight for case in cases]
    for done in range(0, rounds, at_once):
        case = once.pop() if once else chance.choices(cases, weights)[0]
        try:
            tallies[case.name].add(await prober.together(case, at_once))
        except Exception as error:
            raise RuntimeError(f"{case.name}: {error!r}") from error
        on_progress(done + at_once)
    return tallies


def _bearer(issuer: EmbeddedIssuer, role: str, school: str | None = None) -> dict[str, str]:
    minted = issuer.mint(role, subject="proef", school=school, lifetime=timedelta(hours=12), now=datetime.now(UTC))
    return {"Authorization": f"Bearer {minted}"}
