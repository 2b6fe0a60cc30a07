"""`kill -9` at random points of a thousand grants and revocations: no answered one is lost, none is half there.

`make test` does so over a hundred of them.
"""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlmodel import col, select

from api.deletions.duties import DutyJob
from api.evidence import verification
from api.evidence.key_custody import record_schools
from api.security.sealing import Sealing
from api.security.tokens import EmbeddedIssuer
from api.store.store import Store
from api.web.idempotency import digest_of_key, unsealed
from models.consents.deletions import DeletionDuty
from models.consents.grants import Grant
from models.consents.schools import Location, School
from models.decision.grant_status import OPEN
from models.log.events import Event, RememberedAnswer, Revision
from models.vocabulary.event_kinds import EventKind
from tests.effort import share
from tests.promises.killable_server import Server, served
from tests.worlds.live_connections import add_connections
from tests.worlds.world import NAMES, PURPOSE, question
from tests.worlds.world_evidence import keys_in

CHANGES = share(1_000)
KILLS = share(10, 3)
ADMINISTRATORS = 8
#: What the service writes by itself when a grant has ended.
OF_DUTIES = (EventKind.DELETION_REQUIRED, EventKind.DELETION_LAPSED)
BRINS = [f"{number:02d}AB" for number in range(1, 13)]
CLIENT_IDS = [f"leermiddel-{number}" for number in range(6)]


@dataclass(frozen=True, slots=True)
class Place:
    """Where one connection can be granted something: a whole school (BRIN4), or one of its locations (BRIN6)."""

    client_id: str
    code: str

    @property
    def brin(self) -> str:
        return self.code[:4]


PLACES = [
    Place(client_id, code) for client_id in CLIENT_IDS for brin in BRINS for code in (brin, f"{brin}00", f"{brin}01")
]


@dataclass
class Change:
    """One grant or revocation that was sent, once or more, under one key."""

    place: Place
    path: str
    body: dict[str, Any]
    revokes: str | None = None
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: int | None = None
    answer: dict[str, Any] = field(default_factory=dict)

    @property
    def was_acknowledged(self) -> bool:
        return self.status is not None


def granting(place: Place) -> Change:
    body = {"clientId": place.client_id, "scopes": NAMES, "purposes": [PURPOSE]}
    if place.code != place.brin:
        body["location"] = place.code
    return Change(place, f"/v1/schools/{place.brin}/grants", body)


def revoking(place: Place, grant_id: str) -> Change:
    path = f"/v1/schools/{place.brin}/grants/{grant_id}/_revoke"
    return Change(place, path, {"reason": "Niet meer nodig."}, revokes=grant_id)


class Tokens:
    """A token for each school, from the issuer that the server embeds."""

    def __init__(self, folder: Path) -> None:
        self._issuer = EmbeddedIssuer.at(folder / "embedded-issuer.jwk")
        self.schools = {brin: self._minted("school", brin) for brin in BRINS}
        self.gateway = self._minted("gateway")

    def partner(self, client_id: str) -> dict[str, str]:
        return self._minted("partner", client_id=client_id)

    def _minted(self, role: str, school: str | None = None, client_id: str | None = None) -> dict[str, str]:
        named = {"school": school, "client_id": client_id}
        lifetime, now = timedelta(hours=1), datetime.now(UTC)
        token = self._issuer.mint(role, subject="iemand", **named, lifetime=lifetime, now=now)
        return {"Authorization": f"Bearer {token}"}


class Ledger:
    """What the administrators know together: what was acknowledged, and what they were left in doubt of."""

    def __init__(self) -> None:
        self.acknowledged: list[Change] = []
        self.in_doubt: list[Change] = []
        self._awaited = 0
        self._reached = asyncio.Event()

    def enter(self, change: Change) -> None:
        self.acknowledged.append(change)
        if len(self.acknowledged) >= self._awaited:
            self._reached.set()

    async def reaches(self, count: int) -> None:
        """Waits until so many changes are acknowledged."""
        if len(self.acknowledged) < count:
            self._awaited = count
            self._reached.clear()
            await self._reached.wait()

    @property
    def is_full(self) -> bool:
        return len(self.acknowledged) >= CHANGES


