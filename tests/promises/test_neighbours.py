"""Abuse of the command `serve` by one caller: it is told to wait, and no other caller notices.

In `make test` that is the first of the abuses, in CI one that is drawn, and all of them when proving.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx2
import pytest

from tests.effort import PROVING, SEED
from tests.exchange.peers.running import Manager, manager_in
from tests.worlds.world import PURPOSE, question

SCOPES: Final = ["school.basis", "leerling.pseudoniem", "groep.basis"]
CONNECTIONS: Final = ("rekenrijk", "taalboom")
AT_ONCE: Final = 200
Ask = Callable[[httpx2.AsyncClient], Awaitable[httpx2.Response]]


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manager]:
    with manager_in(tmp_path_factory.mktemp("neighbours"), CONNECTIONS, SCOPES) as running:
        running.grant("taalboom", SCOPES)
        yield running


def partner_of(manager: Manager) -> str:
    now, lifetime = datetime.now(UTC), timedelta(hours=1)
    return manager.issuer.mint("partner", subject="busy", client_id="rekenrijk", lifetime=lifetime, now=now)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@asynccontextmanager
async def client_of(manager: Manager) -> AsyncIterator[httpx2.AsyncClient]:
    limits = httpx2.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    async with httpx2.AsyncClient(base_url=manager.url, timeout=60, limits=limits, trust_env=False) as client:
        yield client


def many_reads(manager: Manager) -> Ask:
    """One partner that reads all that it has, again and again."""
    headers = bearer(partner_of(manager))
    return lambda client: client.get("/v1/consents?limit=500", headers=headers)


def bad_signatures(manager: Manager) -> Ask:
    """Tokens that nobody has signed."""
    token = manager.token("gateway")
    numbers = iter(range(10**9))
    return lambda client: client.get("/v1/partners", headers=bearer(f"{token[:-9]}{next(numbers):09}"))


def great_bodies(manager: Manager) -> Ask:
    """The application form, without a token, with a great many members that it does not have."""
    body = json.dumps({f"member{number}": number for number in range(15_000)}).encode()
    headers = {"Content-Type": "application/json"}
    return lambda client: client.post("/v1/applications", content=body, headers=headers)


ABUSES: Final = (many_reads, bad_signatures, great_bodies)


@pytest.mark.parametrize("abuse", ABUSES if PROVING else [ABUSES[SEED % len(ABUSES)]], ids=lambda abuse: abuse.__name__)
async def test_who_asks_for_too_much_is_told_so_and_nobody_else_is(
    abuse: Callable[[Manager], Ask], manager: Manager
) -> None:
    async with client_of(manager) as abuser, client_of(manager) as innocent:
        ask, told = abuse(manager), Counter[int]()

        async def go_on() -> None:
            while True:
                status = (await ask(abuser)).status_code
                told[status] += 1
                # Else this process, which is the innocent's too, would have no time for it.
                await asyncio.sleep(0.3 if status == 429 else 0.05)

        tasks = [asyncio.create_task(go_on()) for _ in range(AT_ONCE)]
        try:
            await asyncio.sleep(0.5)
            decided, changed = await asyncio.gather(decisions(manager, innocent), changes(manager, innocent))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    assert set(decided) == {(200, True)}, (decided, told)
    assert set(changed) == {201, 200}, (changed, told)
    assert not [status for status in told if status >= 500], told
    assert told[429] > 0, told


async def decisions(manager: Manager, client: httpx2.AsyncClient) -> Counter[tuple[int, Any]]:
    """The answers to another gateway meanwhile."""
    now, lifetime = datetime.now(UTC), timedelta(hours=1)
    token = manager.issuer.mint("gateway", subject="innocent", lifetime=lifetime, now=now)
    found = Counter[tuple[int, Any]]()
    for _ in range(30):
        answer = await client.post("/access/v1/evaluation", json=question("taalboom"), headers=bearer(token))
        found[answer.status_code, answer.json().get("decision")] += 1
        await asyncio.sleep(0.02)
    return found


async def changes(manager: Manager, client: httpx2.AsyncClient) -> Counter[int]:
    """The answers to a school that grants and revokes meanwhile."""
    headers = bearer(manager.token("school", school="17TX"))
    found = Counter[int]()
    for _ in range(4):
        grant = {"clientId": "taalboom", "scopes": SCOPES, "purposes": [PURPOSE]}
        given = await client.post("/v1/schools/17TX/grants", json=grant, headers=headers)
        found[given.status_code] += 1
        path = f"/v1/schools/17TX/grants/{given.json().get('grantId')}/_revoke"
        taken = await client.post(path, json={"reason": "Klaar."}, headers=headers)
        found[taken.status_code] += 1
    return found
