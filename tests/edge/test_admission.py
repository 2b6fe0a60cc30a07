"""No caller takes what is another's: shares by the second and at once, and what failed tokens cost."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from api.edge import admission
from api.edge.admission import Admission, AtOnce, Share
from api.edge.client_address import client_address
from api.edge.problems import Refused
from api.security import rates
from api.security.issuers import KeySet
from api.security.rates import Rates, TooMany
from tests.worlds.world import World, question, world_on


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


# -- how often --------------------------------------------------------------------------------------------------------


def test_a_burst_is_used_up_and_earned_again() -> None:
    clock = Clock()
    found = Rates(10, 20, clock)
    assert [found.count("one") for _ in range(20)] == list(range(19, -1, -1))
    with pytest.raises(TooMany) as refused:
        found.count("one")
    assert refused.value.retry_after == 1
    assert found.count("another") == 19
    clock.now += 0.5
    assert [found.count("one") for _ in range(5)] == [4, 3, 2, 1, 0]
    clock.now += 1_000
    assert found.count("one") == 19


def test_what_is_required_is_not_counted_and_what_is_refused_neither() -> None:
    clock = Clock()
    found = Rates(1, 2, clock)
    for _ in range(9):
        found.require("one")
    found.count("one")
    found.count("one")
    for _ in range(9):
        with pytest.raises(TooMany):
            found.count("one")
        with pytest.raises(TooMany):
            found.require("one")
    clock.now += 1
    assert found.count("one") == 0


def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MOST_REMEMBERED", 100)
    found = Rates(1, 2, Clock())
    for number in range(1_000):
        found.count(number)
    assert len(found._earned_at) == 100


# -- how much at once -------------------------------------------------------------------------------------------------


@pytest.fixture
def shares() -> Admission:
    return Admission(Share(1_000, 2), Clock())


async def hold(shares: Admission, who: str, until: asyncio.Event, done: list[str]) -> None:
    async with shares.turn(who):
        done.append(who)
        await until.wait()


async def test_what_is_too_much_at_once_waits_behind_its_own_and_not_before_others(shares: Admission) -> None:
    until, done = asyncio.Event(), list[str]()
    async with asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(hold(shares, "busy", until, done))
        await asyncio.sleep(0.01)
        assert done == ["busy"] * 2
        group.create_task(hold(shares, "quiet", until, done))
        await asyncio.sleep(0.01)
        assert done == ["busy", "busy", "quiet"]
        until.set()
    assert done.count("busy") == 6
    assert shares._turns == {}


async def test_what_cannot_wait_is_refused_at_once_and_what_waits_too_long_in_time(
    shares: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "WAIT_SECONDS", 0.05)
    until, done = asyncio.Event(), list[str]()
    running = [asyncio.create_task(hold(shares, "busy", until, done)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(hold(shares, "busy", until, done)) for _ in range(2 * admission.WAITING_FOR_EACH)]
    await asyncio.sleep(0)
    with pytest.raises(TooMany):
        await hold(shares, "busy", until, done)
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(each) for each in ended} == {TooMany}
    until.set()
    await asyncio.gather(*running)
    assert done == ["busy"] * 2
    assert shares._turns == {}


async def test_of_what_is_urgent_more_waits_and_it_waits_for_nothing_else(shares: Admission) -> None:
    until, done = asyncio.Event(), list[str]()
    running = [asyncio.create_task(hold(shares, "busy", until, done)) for _ in range(2)]
    await asyncio.sleep(0)

    async def revoke() -> None:
        async with shares.turn("busy", is_urgent=True):
            await asyncio.sleep(0)
            done.append("urgent")

    await asyncio.gather(*(revoke() for _ in range(2 * admission.URGENT_FOR_EACH)))
    assert done.count("urgent") == 2 * admission.URGENT_FOR_EACH
    until.set()
    await asyncio.gather(*running)
    assert shares._turns == {}


async def test_who_is_cancelled_while_waiting_leaves_its_turn_to_the_next(shares: Admission) -> None:
    until, done = asyncio.Event(), list[str]()
    tasks = [asyncio.create_task(hold(shares, "busy", until, done)) for _ in range(8)]
    await asyncio.sleep(0)
    for task in tasks[2:5]:
        task.cancel()
    until.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(done) == 5
    assert shares._turns == {}


async def test_a_turn_that_is_given_to_one_that_is_cancelled_goes_on(shares: Admission) -> None:
    """Both within one turn of the loop."""
    until, done = asyncio.Event(), list[str]()
    tasks = [asyncio.create_task(hold(shares, "busy", until, done)) for _ in range(4)]
    await asyncio.sleep(0)
    until.set()
    await asyncio.sleep(0)
    for task in tasks[2:]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with shares.turn("busy"), shares.turn("busy"):
        pass
    assert shares._turns == {}


async def test_one_that_gave_up_when_its_turn_came_is_refused_and_no_error(
    shares: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is over and a turn ends, both before it runs again."""
    monkeypatch.setattr(admission, "WAIT_SECONDS", 0.05)
    until, done = asyncio.Event(), list[str]()
    running = [asyncio.create_task(hold(shares, "busy", until, done)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(hold(shares, "busy", until, done)) for _ in range(4)]
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.049, until.set)
    asyncio.get_running_loop().call_soon(time.sleep, 0.2)
    ended = await asyncio.gather(*running, *waiting, return_exceptions=True)
    assert {type(each) for each in ended} <= {type(None), TooMany}
    assert shares._turns == {}


