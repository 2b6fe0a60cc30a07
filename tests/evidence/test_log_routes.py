"""The log over HTTP: its entries are the changes, its checkpoint and proofs hold, and nothing else can write to it."""

import asyncio
import hashlib
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlmodel import col, select

from api.evidence.verification import log_faults
from api.store.events import SYSTEM, record
from models.log.events import Event
from models.log.log_entries import canonical, entry_of, leaf_of
from models.log.merkle import leaf_hash, peaks_of, verify_consistency, verify_inclusion
from models.log.signed_notes import Checkpoint, opened
from models.log.verification import Audit
from models.vocabulary.event_kinds import EventKind
from tests.evidence.tampering import tampering
from tests.worlds.world import World
from tests.worlds.world_evidence import keys_of


async def fetched(world: World, path: str, role: str = "operator") -> Any:
    answer = await world.call("GET", f"/v1/log/{path}", world.token(role))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def checkpoint_of(world: World) -> Checkpoint:
    answer = await world.call("GET", "/v1/log/checkpoint", world.token("gateway"))
    assert answer.headers["Content-Type"].startswith("text/plain")
    note, _ = opened(answer.content, keys_of(world).verifiers)
    return Checkpoint.parse(note)


async def all_entries(world: World) -> list[dict[str, Any]]:
    entries, after = [], 0
    while page := (await fetched(world, f"entries?limit=7&after={after}"))["items"]:
        entries += page
        after = entries[-1]["number"]
    return entries


async def lived(world: World) -> None:
    """Some life: a connection, a grant that is amended, revoked and given again."""
    given = await world.granted()
    await world.amend(given, scopes=["school.basis", "leerling.pseudoniem"])
    await world.step(given["grantId"], "revoke", {"reason": "Niet meer nodig, zei Sjoukje."})
    await world.granted()


async def test_the_checkpoint_is_the_root_of_all_entries(world: World) -> None:
    await lived(world)
    entries = await all_entries(world)
    checkpoint = await checkpoint_of(world)
    assert checkpoint.size == len(entries)
    assert [entry["number"] for entry in entries] == list(range(1, len(entries) + 1))
    assert checkpoint.root == peaks_of(leaf_hash(canonical(entry)) for entry in entries).root


async def test_every_entry_is_proven_to_be_in_the_log_of_every_later_size(world: World) -> None:
    await lived(world)
    entries = await all_entries(world)
    leaves = [hashlib.sha256(b"\0" + canonical(entry)).digest() for entry in entries]
    for size in range(1, len(entries) + 1):
        for number in range(1, size + 1):
            shown = await fetched(world, f"entries/{number}/proof?size={size}", "gateway")
            proof = [bytes.fromhex(each) for each in shown["proof"]]
            root = peaks_of(leaves[:size]).root
            assert (shown["leaf"], shown["root"]) == (leaves[number - 1].hex(), root.hex())
            assert verify_inclusion(leaves[number - 1], number - 1, size, proof, root)
        shown = await fetched(world, f"consistency?first={size}")
        proof = [bytes.fromhex(each) for each in shown["proof"]]
        roots = [bytes.fromhex(shown[name]) for name in ("firstRoot", "secondRoot")]
        assert roots == [peaks_of(leaves[:size]).root, peaks_of(leaves).root]
        assert verify_consistency(size, len(leaves), proof, *roots)


async def test_a_log_of_some_hundreds_keeps_the_subtrees_that_its_proofs_need(world: World) -> None:
    async with world.store.writing() as write:
        for number in range(600):
            record(write, EventKind.SCHOOLS_IMPORTED, SYSTEM, {"number": number})
    checkpoint = await checkpoint_of(world)
    for number in (1, 255, 256, 257, 512, 513, checkpoint.size):
        shown = await fetched(world, f"entries/{number}/proof")
        proof = [bytes.fromhex(each) for each in shown["proof"]]
        assert verify_inclusion(bytes.fromhex(shown["leaf"]), number - 1, checkpoint.size, proof, checkpoint.root)
    for first in (1, 256, 257, 511, 512):
        shown = await fetched(world, f"consistency?first={first}")
        proof = [bytes.fromhex(each) for each in shown["proof"]]
        assert verify_consistency(first, checkpoint.size, proof, bytes.fromhex(shown["firstRoot"]), checkpoint.root)


ODD_STATES: list[dict[str, Any]] = [
    {},
    {"é\u2028": "\u0000\u001f\u007f\\\"'$1 %s :name", "": None},
    {"numbers": [0, -1, 2**53, 1.5, 1e22, 1e-7], "nested": {"b": [True, False, {}], "a": [[]]}},
    {"long": "x" * 300_000},
]


