"""Every change once, in order: two write, the server dies again and again, and so do the readers, who go on after it.

PRIVACY_TEST_CHANGES sets another number of changes than ten thousand, or a thousand of `make test`.
"""

import asyncio
import os
import random
import signal
import sys
import uuid
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import httpx2
import pytest
from sqlmodel import col, select

from api.grants.grant_lifecycle import take_step
from api.queries import registry_rows
from api.store.events import SYSTEM
from api.store.store import Store
from models.consents.grants import Grant, Step
from models.decision.grant_status import Status
from models.log.events import Event
from tests.effort import share
from tests.promises.killable_server import ROOT, Server, served
from tests.promises.test_crash_recovery import CLIENT_IDS, PLACES, Tokens, granting, populate, send

READER, OTHER = CLIENT_IDS[:2]
#: Those of one school change over HTTP, all others through the write layer, many of them in one revision.
OVER_HTTP, ALSO_OF_OTHER = "01AB", "02AB"
MOST_AT_ONCE = share(48, 24)
#: Times that the write layer may have written more often than there were changes over HTTP: so many can come while the
#: server is down, and however slow the machine is, both write all the while.
MOST_AHEAD = 16
#: Seconds after which a reader that has not read all never will.
LONG = 90


@dataclass(frozen=True)
class Ordeal:
    """How many changes there are, and how often the server and each reader are killed meanwhile."""

    changes: int
    of_server: int
    of_reader: int


ORDEALS = {
    "postgresql": Ordeal(
        int(os.environ.get("PRIVACY_TEST_CHANGES", share(10_000))), of_server=share(3, 2), of_reader=share(5, 2)
    ),
    "sqlite": Ordeal(share(1_500, 500), of_server=share(2, 2), of_reader=share(3, 2)),
}


class Progress:
    """How many changes of the reader's consents there are, and how many there will be."""

    def __init__(self, wanted: int) -> None:
        self.made, self.wanted = 0, wanted
        self._over_http = 0
        self._ended_at: float | None = None
        self._changed = asyncio.Condition()

    @property
    def is_over(self) -> bool:
        return self.made >= self.wanted

    def end(self) -> None:
        """Nobody writes any more: what one had begun when there was enough is a change too."""
        self._ended_at = asyncio.get_running_loop().time()

    @property
    def has_ended(self) -> bool:
        return self._ended_at is not None

    @property
    def is_long_over(self) -> bool:
        """Whether a reader that has not read all by now has missed something."""
        return self._ended_at is not None and asyncio.get_running_loop().time() > self._ended_at + LONG

    async def add(self, many: int, *, over_http: bool = False) -> None:
        async with self._changed:
            self.made += many
            self._over_http += over_http
            self._changed.notify_all()

    async def keeps_up(self, times: int) -> None:
        """Waits until there were so many changes over HTTP, or there are enough changes in all."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._over_http >= times or self.is_over)

    async def reaches(self, many: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self.made >= many)


async def granted(server: Server, tokens: Tokens) -> None:
    """A grant of each place to the reader's connection, and of some to another one."""
    async with httpx2.AsyncClient(base_url=server.url, timeout=30) as client:
        for place in PLACES:
            if place.client_id == READER or (place.client_id == OTHER and place.brin in (OVER_HTTP, ALSO_OF_OTHER)):
                answer = await send(client, tokens, granting(place))
                assert answer.status_code == 201, answer.text


async def write_over_http(server: Server, tokens: Tokens, grant_ids: list[str], progress: Progress) -> int:
    """Suspends and resumes, one after the other; repeats with its key what the server died over. How many it made."""
    made = 0
    steps = dict.fromkeys(grant_ids, "suspend")
    async with httpx2.AsyncClient(base_url=server.url, timeout=30) as client:
        while not progress.is_over:
            grant_id, step = random.choice(list(steps.items()))
            path = f"/v1/schools/{OVER_HTTP}/grants/{grant_id}/_{step}"
            headers = {**tokens.schools[OVER_HTTP], "Idempotency-Key": str(uuid.uuid4())}
            while True:
                try:
                    answer = await client.post(path, headers=headers, json={})
                    if answer.status_code != 503:
                        break
                except httpx2.TransportError:
                    await server.is_up.wait()
            assert answer.status_code == 200, answer.text
            steps[grant_id] = "resume" if step == "suspend" else "suspend"
            made += 1
            await progress.add(1, over_http=True)
            await asyncio.sleep(0.02)
    return made


