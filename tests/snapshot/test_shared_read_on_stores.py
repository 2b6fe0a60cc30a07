"""The snapshot as of this request, on the real stores; and a cache that is not, which the same probe catches."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from sqlalchemy.engine import make_url

from api.app import create_app, source_for
from api.gateways.evaluation import Evaluation
from api.grants.grant_lifecycle import append_event
from api.security.tokens import TokenVerifier
from api.settings import Mode, Settings
from api.snapshot.current import Answer as Told
from api.snapshot.current import Current, CurrentSnapshot
from api.snapshot.fact_rows import CHANGED, WHAT_CHANGED
from api.snapshot.pending_decision import Logged
from api.snapshot.source import FactSource
from api.store.events import SYSTEM, record
from api.store.outage import StoreUnreachable
from api.store.store import Store
from models.consents.grants import Grant
from models.consents.partners import Partner
from models.consents.schools import Board, Location, School
from models.decision.grant_status import Status
from models.decision.snapshot import Snapshot
from models.vocabulary.event_kinds import EventKind
from tests.effort import share
from tests.worlds.snapshot_waiters import MARGIN, asking, unreachable
from tests.worlds.world import NAMES, PURPOSE, World, question

pytestmark = pytest.mark.both_stores


def test_every_kind_of_fact_is_looked_for_in_the_order_in_which_it_is_read() -> None:
    assert re.findall(r"FROM (\w+) WHERE revision > ", WHAT_CHANGED) == list(CHANGED)


# -- the real stores --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def reading_from(store: Store, deadline: float = 5) -> AsyncIterator[CurrentSnapshot]:
    made = CurrentSnapshot(source_for(store), deadline)
    try:
        yield made
    finally:
        await made.aclose()


async def add_school(store: Store, brin: str) -> int:
    async with store.writing() as write:
        write.session.add(School(brin=brin, name=brin, revision=write.revision))
        record(write, EventKind.SCHOOLS_IMPORTED, SYSTEM, {"added": 1})
        return write.revision


async def test_each_change_is_seen_by_the_next_request_of_every_process(store: Store) -> None:
    async with reading_from(store) as one, reading_from(store) as other:
        for number in range(20):
            revision = await add_school(store, f"{number:02d}AB")
            found = await asyncio.gather(one.get(), other.get(), one.get())
            assert [(it.snapshot.revision, f"{number:02d}AB" in it.snapshot.schools) for it in found] == [
                (revision, True)
            ] * 3


@pytest.mark.empty_world
async def test_a_snapshot_made_of_changes_equals_one_that_is_loaded_whole(world: World) -> None:
    async with reading_from(world.store) as patient:
        await patient.get()
        await world.register()
        await patient.get()
        grant = await world.granted(location="16SW00")
        await world.granted()
        await patient.get()
        await world.step(grant["grantId"], "revoke")
        kept = (await patient.get()).snapshot
    async with reading_from(world.store) as fresh:
        loaded = (await fresh.get()).snapshot
    assert plain(kept) == plain(loaded)
    assert kept.revision > 1


def plain(snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot without the order in which its facts came."""
    return {
        "revision": snapshot.revision,
        "schools": snapshot.schools,
        "locations": snapshot.locations,
        "connections": snapshot.connections,
        "ground rules": {client: set(rules) for client, rules in snapshot.ground_rules.items()},
        "agreements": {client: set(agreements) for client, agreements in snapshot.agreements.items()},
        "grants": set(snapshot.grants),
    }


async def test_a_write_under_way_is_not_seen_and_does_not_hold_up_decisions(store: Store) -> None:
    async with reading_from(store) as current:
        async with store.writing() as write:
            write.session.add(Board(number="10001"))
            await write.session.flush()
            record(write, EventKind.SCHOOLS_IMPORTED, SYSTEM, {})
            assert (await current.get()).snapshot.revision == 0
        assert (await current.get()).snapshot.revision == 1


async def test_stopping_during_a_load_harms_nothing(store: Store) -> None:
    for number in range(30):
        await add_school(store, f"{number:02d}AB")
    for _ in range(30):
        async with reading_from(store) as current:
            waiter = asking(current)
            await asyncio.sleep(0.002)
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
    async with reading_from(store) as current:
        assert len((await current.get()).snapshot.schools) == 30


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_an_sqlite_file_that_is_not_there_is_out_of_reach_and_is_not_made(tmp_path: Path, store_url: str) -> None:
    nowhere = Store(f"sqlite+aiosqlite:///{tmp_path}/nowhere.db")
    async with reading_from(nowhere) as current:
        with pytest.raises(StoreUnreachable):
            await current.get()
    await nowhere.aclose()
    assert not (tmp_path / "nowhere.db").exists()


