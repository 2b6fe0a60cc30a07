"""Two hundred ways to change a stored log: each is found with an older checkpoint, and each is named.

`make test` tries a tenth of them, with every kind of change and every column that can be changed.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import pytest
from sqlalchemy import delete, insert, update
from sqlmodel import col, select

from api.evidence.proofs import checkpoint
from api.evidence.verification import faults, log_faults
from api.store.events import SYSTEM, record
from models.log.events import Event, LogNode, Revision
from models.log.log_entries import entry_of, leaf_of
from models.log.merkle import Peaks
from models.log.signed_notes import Checkpoint, checkpoint_in
from models.log.verification import Audit
from models.vocabulary.event_kinds import EventKind
from tests.effort import sample
from tests.evidence.tampering import tampering
from tests.worlds.world import World
from tests.worlds.world_evidence import keys_of

pytestmark = pytest.mark.both_stores

MANIPULATIONS: Final = 200
Row = dict[str, Any]


@dataclass
class Log:
    """A stored log of some three hundred entries, and what a witness kept of it."""

    world: World
    rows: list[Row]
    known: list[dict[str, Any]]
    checkpoint: Checkpoint

    async def found(self, *, with_entries: bool = True) -> list[str]:
        audit = Audit(older=[self.checkpoint], known=self.known if with_entries else [])
        async with self.world.store.reading() as session:
            return await log_faults(session, audit)

    async def put(self, rows: list[Row], *, counted: bool) -> None:
        """Makes the stored log consist of these rows; with `counted`, the tree and the counts are made to fit."""
        peaks, nodes = Peaks(), []
        for row in rows:
            peaks, completed = peaks.appended(row["leaf"])
            nodes += [node._asdict() for node in completed]
        async with tampering(self.world.store) as connection:
            await connection.execute(delete(Event))
            await connection.execute(insert(Event), rows)
            if counted:
                await connection.execute(delete(LogNode))
                if nodes:
                    await connection.execute(insert(LogNode), nodes)
                await connection.execute(update(Revision).values(events=peaks.size, peaks=peaks.packed))


async def log_in(world: World) -> Log:
    for _ in range(12):
        given = await world.granted()
        await world.amend(given, scopes=["school.basis", "leerling.pseudoniem"])
        await world.step(given["grantId"], "revoke", {"reason": "Klaar."})
    async with world.store.writing() as write:
        for number in range(250):
            record(write, EventKind.SCHOOLS_IMPORTED, SYSTEM, {"number": number})
    async with world.store.reading() as session:
        keys = keys_of(world)
        note = await checkpoint(session, keys)
        events = (await session.exec(select(Event).order_by(col(Event.number)))).all()
    rows = [event.model_dump() for event in events]
    return Log(world, rows, [entry_of(event) for event in events], checkpoint_in(note.encode(), keys.verifiers))


# -- what somebody with the whole database could do -------------------------------------------------------------------


def renumbered(rows: list[Row]) -> list[Row]:
    return [{**row, "number": number} for number, row in enumerate(rows, start=1)]


def with_leaves(rows: list[Row]) -> list[Row]:
    return [{**row, "leaf": leaf_of(Event(**row))} for row in rows]


def invented(chance: random.Random, like: Row) -> Row:
    return {**like, "mark": f"{chance.getrandbits(128):032x}", "state": {**like["state"], "status": "granted"}}


CHANGES: Final[dict[str, Callable[[Row], Any]]] = {
    "kind": lambda row: "grant.granted" if row["kind"] != "grant.granted" else "grant.revoked",
    "at": lambda row: row["at"] - timedelta(days=1),
    "actor": lambda row: "hmac-sha256:" + "0" * 64,
    "actor_role": lambda row: "school" if row["actor_role"] != "school" else "operator",
    "reason": lambda row: "hmac-sha256:" + "1" * 64,
    "brin": lambda row: "27DA",
    "client_id": lambda row: "een-ander",
    "grant_id": lambda row: None if row["grant_id"] else "00000000-0000-0000-0000-000000000000",
    "revision": lambda row: row["revision"] + 1,
    "mark": lambda row: row["mark"][::-1],
    "state": lambda row: {**row["state"], "status": "granted!"},
}

Change = tuple[list[Row], list[str]]


def edited(rows: list[Row], chance: random.Random) -> Change:
    name, at = chance.choice(list(CHANGES)), chance.randrange(len(rows))
    changed = [*rows[:at], {**rows[at], name: CHANGES[name](rows[at])}, *rows[at + 1 :]]
    return changed, [f"Entry {at + 1} was changed"]


def removed(rows: list[Row], chance: random.Random) -> Change:
    at = chance.randrange(len(rows) - 1)
    return renumbered([*rows[:at], *rows[at + 1 :]]), [f"Entry {at + 1} was removed."]


def left_out(rows: list[Row], chance: random.Random) -> Change:
    at = chance.randrange(len(rows) - 1)
    return [*rows[:at], *rows[at + 1 :]], [f"Entry {at + 1} is missing.", f"Entry {at + 1} was removed."]


def inserted(rows: list[Row], chance: random.Random) -> Change:
    at = chance.randrange(len(rows))
    new = invented(chance, rows[chance.randrange(len(rows))])
    return renumbered([*rows[:at], new, *rows[at:]]), [f"Entry {at + 1} was inserted."]


def swapped(rows: list[Row], chance: random.Random) -> Change:
    one, other = sorted(chance.sample(range(len(rows)), 2))
    changed = list(rows)
    changed[one], changed[other] = rows[other], rows[one]
    return renumbered(changed), [f"Entries {one + 1} to {other + 1} were put into another order."]


def truncated(rows: list[Row], chance: random.Random) -> Change:
    kept = chance.randrange(1, len(rows))
    return rows[:kept], ["cut off", f"it has {kept} entries, a checkpoint {len(rows)}"]


def forked(rows: list[Row], chance: random.Random) -> Change:
    kept = chance.randrange(1, len(rows) - 3)
    others = [invented(chance, row) for row in rows[kept:]]
    more = [invented(chance, rows[0]) for _ in range(chance.randrange(3))]
    named = f"Entries {kept + 1} to {len(rows)} were replaced" if more else f"Entry {kept + 1} was changed"
    return renumbered([*rows[:kept], *others, *more]), [named, "the log was rewritten"]


KINDS: Final = (edited, removed, left_out, inserted, swapped, truncated, forked)


def is_skilled(number: int) -> bool:
    return number % 2 == 0


def kind_of(number: int) -> Callable[[list[Row], random.Random], Change]:
    return KINDS[number % len(KINDS)]


def column_of(number: int) -> str | None:
    """The column that `edited` changes with this number."""
    return random.Random(number).choice(list(CHANGES)) if kind_of(number) is edited else None


async def test_every_manipulation_is_found_and_named(world: World) -> None:
    log = await log_in(world)
    assert await log.found() == []
    unseen = []
    for number in sample(range(MANIPULATIONS), lambda it: (kind_of(it), is_skilled(it)), column_of):
        make, skilled = kind_of(number), is_skilled(number)
        rows, named = make(log.rows, random.Random(number))
        # Who is skilled makes leaves, tree and counts fit what was put there; a gap in the numbers cannot be mended.
        await log.put(with_leaves(rows) if skilled else rows, counted=skilled and make is not left_out)
        found = await log.found()
        if not all(any(part in sentence for sentence in found) for part in named):
            unseen.append((number, make.__name__, skilled, named, found))
        assert await log.found(with_entries=False), f"{make.__name__} is not seen by the checkpoint alone"
    assert unseen == []
    await log.put(log.rows, counted=True)
    assert await log.found() == []


@pytest.mark.parametrize("state", [[], "weg", {}, {"grantId": 7}, {"scopes": None}, {"listed": {"schools": [7]}}])
@pytest.mark.parametrize("kind", ["grant.granted", "connection.moved", "partner.changed", "schools.imported"])
async def test_an_entry_that_makes_no_sense_is_named_and_ends_nothing(world: World, kind: str, state: Any) -> None:
    await world.granted()
    async with tampering(world.store) as connection:
        await connection.execute(update(Event).where(col(Event.number) == 2).values(kind=kind, state=state))
    async with world.store.reading() as session:
        found = [*await log_faults(session, Audit()), *await faults(session)]
    assert "Entry 2 was changed: its leaf was made of another one." in found


async def test_a_log_that_only_grew_is_whole(world: World) -> None:
    log = await log_in(world)
    await world.granted()
    assert await log.found() == []
    async with world.store.reading() as session:
        assert await faults(session) == await log_faults(session, Audit()) == []


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE grants SET status = 'granted' WHERE status = 'revoked'", "is not as its last event left it"),
        ("UPDATE connections SET purposes = '[]'", "Connection rekenrijk is not as the log tells."),
        ("UPDATE connections SET stage = 'placed'", "Connection rekenrijk is not as the log tells."),
        ("UPDATE agreements SET scopes = '[]'", "Agreement"),
        ("UPDATE ground_rules SET ended = TRUE WHERE rule = 'kvk'", "Ground rule"),
        ("UPDATE locations SET gone_at = NULL, code = '16SW09' WHERE code = '16SW01'", "Location 16SW09"),
        ("UPDATE schools SET board_number = '10002' WHERE brin = '16SW'", "School 16SW is not as the log tells."),
    ],
)
async def test_a_fact_that_was_changed_past_the_log_is_named(world: World, statement: str, named: str) -> None:
    await world.step((await world.granted())["grantId"], "revoke")
    async with world.store.engine.begin() as connection:
        await connection.exec_driver_sql(statement)
    async with world.store.reading() as session:
        found = [*await faults(session), *await log_faults(session, Audit())]
    assert any(named in sentence for sentence in found), found