async def write_to_store(store: Store, grant_ids: list[str], progress: Progress, chance: random.Random) -> None:
    """The same by the steps that the routes take, of both connections and many at once."""
    for number in count():
        await progress.keeps_up(number - MOST_AHEAD)
        if progress.is_over:
            return
        async with store.writing() as write:
            some = chance.sample(grant_ids, chance.randint(1, min(MOST_AT_ONCE, len(grant_ids))))
            grants = (await write.session.exec(select(Grant).where(col(Grant.grant_id).in_(some)))).all()
            partners = await registry_rows.partners_of_grants(write.session, grants)
            for grant in grants:
                step = Step.SUSPEND if grant.status == Status.GRANTED else Step.RESUME
                take_step(write, grant, partners[grant.client_id], step, SYSTEM)
        await progress.add(sum(grant.client_id == READER for grant in grants))
        await asyncio.sleep(chance.uniform(0, 0.1))


async def kill_server(server: Server, progress: Progress, kills: int, chance: random.Random) -> None:
    """`kill -9`, and in between a restart as in a deployment."""
    for number, many in enumerate(sorted(chance.sample(range(progress.wanted * 9 // 10), kills))):
        await progress.reaches(many)
        await (server.end(signal.SIGTERM) if number % 2 else server.kill())
        await server.start()


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


async def read_and_be_killed(
    server: Server, token: str, path: Path, progress: Progress, most: int, chance: random.Random
) -> int:
    """Starts a reader again each time that it was killed, until it has read all; how often it was killed.

    It is killed after it wrote something: just then, or when the changes are so far that their number was drawn for it.
    """
    kills = 0
    thresholds = sorted(chance.sample(range(progress.made, progress.wanted), most))
    while True:
        begun = _size(path)
        reader = await started(server, token, path)
        try:
            while _size(path) <= begun or kills == most or progress.made < thresholds[kills]:
                assert reader.returncode is None, "it ends when it is killed, and not before"
                if progress.has_ended and (len(lines_of(path)) >= progress.made or progress.is_long_over):
                    return kills
                await asyncio.sleep(chance.uniform(0, 0.1))
        finally:
            reader.kill()
            await reader.wait()
        kills += 1


async def started(server: Server, token: str, path: Path) -> asyncio.subprocess.Process:
    """A reader that streams, or waits, as the name of its file says."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.promises.feed_reader", server.url, str(path), path.stem),
        cwd=ROOT,
        env={**os.environ, "TOKEN": token, "PYTHONPATH": "client"},
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


async def events_of(store: Store, client_id: str) -> list[str]:
    async with store.reading() as session:
        query = select(Event).where(Event.client_id == client_id, col(Event.grant_id).is_not(None))
        found = await session.exec(query.order_by(col(Event.number)))
        return [f"{event.number}-{event.mark} {event.revision} {event.grant_id} {event.kind}" for event in found]


async def grants_of(store: Store) -> tuple[list[str], list[str]]:
    """The ids of the reader's grants of the one school, and of all others."""
    async with store.reading() as session:
        grants = (await session.exec(select(Grant))).all()
    own = [each.grant_id for each in grants if each.brin == OVER_HTTP and each.client_id == READER]
    return own, [each.grant_id for each in grants if each.brin != OVER_HTTP]


@pytest.mark.both_stores
async def test_every_change_comes_once_and_in_order_whatever_dies(
    store_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    chance = random.Random("who dies when")
    store = Store(store_url)
    ordeal = ORDEALS["sqlite" if store.is_sqlite else "postgresql"]
    await populate(store)
    tokens = Tokens(tmp_path)
    token = tokens.partner(READER)["Authorization"].removeprefix("Bearer ")
    paths = [tmp_path / f"{kind}.lines" for kind in ("streamed", "waited")]
    async with served(store_url, tmp_path) as server, asyncio.timeout(480):
        await granted(server, tokens)
        over_http, others = await grants_of(store)
        progress = Progress(ordeal.changes)
        await progress.add(len(await events_of(store, READER)))
        async with asyncio.TaskGroup() as group:
            reading = [
                group.create_task(
                    read_and_be_killed(server, token, path, progress, ordeal.of_reader, random.Random(path.stem))
                )
                for path in paths
            ]
            async with asyncio.TaskGroup() as writing:
                writing.create_task(write_to_store(store, others, progress, chance))
                made = writing.create_task(write_over_http(server, tokens, over_http, progress))
                writing.create_task(kill_server(server, progress, ordeal.of_server, random.Random("the server")))
            progress.end()
    written = await events_of(store, READER)
    await store.aclose()
    assert len(written) == progress.made >= progress.wanted
    assert len({line.split()[1] for line in written}) < len(written), "some came together in one revision"
    for path in paths:
        found = lines_of(path)
        first = next(
            (place for place, (had, right) in enumerate(zip(found, written, strict=False)) if had != right), None
        )
        assert found == written, (path.stem, len(found), len(written), "first other line", first)
    assert made.result() > ordeal.of_server, "one wrote over HTTP all the while"
    assert all(task.result() for task in reading), "each was killed, and went on"