async def test_one_write_may_append_thousands_of_events_which_come_back_as_they_were(world: World) -> None:
    before = (await checkpoint_of(world)).size
    states = [{"number": number, "odd": ODD_STATES[number % 3]} for number in range(2_100)]
    async with world.store.writing() as write:
        for state in [*states, *ODD_STATES]:
            record(write, EventKind.SCHOOLS_IMPORTED, SYSTEM, state)
    async with world.store.reading() as session:
        found = (await session.exec(select(Event).where(Event.number > before).order_by(col(Event.number)))).all()
        assert [event.state for event in found] == [*states, *ODD_STATES]
        assert {(event.revision, event.mark, event.at, event.actor) for event in found} == {
            (write.revision, write.mark, write.now, "privacy-manager")
        }
        assert await log_faults(session, Audit()) == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("entries/0/proof", 400),
        ("entries/99999/proof", 404),
        ("entries/3/proof?size=2", 404),
        ("entries/1/proof?size=99999", 400),
        ("entries/1/proof?size=0", 400),
        ("consistency?first=0", 400),
        ("consistency?first=99999", 400),
        ("consistency?first=3&second=2", 400),
        ("entries?after=-1", 400),
        ("entries?since=gisteren", 400),
    ],
)
async def test_what_cannot_be_proven_is_refused(world: World, path: str, status: int) -> None:
    assert (await world.call("GET", f"/v1/log/{path}", world.token("operator"))).status_code == status


async def test_behind_what_is_beyond_the_log_there_is_nothing(world: World) -> None:
    for number in (2**31 - 1, 2**31, 2**53):
        assert await fetched(world, f"entries?after={number}") == {"items": [], "next": None}


async def test_what_changed_between_two_instants_is_told(world: World) -> None:
    begun = world.clock.advance(hours=1)
    given = await world.granted()
    ended = world.clock.advance(hours=1)
    await world.step(given["grantId"], "revoke")
    shown = await fetched(world, f"entries?since={begun:%Y-%m-%dT%H:%M:%SZ}&until={ended:%Y-%m-%dT%H:%M:%SZ}")
    assert [entry["kind"] for entry in shown["items"]] == ["grant.granted"]


async def test_who_acted_and_why_are_commitments_in_the_log(world: World) -> None:
    await lived(world)
    entries = await all_entries(world)
    told = str(entries)
    assert "Sjoukje" not in told
    assert "-subject" not in told
    assert {entry["actor"].partition(":")[0] for entry in entries} == {"privacy-manager", "hmac-sha256"}
    actors = {entry["actorRole"]: entry["actor"] for entry in entries}
    assert len(set(actors.values())) == len(actors) == 3
    (revoked,) = [entry for entry in entries if entry["kind"] == "grant.revoked"]
    assert revoked["reason"].startswith("hmac-sha256:")
    history = await world.administer("GET", f"/grants/{revoked['grantId']}/history")
    assert [each["reason"] for each in history.json()["items"]] == [None, None, "Niet meer nodig, zei Sjoukje."]


@pytest.mark.both_stores
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET kind = 'grant.granted'",
        "UPDATE events SET number = number + 1000",
        "DELETE FROM events",
        "DELETE FROM events WHERE number = 2",
        "UPDATE log_nodes SET level = 16",
        "DELETE FROM log_nodes",
        "TRUNCATE events",
        "INSERT OR REPLACE INTO events SELECT * FROM events WHERE number = 2",
    ],
)
async def test_the_store_itself_refuses_to_change_the_log(world: World, statement: str) -> None:
    only = {"TRUNCATE": False, "INSERT": True}.get(statement.split()[0])
    if only not in (None, world.store.is_sqlite):
        statement = "DELETE FROM events WHERE number > 1"
    async with tampering(world.store) as connection:
        node = text("INSERT INTO log_nodes (level, position, hash) VALUES (8, 0, :hash)")
        await connection.execute(node, {"hash": b"1" * 32})
    before = await all_entries(world)
    with pytest.raises(DBAPIError, match="stays as it is"):
        async with world.store.engine.begin() as connection:
            await connection.execute(text(statement))
    assert await all_entries(world) == before


@pytest.mark.empty_world
async def test_writers_at_the_same_time_make_one_log(world: World) -> None:
    for number in range(4):
        await world.register(f"leermiddel-{number}")
    answers = await asyncio.gather(*(world.grant(f"leermiddel-{number}") for number in range(4)))
    assert {answer.status_code for answer in answers} == {201}
    checkpoint = await checkpoint_of(world)
    assert checkpoint.root == peaks_of(leaf_hash(canonical(entry)) for entry in await all_entries(world)).root


async def test_a_refused_write_is_not_in_the_log(world: World) -> None:
    before = await checkpoint_of(world)
    assert (await world.grant(scopes=["leerling.hobby"])).status_code == 400
    assert (await world.grant("niemand")).status_code == 404
    assert await checkpoint_of(world) == before


async def test_the_leaf_beside_an_event_is_that_of_its_entry(world: World) -> None:
    await lived(world)
    async with world.store.reading() as session:
        events = (await session.exec(select(Event).order_by(col(Event.number)))).all()
    assert [event.leaf for event in events] == [leaf_of(event) for event in events]
    assert [entry_of(event) for event in events] == await all_entries(world)