class Administrator:
    """Grants and revokes at its own places, one after the other, and comes back after a crash with the same key."""

    def __init__(self, server: Server, tokens: Tokens, ledger: Ledger, places: Sequence[Place], seed: str) -> None:
        self._server = server
        self._client = httpx2.AsyncClient(base_url=server.url, timeout=30)
        self._tokens = tokens
        self._ledger = ledger
        self._random = random.Random(seed)
        self._places = list(places)
        self._open: dict[Place, str] = {}
        self.revisions: list[int] = []

    async def work(self) -> None:
        async with self._client:
            while not self._ledger.is_full:
                place = self._random.choice(self._places)
                grant_id = self._open.get(place)
                change = granting(place) if grant_id is None else revoking(place, grant_id)
                if await self._send_until_answered(change):
                    self._note(change)
                else:
                    self._places.remove(place)
                    self._ledger.in_doubt.append(change)

    async def _send_until_answered(self, change: Change) -> bool:
        """False when the server died over it and this administrator leaves it at that."""
        while True:
            try:
                answer = await send(self._client, self._tokens, change)
            except httpx2.ConnectError:
                await self._server.is_up.wait()
            except httpx2.TransportError:
                if self._random.random() < 0.4:
                    return False
            else:
                if answer.status_code != 503:
                    change.status, change.answer = answer.status_code, answer.json()
                    return True

    def _note(self, change: Change) -> None:
        assert change.status == (201 if change.revokes is None else 200), change.answer
        self._ledger.enter(change)
        self.revisions.append(change.answer["revision"])
        if change.revokes is None:
            self._open[change.place] = change.answer["grantId"]
        else:
            del self._open[change.place]


async def send(client: httpx2.AsyncClient, tokens: Tokens, change: Change) -> httpx2.Response:
    headers = {**tokens.schools[change.place.brin], "Idempotency-Key": change.key}
    return await client.post(change.path, json=change.body, headers=headers)


async def kill_at_random(server: Server, ledger: Ledger, chance: random.Random) -> None:
    """Kills the server again and again while the ledger fills, each time at a moment that nobody chose."""
    for threshold in sorted(chance.sample(range(20, CHANGES - 30), KILLS)):
        await ledger.reaches(threshold)
        await asyncio.sleep(chance.uniform(0, 0.03))
        await server.kill()
        await server.start()


@pytest.mark.both_stores
async def test_every_answered_change_survives_kill_9(store_url: str, tmp_path: Path) -> None:
    store = Store(store_url)
    await populate(store)
    ledger, tokens = Ledger(), Tokens(tmp_path)
    async with served(store_url, tmp_path) as server:
        administrators = [
            Administrator(server, tokens, ledger, PLACES[number::ADMINISTRATORS], f"administrator {number}")
            for number in range(ADMINISTRATORS)
        ]
        async with asyncio.TaskGroup() as group:
            group.create_task(kill_at_random(server, ledger, random.Random("when to kill")))
            for administrator in administrators:
                group.create_task(administrator.work())

        landed = await landed_in_doubt(store, Sealing(keys_in(tmp_path)), ledger)
        assert ledger.in_doubt, "no kill came while a change was under way: nothing was tested"
        assert_revisions_rise(administrators, landed)
        await assert_nothing_is_lost_or_half_there(store, [*ledger.acknowledged, *landed])
        await assert_decisions_agree(server, tokens, [*ledger.acknowledged, *landed])
        await assert_replays_change_nothing(server, tokens, store, [*ledger.acknowledged, *landed])
    await store.aclose()


async def landed_in_doubt(store: Store, sealing: Sealing, ledger: Ledger) -> list[Change]:
    """The changes that were never answered and yet happened, with the answer that was lost."""
    landed = []
    async with store.reading() as session:
        keys = [digest_of_key(change.key) for change in ledger.in_doubt]
        found = await session.exec(select(RememberedAnswer).where(col(RememberedAnswer.key).in_(keys)))
        remembered = {answer.key: answer for answer in found}
    for change in ledger.in_doubt:
        if known := remembered.get(digest_of_key(change.key)):
            answer = httpx2.Response(known.status, text=unsealed(sealing, known, change.key))
            change.status, change.answer = answer.status_code, answer.json()
            landed.append(change)
    return landed


def assert_revisions_rise(administrators: Iterable[Administrator], landed: Iterable[Change]) -> None:
    for administrator in administrators:
        assert administrator.revisions == sorted(administrator.revisions)
    everyones = [revision for administrator in administrators for revision in administrator.revisions]
    everyones += [change.answer["revision"] for change in landed]
    assert len(everyones) == len(set(everyones))


