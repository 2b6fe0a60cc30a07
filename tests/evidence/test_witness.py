"""A witness follows the log, keeps what it saw, and refuses a log that forked or was rolled back."""

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.evidence import witness
from api.evidence.verification import log_faults
from api.evidence.witness import LogRefused, Witness, WitnessRecords
from api.security import evidence_keys
from models.log.log_entries import canonical
from models.log.merkle import leaf_hash, peaks_of
from models.log.signed_notes import Checkpoint, NoteInvalid, SigningKey, signed
from models.log.verification import Audit
from tests.history.history_commands import Said, command
from tests.worlds.world import World
from tests.worlds.world_evidence import consistency, entries_of, keys_of, note_of, take, witness_of


def forged(world: World, entries: Sequence[dict[str, Any]]) -> bytes:
    """A checkpoint of these entries, signed with the log's own key: as whoever runs the service could make one."""
    keys = keys_of(world)
    root = peaks_of(leaf_hash(canonical(entry)) for entry in entries).root
    return signed(Checkpoint(keys.origin, len(entries), root).text, keys.notes).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "witness"


@pytest.mark.empty_world
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
    witness = witness_of(world, folder)
    await take(world, witness)
    fewer = (await entries_of(world))[:-2]
    with pytest.raises(LogRefused, match="rolled back or cut off"):
        witness.accept(forged(world, fewer), [], [])
    assert (folder / f"refused-{len(fewer)}").exists()
    assert witness.last is not None
    assert witness.last.size == len(fewer) + 2


@pytest.mark.parametrize("more", [0, 1, 5])
async def test_a_log_that_forked_is_refused(world: World, folder: Path, more: int) -> None:
    witness = witness_of(world, folder)
    await take(world, witness)
    entries = await entries_of(world)
    other = [*entries[:-1], {**entries[-1], "mark": "0" * 32}]
    other += [{**entries[-1], "number": len(entries) + 1 + number} for number in range(more)]
    for proof in (consistency(other, len(entries)), consistency(entries, len(entries)), []):
        with pytest.raises(LogRefused, match=r"a fork|not those of the checkpoint"):
            witness.accept(forged(world, other), proof, other[len(entries) :])
    assert list(Witness(folder).entries()) == entries


@pytest.mark.empty_world
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
            witness.accept(await note_of(world), proof, wrong)
    assert list(Witness(folder).entries()) == before


async def test_only_the_pinned_key_speaks_for_the_log(world: World, folder: Path, tmp_path: Path) -> None:
    witness = witness_of(world, folder)
    others = evidence_keys.make(tmp_path / "others.json")
    entries = await entries_of(world)
    root = peaks_of(leaf_hash(canonical(entry)) for entry in entries).root
    for origin in (others.origin, keys_of(world).origin):
        with pytest.raises(NoteInvalid):
            witness.accept(signed(Checkpoint(origin, len(entries), root).text, others.notes).encode(), [], entries)


@pytest.mark.empty_world
async def test_a_witness_that_was_stopped_half_way_goes_on_from_its_last_checkpoint(world: World, folder: Path) -> None:
    await take(world, witness_of(world, folder))
    kept = (folder / "entries.jsonl").read_bytes()
    (folder / "entries.jsonl").write_bytes(kept + canonical((await entries_of(world))[0]) + b"\n" + b'{"number": 3')
    await world.register()
    await take(world, Witness(folder))
    assert list(Witness(folder).entries()) == await entries_of(world)


async def test_a_witness_whose_own_folder_was_changed_says_so(world: World, folder: Path) -> None:
    await take(world, witness_of(world, folder))
    lines = (folder / "entries.jsonl").read_text("utf-8").splitlines()
    changed = json.loads(lines[1]) | {"kind": "grant.granted"}
    (folder / "entries.jsonl").write_text("\n".join([lines[0], json.dumps(changed), *lines[2:], ""]), "utf-8")
    with pytest.raises(LogRefused, match="changed here"):
        Witness(folder)


