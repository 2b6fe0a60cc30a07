"""A change is whole and is there before it is answered, or it isn't there and isn't answered."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.types import Message, Receive, Scope, Send

from api.evidence.verification import faults
from api.grants.expiry_job import expire
from api.queries import event_rows
from api.store.outage import StoreUnreachable
from api.store.store import Store
from models.consents.grants import Grant
from models.consents.schools import Board
from models.log.events import Event, RememberedAnswer, Revision
from models.vocabulary.event_kinds import EventKind
from tests.worlds.world import Answer, World

pytestmark = pytest.mark.both_stores


@pytest.fixture
async def outside(world: World) -> AsyncIterator[World]:
    """The world as a client sees it: what goes wrong inside is an answer, not an exception."""
    transport = httpx2.ASGITransport(app=world.service, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        world.client = client
        yield world


async def change_schema(store_url: str, *statements: str) -> None:
    engine = create_async_engine(store_url, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            for statement in statements:
                await connection.execute(text(statement))
    finally:
        await engine.dispose()


async def contents(store: Store) -> tuple[int, int, int, int, int]:
    """The revision, the events counted, and how many events, grants and remembered answers there are."""
    async with store.reading() as session:
        counted = await session.get_one(Revision, 1)
        lists = [(await session.exec(select(table))).all() for table in (Event, Grant, RememberedAnswer)]
        events, grants, answers = (len(found) for found in lists)
        return counted.revision, counted.events, events, grants, answers


def problem(answer: Answer) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["type"].rsplit("/", 1)[1]


# -- the commit comes before the answer -------------------------------------------------------------------------------


async def test_a_grant_whose_commit_fails_is_not_acknowledged_and_not_there(
    outside: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await contents(outside.store)

    async def fail(_: AsyncSession) -> None:
        raise OperationalError("COMMIT", {}, Exception("the connection was lost"))

    with monkeypatch.context() as patched:
        patched.setattr(AsyncSession, "commit", fail)
        assert problem(await outside.grant(key="a-key")) == (503, "store_unreachable")
    assert await contents(outside.store) == before
    assert await outside.reason() == "no_grant"
    assert (await outside.grant(key="a-key")).status_code == 201


async def test_a_revocation_whose_commit_fails_is_not_acknowledged_and_does_not_hold(
    outside: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = await outside.granted()
    before = await contents(outside.store)

    async def fail(_: AsyncSession) -> None:
        raise OperationalError("COMMIT", {}, Exception("the disk is full"))

    with monkeypatch.context() as patched:
        patched.setattr(AsyncSession, "commit", fail)
        assert problem(await outside.step(grant["grantId"], "revoke")) == (503, "store_unreachable")
    assert await contents(outside.store) == before
    assert await outside.reason() == "granted"


REFUSES_TO_COMMIT = (
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {what}; RETURN NULL; END $$",
    "CREATE CONSTRAINT TRIGGER refuses AFTER INSERT ON grants DEFERRABLE INITIALLY DEFERRED"
    " FOR EACH ROW EXECUTE FUNCTION refuse()",
)
CANNOT_COMMIT = {
    "the store raises": ("RAISE EXCEPTION 'not today'", 503, "store_unreachable"),
    "the connection ends": ("PERFORM pg_terminate_backend(pg_backend_pid())", 503, "store_unreachable"),
    "a rule of the store is broken": (
        "RAISE EXCEPTION 'no' USING ERRCODE = 'foreign_key_violation'",
        500,
        "internal_error",
    ),
}


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("how", CANNOT_COMMIT)
async def test_what_postgresql_refuses_at_the_commit_is_never_acknowledged(
    outside: World, store_url: str, how: str
) -> None:
    what, *expected = CANNOT_COMMIT[how]
    before = await contents(outside.store)
    await change_schema(store_url, *(statement.replace("{what}", what) for statement in REFUSES_TO_COMMIT))
    assert [*problem(await outside.grant(key="a-key"))] == expected
    assert await contents(outside.store) == before
    assert await outside.reason() == "no_grant"
    await change_schema(store_url, "DROP TRIGGER refuses ON grants")
    assert (await outside.grant(key="a-key")).status_code == 201


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_what_sqlite_refuses_at_the_commit_is_never_acknowledged(outside: World, store_url: str) -> None:
    before = await contents(outside.store)
    await change_schema(
        store_url,
        "CREATE TABLE promises (board TEXT REFERENCES boards (number) DEFERRABLE INITIALLY DEFERRED)",
        "CREATE TRIGGER refuses AFTER INSERT ON grants BEGIN INSERT INTO promises VALUES ('nobody'); END",
    )
    assert problem(await outside.grant(key="a-key")) == (500, "internal_error")
    assert await contents(outside.store) == before
    assert await outside.reason() == "no_grant"
    await change_schema(store_url, "DROP TRIGGER refuses")
    assert (await outside.grant(key="a-key")).status_code == 201


async def test_the_commit_is_done_before_the_first_byte_of_the_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    commit = AsyncSession.commit

    async def committing(session: AsyncSession) -> None:
        await commit(session)
        order.append("committed")

    async def listening(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            order.append(message["type"])
            await send(message)

        await world.service(scope, receive, sending)

    monkeypatch.setattr(AsyncSession, "commit", committing)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=listening), base_url="http://test") as client:
        world.client = client
        await world.granted()
    assert order[:2] == ["committed", "http.response.start"]


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
async def test_a_store_that_takes_no_connections_is_unreachable_and_no_error_of_ours(
    outside: World, store_url: str, postgresql_server: str
) -> None:
    database = make_url(store_url).database
    closed = (
        f"ALTER DATABASE {database} CONNECTION LIMIT 0",
        "CREATE ROLE somebody LOGIN",
    )
    try:
        await change_schema(postgresql_server, *closed)
        somebody = make_url(store_url).set(username="somebody").render_as_string(hide_password=False)
        refused = Store(somebody)
        with pytest.raises(StoreUnreachable):
            async with refused.reading():
                pass
        with pytest.raises(StoreUnreachable):
            async with refused.writing():
                pass
        await refused.aclose()
    finally:
        await change_schema(postgresql_server, "DROP ROLE IF EXISTS somebody")


# -- changes that are made at once ------------------------------------------------------------------------------------


async def test_of_two_grants_for_one_place_at_once_one_is_given(world: World) -> None:
    for location in ("16SW00", "16SW01"):
        answers = await asyncio.gather(*(world.grant(location=location) for _ in range(2)))
        assert sorted(answer.status_code for answer in answers) == [201, 409]
    answers = await asyncio.gather(*(world.grant() for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 5]
    assert {problem(answer)[1] for answer in answers if answer.status_code == 409} == {"grant_exists"}


async def test_one_key_used_twice_at_once_makes_one_change_and_gets_two_equal_answers(world: World) -> None:
    before = await contents(world.store)
    first, second = await asyncio.gather(*(world.grant(key="a-key") for _ in range(2)))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert first.headers["ETag"] == second.headers["ETag"]
    assert sum("Idempotency-Replayed" in answer.headers for answer in (first, second)) == 1
    revision, _, events, grants, _ = await contents(world.store)
    assert (revision, events, grants) == (before[0] + 1, before[2] + 1, before[3] + 1)


async def test_a_revocation_sent_twice_at_once_under_one_key_is_one_revocation(world: World) -> None:
    grant = await world.granted()
    before = await contents(world.store)
    answers = await asyncio.gather(
        *(world.step(grant["grantId"], "revoke", {"reason": "Weg."}, Idempotency_Key="a-key") for _ in range(4))
    )
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len({answer.text for answer in answers}) == 1
    assert (await contents(world.store))[0] == before[0] + 1


@pytest.mark.empty_world
async def test_twenty_writes_at_once_take_twenty_revisions_and_numbers_without_a_gap(world: World) -> None:
    for number in range(5):
        await world.register(f"leermiddel-{number}")
    revision, _, events, *_ = await contents(world.store)
    places: list[dict[str, Any]] = [{}, {"location": "16SW00"}, {"location": "16SW01"}, {"brin": "17TX"}]
    answers = await asyncio.gather(
        *(
            world.grant(f"leermiddel-{number}", key=str(uuid.uuid4()), **place)
            for number in range(5)
            for place in places
        )
    )
    assert [answer.status_code for answer in answers] == [201] * 20
    expected = list(range(revision + 1, revision + 21))
    assert sorted(answer.json()["revision"] for answer in answers) == expected
    async with world.store.reading() as session:
        found = (await session.exec(select(Event).where(Event.number > events).order_by(text("number")))).all()
        assert [event.number for event in found] == list(range(events + 1, events + 21))
        assert [event.revision for event in found] == expected
        assert await faults(session) == []


async def test_a_refused_write_takes_no_revision(world: World) -> None:
    before = await contents(world.store)
    assert (await world.grant(scopes=["leerling.hobby"], key="a-key")).status_code == 400
    assert (await world.grant("nobody", key="another")).status_code == 404
    assert await contents(world.store) == before


# -- reads see one instant --------------------------------------------------------------------------------------------


async def test_a_read_sees_one_instant_while_others_change_things(world: World) -> None:
    grant = await world.granted()
    async with world.store.reading() as session:
        revision = await event_rows.revision(session)
        await world.step(grant["grantId"], "revoke")
        await world.granted()
        seen = (await session.exec(select(Grant))).all()
        assert await event_rows.revision(session) == revision
        assert [(each.grant_id, each.status) for each in seen] == [(grant["grantId"], "granted")]
        assert await faults(session) == []
    async with world.store.reading() as session:
        assert await event_rows.revision(session) == revision + 2


async def test_a_read_cannot_write(store: Store) -> None:
    try:
        async with store.reading() as session:
            session.add(Board(number="12345"))
            await session.flush()
    except StoreUnreachable:
        assert not store.is_sqlite
    async with store.reading() as session:
        assert await session.get(Board, "12345") is None


# -- what time brings about -------------------------------------------------------------------------------------------


async def test_two_expiry_jobs_at_once_write_each_end_once(world: World, store_url: str) -> None:
    for place in ({}, {"location": "16SW00"}, {"location": "16SW01"}):
        await world.granted(validUntil="2026-10-01T00:00:00Z", **place)
    world.clock.advance(days=40)
    other = Store(store_url, world.clock)
    settled = await asyncio.gather(*(expire(store) for store in (world.store, other, world.store, other)))
    await other.aclose()
    assert sum(settled) == 3
    async with world.store.reading() as session:
        ended = (await session.exec(select(Event).where(Event.kind == EventKind.GRANT_EXPIRED))).all()
        assert len({event.grant_id for event in ended}) == len(ended) == 3
        assert {event.actor_role for event in ended} == {"system"}
        assert await faults(session) == []
    before = await contents(world.store)
    assert await expire(world.store) == 0
    assert await contents(world.store) == before


async def test_no_decision_depends_on_the_expiry_job(world: World) -> None:
    await world.granted(validUntil="2026-10-01T00:00:00Z")
    assert await world.reason() == "granted"
    revision = (await contents(world.store))[0]
    world.clock.advance(days=40)
    assert await world.reason() == "expired"
    assert (await contents(world.store))[0] == revision
    assert await expire(world.store) == 1
    assert await world.reason() == "expired"


async def test_a_suspension_ends_by_time_with_and_without_the_job(world: World) -> None:
    grant = await world.granted()
    await world.step(grant["grantId"], "suspend", {"until": "2026-09-02T08:00:00Z"})
    assert await world.reason() == "suspended"
    world.clock.advance(days=2)
    assert await world.reason() == "granted"
    assert sum(await asyncio.gather(expire(world.store), expire(world.store))) == 1
    assert await world.reason() == "granted"
    history = (await world.administer("GET", f"/grants/{grant['grantId']}/history")).json()["items"]
    assert [event["event"] for event in history] == ["grant.granted", "grant.suspended", "grant.resumed"]


async def test_a_revocation_and_the_end_by_time_at_once_end_a_grant_once(world: World) -> None:
    grant = await world.granted(validUntil="2026-10-01T00:00:00Z")
    world.clock.advance(days=40)
    settled, answer = await asyncio.gather(expire(world.store), world.step(grant["grantId"], "revoke"))
    assert problem(answer) == (409, "transition_not_allowed")
    history = (await world.administer("GET", f"/grants/{grant['grantId']}/history")).json()["items"]
    assert [event["event"] for event in history] == ["grant.granted", "grant.expired"]
    assert settled in (0, 1)