async def test_what_only_listens_holds_no_turn(shares: Admission) -> None:
    async with contextlib.AsyncExitStack() as listening:
        for _ in range(5):
            await listening.enter_async_context(shares.turn("busy", holds=False))
        await asyncio.wait_for(hold(shares, "busy", _set(), []), 1)


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@pytest.mark.parametrize(
    ("path", "query", "listens"),
    [
        ("/v1/consents/changes/stream", b"", True),
        ("/v1/consents/changes", b"wait=30", True),
        ("/v1/consents/changes", b"since=1&wait=030&limit=2", True),
        ("/v1/consents/changes", b"since=1", False),
        ("/v1/consents/changes", b"wait=0", False),
        ("/v1/consents/changes", b"wait=1&wait=0", False),
        ("/v1/consents/changes", b"xwait=1", False),
        ("/v1/consents", b"wait=30", False),
        ("/v1/schools/16SW/changes", b"wait=30", False),
        ("/v1/partners/changes/stream", b"", False),
    ],
)
def test_only_what_waits_for_changes_holds_no_turn(path: str, query: bytes, listens: bool) -> None:
    assert admission._listens({"path": path, "query_string": query}) is listens


def test_a_gateway_that_waits_for_too_much_is_refused_and_another_is_not() -> None:
    found = AtOnce(2)
    found.enter("one")
    found.enter("one")
    with pytest.raises(Refused):
        found.enter("one")
    found.enter("another")
    found.leave("one")
    found.enter("one")
    for who in ("one", "one", "another"):
        found.leave(who)
    assert found._waiting == {}