# -- who only reads the folder ----------------------------------------------------------------------------------------


async def told(world: World, *words: str) -> Said:
    """A command at the world's installation."""
    url = world.store.url.render_as_string(hide_password=False)
    return await asyncio.to_thread(command, *words, DATABASE_URL=url, VAR_DIR=str(world.folder))


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def forged_folder(world: World, folder: Path, keys: evidence_keys.EvidenceKeys) -> None:
    """The log, and behind it a grant that nobody gave, under a checkpoint by these keys."""
    entries = await entries_of(world)
    last = entries[-1]
    granted = next(entry for entry in entries if entry["kind"] == "grant.granted")
    given = {"grantId": "11111111-1111-1111-1111-111111111111", "revision": last["revision"] + 1}
    one = {"number": last["number"] + 1, "revision": last["revision"] + 1, "grantId": given["grantId"]}
    nobody = {"actor": "privacy-manager", "actorRole": "system", "reason": None}
    entries.append(granted | one | nobody | {"mark": "a" * 32, "at": last["at"], "state": granted["state"] | given})
    root = peaks_of(leaf_hash(canonical(entry)) for entry in entries).root
    note = signed(Checkpoint(keys_of(world).origin, len(entries), root).text, keys.notes)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "keys").write_text("".join(f"{key.verifier}\n" for key in keys.notes))
    (folder / "entries.jsonl").write_bytes(b"".join(canonical(entry) + b"\n" for entry in entries))
    (folder / "checkpoints" / str(len(entries))).write_text(note)


async def test_nothing_is_restored_from_a_folder_whose_checkpoint_this_installation_did_not_sign(
    world: World, folder: Path, tmp_path: Path
) -> None:
    await world.step((await world.granted())["grantId"], "revoke")
    world.clock.advance(hours=1)
    before = await entries_of(world)
    made = evidence_keys.make(tmp_path / "of-another.json")
    renamed = [SigningKey(keys_of(world).origin, key.private) for key in made.notes]
    await forged_folder(world, folder, replace(made, notes=tuple(renamed)))
    assert [len(WitnessRecords(folder).checkpoints()), WitnessRecords(folder).last is not None] == [1, True], (
        "it holds by itself"
    )
    for words in (["restore", "--from"], ["verify", "--witness"]):
        said = await told(world, *words, str(folder))
        assert (said.is_a_refusal, "signed by nobody who is known" in said.err) == (True, True), said
    assert await entries_of(world) == before
    assert await world.reason() == "revoked"


async def test_a_store_is_not_held_against_a_folder_where_no_key_is_known(
    world: World, folder: Path, tmp_path: Path
) -> None:
    await take(world, witness_of(world, folder))
    url = world.store.url.render_as_string(hide_password=False)
    words = ["verify", "--witness", str(folder)]
    nowhere = str(tmp_path / "nowhere")
    said = await asyncio.to_thread(command, *words, DATABASE_URL=url, VAR_DIR=nowhere)
    assert said.is_a_refusal, said
    key = str(keys_of(world).verifiers[0])
    said = await asyncio.to_thread(command, *words, "--key", key, DATABASE_URL=url, VAR_DIR=nowhere)
    assert said == Said(0, "The store is whole.\n", "")


@pytest.mark.empty_world
async def test_who_reads_the_folder_of_a_witness_at_work_changes_nothing_of_it(world: World, folder: Path) -> None:
    """Its entries are written before the checkpoint that accepts them: just then somebody verifies."""
    witness = witness_of(world, folder)
    await take(world, witness)
    await world.register()
    entries = await entries_of(world)
    with (folder / "entries.jsonl").open("ab") as file:
        file.write(b"".join(canonical(entry) + b"\n" for entry in entries[len(list(witness.entries())) :]))
    (folder / "checkpoints" / f".{len(entries)}").write_bytes(b"half a checkp")
    (folder / ".keys").write_bytes(b"")
    before = contents(folder)
    assert await told(world, "verify", "--witness", str(folder)) == Said(0, "The store is whole.\n", "")
    restored = await told(world, "restore", "--from", str(folder))
    assert (restored.status, "lacks none" in restored.err) == (1, True), restored
    assert contents(folder) == before
    # The witness itself was stopped there, and goes on.
    await take(world, Witness(folder))
    assert list(Witness(folder).entries()) == entries
    assert [path.name for path in (folder / "checkpoints").iterdir() if path.name.startswith(".")] == []


