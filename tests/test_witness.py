"""A witness follows the log, keeps what it saw, and refuses a log that forked or was rolled back."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from api import evidence_keys
from api.verification import log_faults
from api.witness import LogRefused, Witness
from models.audit import Audit
from models.log_entries import canonical
from models.merkle import leaf_hash, peaks_of
from models.signed_notes import Checkpoint, NoteInvalid, signed
from tests.evidence import consistency, entries_of, keys_of, note_of, take, witness_of
from tests.world import World


def forged(world: World, entries: Sequence[dict[str, Any]]) -> bytes:
    """A checkpoint of these entries, signed with the log's own key: as whoever runs the service could make one."""
    keys = keys_of(world)
    root = peaks_of(leaf_hash(canonical(entry)) for entry in entries).root
    return signed(Checkpoint(keys.origin, len(entries), root).text, keys.notes).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "witness"


async def test_a_witness_keeps_every_entry_and_every_checkpoint(world: World, folder: Path) -> None:
    witness = witness_of(world, folder)
    await take(world, witness)
    await world.register()
    await take(world, witness)
    await world.granted()
    await take(world, Witness(folder))
    again = Witness(folder)
    assert list(again.entries()) == await entries_of(world)
    assert len(again.checkpoints()) == 3
    async with world.store.reading() as session:
        audit = Audit(older=again.checkpoints(), known=list(again.entries()))
        assert await log_faults(session, audit) == []


async def test_a_log_that_is_smaller_than_it_was_is_refused(world: World, folder: Path) -> None:
    await world.register()
    witness = witness_of(world, folder)
    await take(world, witness)
    fewer = (await entries_of(world))[:-2]
    with pytest.raises(LogRefused, match="rolled back or cut off"):
        witness.take(forged(world, fewer), [], [])
    assert (folder / f"refused-{len(fewer)}").exists()
    assert witness.last is not None
    assert witness.last.size == len(fewer) + 2


@pytest.mark.parametrize("more", [0, 1, 5])
async def test_a_log_that_forked_is_refused(world: World, folder: Path, more: int) -> None:
    await world.register()
    witness = witness_of(world, folder)
    await take(world, witness)
    entries = await entries_of(world)
    other = [*entries[:-1], {**entries[-1], "mark": "0" * 32}]
    other += [{**entries[-1], "number": len(entries) + 1 + number} for number in range(more)]
    for proof in (consistency(other, len(entries)), consistency(entries, len(entries)), []):
        with pytest.raises(LogRefused, match=r"a fork|not those of the checkpoint"):
            witness.take(forged(world, other), proof, other[len(entries) :])
    assert list(Witness(folder).entries()) == entries


async def test_entries_that_are_not_those_of_the_checkpoint_are_refused(world: World, folder: Path) -> None:
    witness = witness_of(world, folder)
    await take(world, witness)
    before = list(witness.entries())
    await world.register()
    entries = await entries_of(world)
    proof = consistency(entries, len(before))
    wrongs: list[list[dict[str, Any]]] = [
        entries[len(before) : -1],
        [*entries[len(before) :], {**entries[-1], "number": len(entries) + 1}],
        [{**entry, "kind": "grant.granted"} for entry in entries[len(before) :]],
        entries[len(before) + 1 :],
        [{}],
    ]
    for wrong in wrongs:
        with pytest.raises(LogRefused):
            witness.take(await note_of(world), proof, wrong)
    assert list(Witness(folder).entries()) == before


async def test_only_the_pinned_key_speaks_for_the_log(world: World, folder: Path, tmp_path: Path) -> None:
    witness = witness_of(world, folder)
    others = evidence_keys.make(tmp_path / "others.json")
    entries = await entries_of(world)
    root = peaks_of(leaf_hash(canonical(entry)) for entry in entries).root
    for origin in (others.origin, keys_of(world).origin):
        with pytest.raises(NoteInvalid):
            witness.take(signed(Checkpoint(origin, len(entries), root).text, others.notes).encode(), [], entries)


async def test_a_witness_that_was_stopped_half_way_goes_on_from_its_last_checkpoint(world: World, folder: Path) -> None:
    await take(world, witness_of(world, folder))
    kept = (folder / "entries.jsonl").read_bytes()
    (folder / "entries.jsonl").write_bytes(kept + canonical((await entries_of(world))[0]) + b"\n" + b'{"number": 3')
    await world.register()
    await take(world, Witness(folder))
    assert list(Witness(folder).entries()) == await entries_of(world)


async def test_a_witness_whose_own_folder_was_changed_says_so(world: World, folder: Path) -> None:
    await world.register()
    await take(world, witness_of(world, folder))
    lines = (folder / "entries.jsonl").read_text("utf-8").splitlines()
    changed = json.loads(lines[1]) | {"kind": "grant.granted"}
    (folder / "entries.jsonl").write_text("\n".join([lines[0], json.dumps(changed), *lines[2:], ""]), "utf-8")
    with pytest.raises(LogRefused, match="changed here"):
        Witness(folder)
