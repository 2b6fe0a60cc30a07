"""Erasing what somebody wrote as a reason: no store, log or export holds it any more, and every proof still holds."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from sqlalchemy import text
from sqlmodel import col, select

from api.evidence.exports import write_export
from api.evidence.proofs import checkpoint
from api.evidence.receipts import verified as verified_receipt
from api.evidence.verification import faults, log_faults
from api.security import sealing
from api.store.events import SYSTEM, record
from models.log.events import Event, RememberedAnswer, Revision
from models.log.sealed_texts import SealedText
from models.log.signed_notes import checkpoint_in
from models.log.verification import Audit
from models.tables import METADATA
from models.vocabulary.event_kinds import EventKind
from tests.worlds.operations import ENTRIES, OPERATIONS, scene_in
from tests.worlds.world import Answer, World
from tests.worlds.world_evidence import entries_of, keys_of, where_it_is

#: A name that should not have been in it.
WRITTEN: Final = "zq-Er klaagde een ouder van Jip Invented uit groep 7."
KEY: Final = {"Idempotency-Key": "een-sleutel-van-ons"}


class Change(NamedTuple):
    """A change for which somebody gave a reason: its path, the grant, and its number in the log."""

    path: str
    grant_id: str
    number: int


async def revoked(world: World, **headers: str) -> Change:
    """An operator revokes a grant, and writes too much about why."""
    grant_id = (await world.granted())["grantId"]
    path = f"/v1/schools/16SW/grants/{grant_id}/_revoke"
    answer = await world.operate("POST", path, {"reason": WRITTEN}, **headers)
    assert answer.status_code == 200, answer.text
    return Change(path, grant_id, len(await entries_of(world)))


async def erased(world: World, number: int) -> Answer:
    return await world.operate("POST", f"/v1/log/entries/{number}/reason/_erase")


async def reasons(world: World, grant_id: str) -> list[str | None]:
    """Why each change of a grant came about, as its school sees it."""
    items = (await world.administer("GET", f"/grants/{grant_id}/history")).json()["items"]
    return [item["reason"] for item in items]


async def sealed_in(world: World, number: int) -> SealedText:
    """What is kept of the reason of an entry."""
    async with world.store.reading() as session:
        event = await session.get_one(Event, number)
        return await session.get_one(SealedText, event.reason)


async def remembered(world: World) -> RememberedAnswer:
    """The one answer that is remembered for an Idempotency-Key."""
    async with world.store.reading() as session:
        return (await session.exec(select(RememberedAnswer))).one()


@pytest.mark.both_stores
async def test_after_an_erasure_the_reason_is_nowhere_and_all_proofs_hold(world: World, tmp_path: Path) -> None:
    keys, change = keys_of(world), await revoked(world, **KEY)
    async with world.store.reading() as session:
        older = checkpoint_in((await checkpoint(session, keys)).encode(), keys.verifiers)
    receipt = (await world.operate("GET", f"/v1/receipts/{change.number}")).json()["receipt"]
    before = await entries_of(world)
    sealed, digest = await sealed_in(world, change.number), (await remembered(world)).fingerprint
    made_of_it = (sealed.text, sealed.key, digest.encode())
    assert [bool(await where_it_is(world, made)) for made in made_of_it] == [True] * 3, "the search finds what is there"

    answer = await erased(world, change.number)
    assert answer.json() == {
        "number": change.number,
        "commitment": before[-1]["reason"],
        "revision": before[-1]["revision"] + 1,
    }
    export = tmp_path / "export.jsonl"
    await write_export(world.store, keys, export)
    assert WRITTEN.encode() not in export.read_bytes()
    assert await where_it_is(world, WRITTEN.encode()) == []
    await rewritten(world)
    for made in made_of_it:
        assert [name for name in await where_it_is(world, made) if not is_of_wal(name)] == []

    assert (await entries_of(world))[:-1] == before
    async with world.store.reading() as session:
        assert await log_faults(session, Audit(older=[older], known=before)) == []
        assert await faults(session) == []
    assert verified_receipt(receipt, keys.jwks, keys.verifiers)["entry"] == before[-1]


async def rewritten(world: World) -> None:
    """On PostgreSQL the files of the tables are written anew, as operators are told to."""
    if not world.store.is_sqlite:
        async with world.store.engine.connect() as connection:
            connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
            for table in ("sealed_texts", "remembered_answers"):
                await connection.execute(text(f"VACUUM FULL {table}"))


def is_of_wal(name: str) -> bool:
    """Whether a file is one of PostgreSQL's write-ahead log, which goes when it is recycled."""
    return len(name) == 24 and not set(name) - set("0123456789ABCDEF")


async def test_the_history_of_a_grant_goes_on_without_the_reason(world: World) -> None:
    change = await revoked(world)
    other = (await world.granted())["grantId"]
    for reason in (WRITTEN, "Gaat niet door."):
        await world.step(other, "suspend", {"reason": reason})
        await world.step(other, "resume")
    assert (await erased(world, change.number)).status_code == 200
    assert await reasons(world, change.grant_id) == [None, None]
    # Each is sealed by itself: the same words with another change are erased with that.
    assert await reasons(world, other) == [None, WRITTEN, None, "Gaat niet door.", None]
    assert (await erased(world, change.number + 2)).status_code == 200
    assert await reasons(world, other) == [None, None, None, "Gaat niet door.", None]