async def assert_nothing_is_lost_or_half_there(store: Store, changes: Sequence[Change]) -> None:
    """Every change has its row, its event and its revision; and nothing is there but these changes and their duties."""
    # The service may have been killed before its job found any grant that had ended.
    await DutyJob(store).run()
    async with store.reading() as session:
        assert await verification.faults(session) == []
        appended = (await session.exec(select(Event).where(Event.revision > 1))).all()
        grants = {grant.grant_id: grant for grant in await session.exec(select(Grant))}
        duties = (await session.exec(select(DeletionDuty.grant_id))).all()
        revision = (await session.get_one(Revision, 1)).revision
        answers = len((await session.exec(select(RememberedAnswer.key))).all())
    assert {event.revision for event in appended} == set(range(2, revision + 1))
    events = {event.revision: event for event in appended if event.kind not in OF_DUTIES}
    # A duty comes about in a revision of its own, and may lapse in that of a change.
    assert sorted(events) == sorted(change.answer["revision"] for change in changes)
    assert len(events) == sum(event.kind not in OF_DUTIES for event in appended)
    assert_each_duty_came_about_once(appended, duties, changes)
    assert answers == len(changes)
    for change in changes:
        event = events[change.answer["revision"]]
        assert event.kind == (EventKind.GRANT_GRANTED if change.revokes is None else EventKind.GRANT_REVOKED)
        assert event.state == change.answer
        assert grants[change.answer["grantId"]].revision >= change.answer["revision"]
    last = {change.answer["grantId"]: change.answer for change in in_order(changes)}
    assert {each.grant_id: (each.status, each.version, each.revision) for each in grants.values()} == {
        grant_id: (answer["status"], answer["version"], answer["revision"]) for grant_id, answer in last.items()
    }


def assert_each_duty_came_about_once(
    appended: Iterable[Event], duties: Iterable[str], changes: Iterable[Change]
) -> None:
    """Each duty is of a grant that one of these changes ended, and each thing that became of it was told once."""
    told = Counter((event.state["deletionOf"], event.kind) for event in appended if event.kind in OF_DUTIES)
    assert told
    assert set(told.values()) == {1}
    # What was permitted again before it was noticed is a duty that lapsed at once: told by that event alone.
    assert {grant_id for grant_id, _ in told} == set(duties)
    assert set(duties) <= {change.revokes for change in changes if change.revokes is not None}


async def assert_decisions_agree(server: Server, tokens: Tokens, changes: Sequence[Change]) -> None:
    """The gateway hears just what the acknowledged changes add up to, from a server that has just been started."""
    await server.kill()
    await server.start()
    standing = {change.place: change.answer for change in in_order(changes) if change.answer["status"] in OPEN}
    for change in in_order(changes):
        if change.revokes is not None and standing.get(change.place, {}).get("grantId") == change.revokes:
            del standing[change.place]
    body = {"evaluations": [question(place.client_id, place.code) for place in PLACES]}
    async with httpx2.AsyncClient(base_url=server.url, timeout=30) as client:
        answer = await client.post("/access/v1/evaluations", json=body, headers=tokens.gateway)
    decisions = answer.json()["evaluations"]
    assert len(decisions) == len(PLACES)
    for place, decision in zip(PLACES, decisions, strict=True):
        covering = standing.get(place) or standing.get(Place(place.client_id, place.brin))
        assert decision["decision"] == (covering is not None), (place, decision)
        if covering is not None:
            assert decision["context"]["grantId"] == covering["grantId"]


async def assert_replays_change_nothing(
    server: Server, tokens: Tokens, store: Store, changes: Sequence[Change]
) -> None:
    waiting = list(changes)

    async def replay() -> None:
        async with httpx2.AsyncClient(base_url=server.url, timeout=30) as client:
            while waiting:
                change = waiting.pop()
                answer = await send(client, tokens, change)
                assert (answer.status_code, answer.json()) == (change.status, change.answer)

    async with asyncio.TaskGroup() as group:
        for _ in range(ADMINISTRATORS):
            group.create_task(replay())
    await assert_nothing_is_lost_or_half_there(store, changes)


def in_order(changes: Iterable[Change]) -> list[Change]:
    return sorted(changes, key=lambda change: int(change.answer["revision"]))


async def populate(store: Store) -> None:
    """Schools with two locations each, and connections that may be granted everything that they ask for."""
    async with store.writing() as write:
        session, revision = write.session, write.revision
        for brin in BRINS:
            session.add(School(brin=brin, name=f"School {brin}", revision=revision))
        await session.flush()
        for brin in BRINS:
            for code in (f"{brin}00", f"{brin}01"):
                session.add(Location(code=code, brin=brin, name=code, kinds=["bo"], revision=revision))
        await add_connections(write, CLIENT_IDS, required=NAMES)
        await write.session.flush()
        await record_schools(write)