# -- the address ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "forwarded", "address"),
    [
        ("10.0.0.9", [], "10.0.0.9"),
        ("10.0.0.9", ["192.0.2.1"], "10.0.0.9"),
        ("127.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1", ["203.0.113.5, 192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1", ["203.0.113.5", "192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1", [""], "127.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", [], "2001:db8:1::/48"),
        ("2001:db8::5:6:7:8", [], "2001:db8::/48"),
        ("::ffff:192.0.2.1", [], "192.0.2.1"),
        ("127.0.0.1", ["x" * 5_000], "x" * 64),
    ],
)
def test_an_address_is_the_clients_where_a_trusted_proxy_names_it(
    client: str, forwarded: list[str], address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    assert client_address({"type": "http", "client": (client, 1), "headers": headers}) == address


# -- as it is served --------------------------------------------------------------------------------------------------


@pytest.fixture
async def small(store_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """A service in which one caller may ask five times at once, and two run."""
    async with world_on(
        store_url, tmp_path, caller_per_second=2, caller_at_once=2, failed_tokens_per_minute=60, gateway_at_once=1
    ) as world:
        yield world


def minted(world: World, subject: str) -> str:
    """The token of another operator."""
    now, lifetime = datetime.now(UTC), timedelta(hours=1)
    return world.issuer.mint("operator", subject=subject, lifetime=lifetime, now=now)


async def test_who_has_used_up_its_share_is_told_when_to_come_back_and_others_are_not(small: World) -> None:
    busy, quiet = small.token("operator"), minted(small, "another")
    answers = [await small.call("GET", "/v1/partners", busy) for _ in range(6)]
    assert [each.status_code for each in answers] == [200] * 4 + [429] * 2
    assert answers[0].headers["RateLimit-Policy"] == '"caller";q=4;w=2'
    assert answers[0].headers["RateLimit"] == '"caller";r=3;t=2'
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert answers[-1].json()["type"].endswith("/too_many_requests")
    assert (await small.call("GET", "/v1/partners", quiet)).status_code == 200
    assert (await small.client.get("/health/live")).status_code == 200


async def test_a_revocation_is_not_refused_for_what_its_caller_did_besides(small: World) -> None:
    school = small.token("school", school="16SW")
    while (await small.call("GET", "/v1/schools/16SW", school)).status_code != 429:
        pass
    path = "/v1/schools/16SW/grants/00000000-0000-0000-0000-000000000007"
    assert (await small.call("POST", f"{path}/_resume", school, {})).status_code == 429
    revoked = await small.call("POST", f"{path}/_revoke", school, {"reason": "Klaar."})
    assert revoked.status_code == 404


async def test_tokens_that_fail_cost_their_address_and_not_who_was_known_already(small: World) -> None:
    known, new = small.token("operator"), minted(small, "new")
    assert (await small.call("GET", "/v1/partners", known)).status_code == 200
    answers = [await small.call("GET", "/v1/partners", f"{known[:-9]}{number:09}") for number in range(70)]
    statuses = [each.status_code for each in answers]
    assert statuses[:60] == [401] * 60
    assert statuses[-1] == 429
    assert (await small.call("GET", "/v1/partners", new)).status_code == 429
    assert (await small.call("GET", "/v1/partners", known)).status_code == 200
    elsewhere = await small.call("GET", "/v1/partners", new, X_Forwarded_For="192.0.2.7")
    assert elsewhere.status_code == 200


async def test_a_known_token_costs_nothing_also_where_the_keys_of_its_issuer_are_due(
    small: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = small.token("operator")
    assert (await small.call("GET", "/v1/partners", known)).status_code == 200
    for number in range(65):
        await small.call("GET", "/v1/partners", f"{known[:-9]}{number:09}")
    monkeypatch.setattr(KeySet, "_is_due", lambda _: True)
    assert (await small.call("GET", "/v1/partners", known)).status_code == 200


async def test_a_gateway_waits_for_as_much_at_once_as_it_may(small: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = small.service.hooks["/access/v1/evaluation"]
    going_on = asyncio.Event()

    async def slowly(body: bytes, caller: Any) -> tuple[int, bytes]:
        await going_on.wait()
        return 200, b"{}"

    monkeypatch.setattr(hook, "answer", slowly)
    token = small.token("gateway")
    first = asyncio.create_task(small.call("POST", "/access/v1/evaluation", token, question()))
    await asyncio.sleep(0.05)
    second = await small.call("POST", "/access/v1/evaluation", token, question())
    assert (second.status_code, second.headers["Retry-After"]) == (429, "1")
    going_on.set()
    assert (await first).status_code == 200
    assert (await small.call("POST", "/access/v1/evaluation", token, question())).status_code == 200