async def test_a_folder_that_is_no_witness_s_is_refused_and_not_made(world: World, tmp_path: Path) -> None:
    for words in (["verify", "--witness"], ["restore", "--from"]):
        said = await told(world, *words, str(tmp_path / "typo"))
        assert said.is_a_refusal, said
        assert not (tmp_path / "typo").exists()
    (tmp_path / "other").mkdir()
    Witness(tmp_path / "begun")
    for name, why in (("other", "is not the folder of a witness"), ("begun", "has not seen anything")):
        for words in (["verify", "--witness"], ["restore", "--from"]):
            said = await told(world, *words, str(tmp_path / name))
            assert (said.is_a_refusal, why in said.err) == (True, True), said


async def test_entries_that_were_changed_in_the_folder_are_refused(world: World, folder: Path) -> None:
    await take(world, witness_of(world, folder))
    whole = (folder / "entries.jsonl").read_bytes()
    for wrong in (
        whole.replace(b"connection.", b"connectiom.", 1),
        whole.splitlines(keepends=True)[0],
        b"[]\n" + whole,
    ):
        (folder / "entries.jsonl").write_bytes(wrong)
        for words in (["verify", "--witness"], ["restore", "--from"]):
            assert (await told(world, *words, str(folder))).is_a_refusal


async def test_a_checkpoint_under_another_size_is_refused(world: World, folder: Path) -> None:
    await take(world, witness_of(world, folder))
    (kept,) = (folder / "checkpoints").iterdir()
    kept.rename(folder / "checkpoints" / str(int(kept.name) + 1))
    with pytest.raises(LogRefused, match="is a checkpoint of"):
        WitnessRecords(folder)


async def test_a_witness_that_is_given_another_key_than_it_pinned_refuses(world: World, folder: Path) -> None:
    await take(world, witness_of(world, folder))
    other = SigningKey(keys_of(world).origin, Ed25519PrivateKey.generate()).verifier
    before = contents(folder)
    with pytest.raises(LogRefused, match="other keys than"):
        Witness(folder, [other])
    with pytest.raises(LogRefused, match="other keys than"):
        Witness(folder, [*keys_of(world).verifiers, other])
    assert contents(folder) == before
    assert witness_of(world, folder).last is not None


@pytest.mark.empty_world
async def test_of_two_witnesses_in_one_folder_the_second_waits_and_the_first_says_so(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one has written, and did not yet accept, is not dropped by one that begins meanwhile."""
    await take(world, witness_of(world, folder))
    await world.register()
    entries = await entries_of(world)
    first, writing = Witness(folder), witness._replace
    with ThreadPoolExecutor(1) as threads:
        begun: list[Future[Witness]] = []

        def meanwhile(path: Path, content: bytes) -> None:
            if path.name == str(len(entries)):
                begun.append(threads.submit(Witness, folder))
                assert not wait(begun, timeout=0.3).done
            writing(path, content)

        monkeypatch.setattr(witness, "_replace", meanwhile)
        await take(world, first)
        second = begun[0].result(timeout=10)
    assert (list(second.entries()), list(Witness(folder).entries())) == (entries, entries)
    monkeypatch.undo()
    await world.granted()
    await take(world, second)
    with pytest.raises(LogRefused, match="another witness is at work"):
        await take(world, first)
    assert list(Witness(folder).entries()) == await entries_of(world)