async def test_an_erasure_is_an_entry_that_says_whose_reason_it_was_and_not_what(world: World) -> None:
    change = await revoked(world)
    await erased(world, change.number)
    before, entry = (await entries_of(world))[-2:]
    assert (entry["kind"], entry["actorRole"]) == (EventKind.REASON_ERASED, "operator")
    assert entry["state"] == {"number": change.number, "commitment": before["reason"]}
    assert {entry[name] for name in ("reason", "brin", "clientId", "grantId")} == {None}
    async with world.store.reading() as session:
        assert await sealing.named(session, [entry["actor"]]) == {entry["actor"]: "operator-subject"}


async def test_what_is_not_there_to_be_erased_is_a_404_and_changes_nothing(world: World) -> None:
    change = await revoked(world)
    async with world.store.writing() as write:
        record(write, EventKind.SCHOOLS_IMPORTED, SYSTEM, {}, reason="Vanzelf.")
    await erased(world, change.number)
    last = len(await entries_of(world))
    without, by_itself = change.number - 1, change.number + 1
    for number in (without, by_itself, change.number, last, last + 1, 2**31, 999_999_999_999_999):
        answer = await erased(world, number)
        assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (404, "not_found"), number
    assert len(await entries_of(world)) == last
    assert (await entries_of(world))[by_itself - 1]["reason"] == "Vanzelf."


async def test_who_repeats_the_request_of_an_erased_reason_changes_nothing(world: World) -> None:
    """What was done is not done again, though it can't be told any more whether it is the same request."""
    change = await revoked(world, **KEY)
    again = await world.operate("POST", change.path, {"reason": WRITTEN}, **KEY)
    assert again.headers["Idempotency-Replayed"] == "true"
    await erased(world, change.number)
    assert (await remembered(world)).fingerprint == ""
    before = await entries_of(world)
    for reason in (WRITTEN, "Iets anders."):
        refused = await world.operate("POST", change.path, {"reason": reason}, **KEY)
        assert refused.status_code == 409
        assert refused.json()["type"].endswith("idempotency_key_reused")
    assert await entries_of(world) == before


async def test_other_answers_are_remembered_as_they_were(world: World) -> None:
    change = await revoked(world)
    key = {"kvkNumber": "90000009", "name": "Uitgeverij De Negende"}
    first = await world.operate("POST", "/v1/partners", key, **KEY)
    await erased(world, change.number)
    again = await world.operate("POST", "/v1/partners", key, **KEY)
    assert (again.status_code, again.content) == (first.status_code, first.content)


async def test_an_erasure_is_counted_for_what_other_processes_remember(world: World) -> None:
    change = await revoked(world)
    async with world.store.reading() as session:
        before = (await session.get_one(Revision, 1)).erasures
    await erased(world, change.number)
    async with world.store.reading() as session:
        assert (await session.get_one(Revision, 1)).erasures == before + 1
        # Another process than the one that erased it, with a store of its own.
        event = await session.get_one(Event, change.number)
        assert await sealing.named(session, [event.reason]) == {}


# -- wherever a reason is given ---------------------------------------------------------------------------------------


async def test_no_table_holds_a_reason_but_the_one_from_which_it_is_erased(world: World) -> None:
    names = [name async for name in where_a_reason_was_given(world)]
    assert len(names) == 18
    # An applicant's is no reason of an entry: it stands with the case, as the evidence of its last step.
    assert await tables_with_it(world) == {"case_steps"}
    async with world.store.reading() as session:
        given = (await session.exec(select(Event).where(col(Event.reason).is_not(None)))).all()
        told = await sealing.named(session, [event.reason for event in given])
    numbers = [event.number for event in given if told[event.reason or ""] == WRITTEN]
    assert len(numbers) == 17
    for number in numbers:
        assert (await erased(world, number)).status_code == 200
    async with world.store.reading() as session:
        assert WRITTEN not in (await sealing.named(session, [event.reason for event in given])).values()
        assert await faults(session) == []


async def where_a_reason_was_given(world: World) -> AsyncIterator[str]:
    """Calls every operation that takes a reason, each in a scene of its own, and says which it was."""
    some = await scene_in(world)
    for name, entry in ENTRIES.items():
        if entry.body is None or "reason" not in entry.body(some):
            continue
        scene = await scene_in(world)
        if entry.before is not None:
            await entry.before(scene)
        content = json.dumps({**entry.body(scene), "reason": WRITTEN}).encode()
        headers = {"Idempotency-Key": f"een-sleutel-voor-{name}"}
        answer = await scene.call(OPERATIONS[name], content=content, headers=headers)
        assert answer.status_code == 200, answer.text
        # Both sides of a request read why it was declined or withdrawn.
        assert (WRITTEN in answer.text) is (name in {"declineRequest", "withdrawRequest"})
        yield name


async def tables_with_it(world: World) -> set[str]:
    """Which tables hold it, as it was written."""
    async with world.store.reading() as session:
        connection = await session.connection()
        kept = {name: (await connection.execute(table.select())).all() for name, table in METADATA.tables.items()}
    return {name for name, rows in kept.items() if WRITTEN in str(rows)}