@asynccontextmanager
async def administering(store_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(make_url(store_url).set(drivername="postgresql").render_as_string(False))
    try:
        yield connection
    finally:
        await connection.close()


TERMINATE = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE application_name = 'privacy-manager-decisions' AND datname = current_database()"
)


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
async def test_a_connection_that_postgresql_ends_costs_at_most_one_batch(store: Store, store_url: str) -> None:
    async with reading_from(store) as current, administering(store_url) as administrator:
        for number in range(10):
            await current.get()
            assert await administrator.fetchval(TERMINATE) == 1
            revision = await add_school(store, f"{number:02d}AB")
            first = await asyncio.gather(*(current.get() for _ in range(5)), return_exceptions=True)
            assert len({type(outcome) for outcome in first}) == 1
            assert isinstance(first[0], StoreUnreachable | Current)
            assert (await current.get()).snapshot.revision == revision


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
async def test_a_postgresql_that_hangs_is_a_denial_in_time_and_is_found_again(store: Store, store_url: str) -> None:
    async with reading_from(store, deadline=0.5) as current, administering(store_url) as administrator:
        await current.get()
        lock = administrator.transaction()
        await lock.start()
        await administrator.execute("LOCK TABLE consent_revision IN ACCESS EXCLUSIVE MODE")
        assert await unreachable(asking(current)) < 0.5 + MARGIN
        assert await unreachable(asking(current)) < 0.5 + MARGIN
        await lock.rollback()
        for _ in range(40):
            if await answers(current):
                break
            await asyncio.sleep(0.05)
        revision = await add_school(store, "16SW")
        assert (await current.get()).snapshot.revision == revision


async def answers(current: CurrentSnapshot) -> bool:
    try:
        await current.get()
    except StoreUnreachable:
        return False
    return True


# -- the probe: a revocation, and a decision at once ------------------------------------------------------------------


class PollingCache(CurrentSnapshot):
    """What this service must not be: it answers from memory, and looks for changes every now and then."""

    def __init__(self, source: FactSource, every: float) -> None:
        super().__init__(source, deadline=5)
        self._every = every
        self._seen: Current | None = None
        self._polling: asyncio.Task[None] | None = None

    async def decide(self, decide: Callable[[Snapshot, datetime], Logged[Told]]) -> Told:
        if self._seen is None:
            self._seen = await self.get()
            self._polling = asyncio.create_task(self._poll())
        return decide(*self._seen).answer

    async def aclose(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)
        await super().aclose()

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            self._seen = await self.get()


async def grant_everywhere(world: World, places: int) -> dict[str, str]:
    """That many locations, 90 a school, with a grant of their own; the grant's id for each."""
    granted = {}
    async with world.store.writing() as write:
        partner = await write.session.get_one(Partner, "90000001")
        for number in range(places):
            brin, code = f"{number // 90:02d}AB", f"{number // 90:02d}AB{number % 90:02d}"
            if number % 90 == 0:
                write.session.add(School(brin=brin, name=brin, revision=write.revision))
                await write.session.flush()
            granted[code] = str(uuid.uuid4())
            write.session.add(Location(code=code, brin=brin, name=code, kinds=["bo"], revision=write.revision))
            await write.session.flush()
            grant = Grant(
                grant_id=granted[code],
                client_id="rekenrijk",
                brin=brin,
                location=code,
                scopes=NAMES,
                purposes=[PURPOSE],
                status=Status.GRANTED,
                valid_from=write.now,
                request_version=1,
                granted_at_revision=write.revision,
                revision=write.revision,
                created_at=write.now,
                changed_at=write.now,
            )
            write.session.add(grant)
            append_event(write, grant, partner, EventKind.GRANT_GRANTED, SYSTEM)
    return granted


async def leaks(world: World, hook: Any, rounds: int) -> int:
    """How many of so many revocations are not seen by the decision that is asked for right after their answer."""
    granted = await grant_everywhere(world, rounds)
    headers = {"Authorization": f"Bearer {world.token('gateway')}"}
    leaked = asked = 0
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=hook), base_url="http://test") as gateway:

        async def permits(code: str) -> bool:
            body = question("rekenrijk", code)
            answer = await gateway.post("/access/v1/evaluation", json=body, headers=headers)
            assert answer.status_code == 200, answer.text
            return bool(answer.json()["decision"])

        async def load() -> None:
            nonlocal asked
            while True:
                await permits("16SW00")
                asked += 1
                await asyncio.sleep(0)  # a cache in memory lets nobody else have a turn

        others = [asyncio.create_task(load()) for _ in range(2)]
        try:
            for code, grant_id in granted.items():
                assert await permits(code)
                assert (await world.step(grant_id, "revoke", brin=code[:4])).status_code == 200
                leaked += await permits(code)
        finally:
            for other in others:
                other.cancel()
            await asyncio.gather(*others, return_exceptions=True)
    assert asked > rounds
    return leaked


async def test_a_revocation_is_seen_by_the_very_next_decision_of_another_process(
    world: World, store_url: str, tmp_path: Path
) -> None:
    settings = Settings(mode=Mode.TEST, database_url=store_url, var_dir=tmp_path, store_deadline=5)
    replica = create_app(settings, world.clock)
    async with replica.running():
        assert await leaks(world, replica, share(300, 100)) == 0


async def test_the_same_probe_catches_a_cache_that_only_looks_now_and_then(world: World) -> None:
    unprotected = PollingCache(source_for(world.store), every=0.05)
    verifier = TokenVerifier([world.issuer.trusted()])
    try:
        assert await leaks(world, Evaluation(verifier, unprotected), 40) > 0
    finally:
        await unprotected.aclose()
        await verifier.aclose()
