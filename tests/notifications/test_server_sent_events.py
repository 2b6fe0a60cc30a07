"""The stream of changes, over a real socket: what comes, from where on, for how long, and to whom."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.grants.expiry_job import expire
from api.notifications import feed_routes
from api.notifications.change_listeners import MOST_OF_ONE, ChangeListeners
from api.security.tokens import TokenVerifier
from api.snapshot.current import CurrentSnapshot
from api.store.store import Store
from tests.promises.test_crash_recovery import CLIENT_IDS, Tokens, populate
from tests.promises.test_crash_recovery import served as served_by_process
from tests.worlds.served_app import serving
from tests.worlds.world import START, World

STREAM = "/v1/consents/changes/stream"


@dataclass
class Stream:
    """What a reader got so far, and how to get more of it."""

    lines: AsyncIterator[str]
    status: int
    headers: httpx2.Headers

    async def piece(self) -> dict[str, str]:
        """The fields of the next event, or of what is no event; a comment under the name of nothing."""
        fields: dict[str, str] = {}
        async for line in self.lines:
            if not line:
                return fields
            name, _, value = line.partition(":")
            fields[name] = value.strip()
        raise EOFError

    async def event(self) -> dict[str, Any]:
        """The next change."""
        while "data" not in (fields := await self.piece()):
            pass
        change: dict[str, Any] = json.loads(fields["data"])
        assert fields["id"] == change["bookmark"]
        return change

    async def rest(self) -> list[dict[str, Any]]:
        """All changes up to the end of the stream."""
        changes = []
        try:
            while True:
                changes.append(await self.event())
        except EOFError:
            return changes


@dataclass
class Service:
    """A world that is served at an address."""

    world: World
    client: httpx2.AsyncClient

    @asynccontextmanager
    async def stream(
        self,
        client_id: str = "rekenrijk",
        token: str | None = None,
        headers: dict[str, str] | None = None,
        **query: Any,
    ) -> AsyncIterator[Stream]:
        given = {"Authorization": f"Bearer {token or self.world.token('partner', client_id=client_id)}"}
        async with self.client.stream("GET", STREAM, params=query, headers={**given, **(headers or {})}) as answer:
            yield Stream(answer.aiter_lines(), answer.status_code, answer.headers)

    async def all(self, **more: Any) -> list[dict[str, Any]]:
        """All that there is now."""
        async with self.stream(wait=0, **more) as stream:
            assert stream.status == 200
            return await stream.rest()

    async def waiting(self, many: int) -> None:
        listeners = self.world.service.services.of(ChangeListeners)
        async with asyncio.timeout(30):
            while listeners.waiting != many:  # noqa: ASYNC110 - what is counted tells nobody
                await asyncio.sleep(0.01)


@pytest.fixture
async def service(world: World) -> AsyncIterator[Service]:
    async with (
        serving(world.service) as (host, port),
        httpx2.AsyncClient(base_url=f"http://{host}:{port}", timeout=60) as client,
    ):
        yield Service(world, client)


async def test_a_stream_tells_what_is_there_and_then_what_comes(service: Service) -> None:
    world = service.world
    given = await world.granted()
    async with service.stream() as stream, asyncio.timeout(60):
        assert (stream.status, stream.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
        assert stream.headers["Cache-Control"] == "no-store"
        assert 1_000 <= int((await stream.piece())["retry"]) <= 3_000
        first = await stream.event()
        assert (first["grantId"], first["event"]) == (given["grantId"], "grant.granted")
        await world.step(given["grantId"], "suspend", {})
        await world.step(given["grantId"], "resume", {})
        later = [await stream.event(), await stream.event()]
        assert [each["event"] for each in later] == ["grant.suspended", "grant.resumed"]
    listed = (await world.look(path="/changes")).json()["items"]
    assert [first, *later] == listed, "the same as the list"


async def ended_together(world: World) -> None:
    """Three grants that end in one write."""
    until = (START + timedelta(days=1)).isoformat()
    for place in ({}, {"location": "16SW00"}, {"location": "16SW01"}):
        await world.granted(validUntil=until, **place)
    world.clock.advance(days=2)
    assert await expire(world.store) == 3


async def test_who_comes_back_goes_on_wherever_it_was_also_within_one_revision(service: Service) -> None:
    world = service.world
    await ended_together(world)
    whole = await service.all()
    assert [each["event"] for each in whole] == ["grant.granted"] * 3 + ["grant.expired"] * 3
    assert len({each["revision"] for each in whole[3:]}) == 1
    for number, change in enumerate(whole, start=1):
        bookmark = change["bookmark"]
        assert await service.all(since=bookmark) == whole[number:]
        assert await service.all(headers={"Last-Event-ID": bookmark}, since=0) == whole[number:], "as browsers do"
        listed = (await world.look(path="/changes", since=bookmark, limit=2)).json()
        assert listed["items"] == whole[number : number + 2]
        behind = [each for each in whole if each["revision"] > change["revision"]]
        assert await service.all(since=change["revision"]) == behind


async def test_more_than_is_read_at_once_comes_whole(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_routes, "PART", 2)
    await ended_together(service.world)
    listed = (await service.world.look(path="/changes")).json()["items"]
    assert len(listed) == 6
    assert await service.all() == listed


@pytest.mark.parametrize(
    "bad",
    ["x", "1", "1-", f"0-{'a' * 32}", f"1-{'A' * 32}", f"1-{'a' * 31}", f"1-{'a' * 33}", f"1-{'a' * 32}-", "1" * 5_000],
)
async def test_what_is_no_bookmark_is_refused(service: Service, bad: str) -> None:
    async with service.stream(headers={"Last-Event-ID": bad}) as stream:
        assert stream.status == 400


async def test_a_place_that_the_history_does_not_hold_is_told(service: Service) -> None:
    world = service.world
    await world.register("ander", kvk_number="90000002")
    await world.granted()
    await world.granted("ander")
    (own,), (other,) = await service.all(), await service.all(client_id="ander")
    number, mark = own["bookmark"].split("-")
    for since in (f"{number}-{'0' * 32}", f"{int(number) + 999}-{mark}", other["bookmark"], other["revision"] + 1):
        for path in ("/changes", "/changes/stream"):
            answer = await world.look(path=path, since=since, wait=0)
            assert answer.status_code == 410, (path, since)
            assert answer.json()["type"].endswith("/not_in_history")
    assert (await world.look(path="/changes", since=other["revision"])).json()["items"] == []


async def test_nobody_hears_of_anothers_changes(service: Service) -> None:
    world = service.world
    await world.register("ander", kvk_number="90000002")
    async with service.stream() as stream, asyncio.timeout(60):
        await stream.piece()
        await world.granted("ander")
        own = await world.granted(brin="17TX")
        assert (await stream.event())["grantId"] == own["grantId"]
    assert {each["clientId"] for each in await service.all()} == {"rekenrijk"}
    async with service.stream(token=world.token("gateway")) as refused:
        assert refused.status == 403


async def test_silence_is_broken_by_a_comment(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_routes, "HEARTBEAT_SECONDS", 0.1)
    async with service.stream() as stream, asyncio.timeout(60):
        await stream.piece()
        assert [await stream.piece() for _ in range(3)] == [{"": ""}] * 3


async def test_a_stream_ends_by_itself(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_routes, "HEARTBEAT_SECONDS", 0.3)
    begun = time.monotonic()
    async with service.stream(wait=1) as stream, asyncio.timeout(60):
        assert await stream.rest() == []
    assert time.monotonic() - begun >= 1
    monkeypatch.setattr(feed_routes, "MOST_STREAM", 1)
    async with service.stream() as stream, asyncio.timeout(60):
        assert await stream.rest() == []
    await service.waiting(0)


async def test_a_stream_does_not_outlive_its_token(service: Service) -> None:
    world = service.world
    lifetime, now = timedelta(seconds=3), datetime.now(UTC)
    token = world.issuer.mint("partner", subject="p", client_id="rekenrijk", lifetime=lifetime, now=now)
    async with service.stream(token=token) as stream, asyncio.timeout(60):
        assert stream.status == 200
        assert await stream.rest() == []
    assert datetime.now(UTC) >= (now + lifetime).replace(microsecond=0)


async def test_a_stream_ends_once_its_issuer_is_trusted_no_more(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_routes, "HEARTBEAT_SECONDS", 0.1)
    async with service.stream() as stream, asyncio.timeout(60):
        await stream.piece()
        service.world.service.services.put(TokenVerifier([]))
        given = await service.world.granted()
        assert given["grantId"] not in [each["grantId"] for each in await stream.rest()]


@pytest.mark.both_stores
async def test_a_stream_ends_when_the_store_does_not_answer(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_routes, "HEARTBEAT_SECONDS", 0.1)
    async with service.stream() as stream, asyncio.timeout(60):
        await stream.piece()
        await service.world.service.services.of(CurrentSnapshot).aclose()
        monkeypatch.setattr(service.world.service.services.of(CurrentSnapshot), "_behind", "another history")
        assert await stream.rest() == []
    async with service.stream() as refused:
        assert refused.status == 503


async def test_no_more_than_a_few_of_one_connection_are_open_and_who_left_makes_room(service: Service) -> None:
    await service.world.register("ander", kvk_number="90000002")
    for _ in range(2):
        async with asyncio.timeout(60), opened(service, MOST_OF_ONE):
            await service.waiting(MOST_OF_ONE)
            for path in ("/changes", "/changes/stream"):
                refused = await service.world.look(path=path, wait=1)
                assert (refused.status_code, refused.headers["Retry-After"]) == (429, "25")
            async with service.stream("ander", wait=0) as other:
                assert other.status == 200
        await service.waiting(0)


@asynccontextmanager
async def opened(service: Service, many: int) -> AsyncIterator[None]:
    if not many:
        yield
        return
    async with service.stream() as stream, opened(service, many - 1):
        assert stream.status == 200
        yield


@pytest.mark.both_stores
async def test_who_waits_holds_no_connection_to_the_store(service: Service) -> None:
    store = service.world.service.services.of(Store)
    async with service.stream() as stream, service.stream(), asyncio.timeout(60):
        await stream.piece()
        await service.waiting(2)
        pool: Any = store.engine.pool
        while pool.checkedout():  # noqa: ASYNC110 - the pool tells nobody
            await asyncio.sleep(0.01)
        await service.world.granted()
        assert (await stream.event())["event"] == "grant.granted"


@pytest.mark.both_stores
async def test_a_server_that_stops_waits_for_no_reader(store_url: str, tmp_path: Path) -> None:
    store = Store(store_url)
    await populate(store)
    await store.aclose()
    async with served_by_process(store_url, tmp_path) as server, asyncio.timeout(60):
        token = Tokens(tmp_path).partner(CLIENT_IDS[0])
        async with httpx2.AsyncClient(base_url=server.url, headers=token, timeout=60) as client:
            waiting = asyncio.create_task(client.get("/v1/consents/changes?wait=25"))
            async with client.stream("GET", STREAM) as answer:
                lines = answer.aiter_lines()
                assert (await anext(lines)).startswith("retry:")
                begun = time.monotonic()
                await server.end(signal.SIGTERM)
                # To its end, and not only until it broke off.
                assert [line async for line in lines if line] == []
            assert (await waiting).json()["items"] == []
            assert time.monotonic() - begun < 15, "the wait and the stream would have gone on for longer"
