"""A backup that was put back: the store is refused until what it lacks was replayed, or confirmed to be lost."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from api.app import NotReadyToServe, require_ready
from api.deletions.duties import KeepingDuties
from api.evidence.backup_recovery import ReplayRefused, confirm, keep_checkpoint, replay
from api.evidence.exports import write_export
from api.evidence.verification import faults, log_faults
from api.evidence.witness import Witness
from api.reminders.letters_job import Reminding
from api.settings import Mode, Settings
from api.store.store import Store
from models.consents.partners import Stage
from models.log.events import RememberedAnswer
from models.log.sealed_texts import SealedText
from models.log.verification import Audit
from tests.edu_v import both_sides
from tests.worlds.world import BASIS, OFFERED, World, world_on
from tests.worlds.world_evidence import entries_of, keys_in, keys_of, take, witness_of

pytestmark = pytest.mark.both_stores

WRITTEN = "Er klaagde een ouder van Jip Invented uit groep 7."


async def witnessed(world: World) -> Witness:
    """A witness with everything that the store's log has now, of which the checkpoint is kept outside the store too."""
    witness = witness_of(world, world.folder / "witness")
    await take(world, witness)
    await keep_checkpoint(world.store, world.folder / "known-checkpoint", keys_of(world))
    return witness


def kept_in(folder: Path) -> Path:
    """The one checkpoint that is kept there."""
    (found,) = folder.glob("known-checkpoint-*")
    return found


def settings_of(store_url: str, folder: Path) -> Settings:
    return Settings(mode=Mode.TEST, database_url=store_url, var_dir=folder)


@pytest.fixture
def backup(tmp_path: Path, sqlite_template: Path) -> Any:
    """A store on an SQLite file, with how to make a copy of it and to put that back."""
    path = tmp_path / "store.db"
    shutil.copy(sqlite_template, path)

    class Backup:
        url = f"sqlite+aiosqlite:///{path}"
        folder = tmp_path

        async def make(self, world: World) -> None:
            async with world.store.engine.connect() as connection:
                await connection.exec_driver_sql("ROLLBACK")
                await connection.exec_driver_sql(f"VACUUM INTO '{tmp_path / 'backup.db'}'")

        def put_back(self) -> None:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
            shutil.copy(tmp_path / "backup.db", path)

    return Backup()


@asynccontextmanager
async def store_at(url: str) -> AsyncIterator[Store]:
    store = Store(url)
    try:
        yield store
    finally:
        await store.aclose()


async def lived_on(world: World) -> None:
    """All that a later backup would have: a revocation, other connections with grants, a stop, a key, a withdrawal."""
    listed = (await world.administer("GET", "/grants")).json()["items"]
    await world.step(listed[0]["grantId"], "revoke", {"reason": "Niet meer nodig."})
    await world.register("taalhuis", kvk_number="90000002")
    await world.granted("taalhuis", location="16SW01")
    await world.operate("POST", "/v1/partners/90000002/_stop", {"reason": "Lek."})
    await world.operate("POST", "/v1/schools/16SW/keys", {"schoolkey": "las-1"})
    await world.register("meetlat", kvk_number="90000003")
    given = await world.granted("meetlat")
    await world.amend(given, scopes=["school.basis", "leerling.pseudoniem"])
    await world.bring("rekenrijk", Stage.WITHDRAWN)


async def restored_without_a_revocation(backup: Any) -> None:
    """A grant, a backup, a revocation; and then the backup is put back."""
    async with world_on(backup.url, backup.folder) as world:
        await world.register()
        given = await world.granted()
        await backup.make(world)
        await world.step(given["grantId"], "revoke")
        await witnessed(world)
    backup.put_back()


#: Withdrawn, stopped, narrowed; and one school that granted nothing.
EXPECTED = ["partner_not_eligible", "partner_not_eligible", "granted", "no_grant"]
ASKED = [("rekenrijk", "16SW"), ("taalhuis", "16SW01"), ("meetlat", "16SW"), ("meetlat", "17TX")]


async def answers(world: World) -> list[Any]:
    found = [(await world.ask(client, place)).json() for client, place in ASKED]
    return [(each["decision"], each["context"]["reason"], each["context"]["fields"]) for each in found]


async def test_an_old_backup_is_refused_until_the_replay_brought_every_change_back(backup: Any) -> None:
    async with world_on(backup.url, backup.folder) as world:
        await world.register()
        await world.granted()
        await backup.make(world)
        await lived_on(world)
        witness, before = await witnessed(world), await answers(world)
        export = backup.folder / "export.jsonl"
        await write_export(world.store, keys_of(world), export)
    backup.put_back()
    with pytest.raises(NotReadyToServe, match="an older backup was put back"):
        await require_ready(settings_of(backup.url, backup.folder))
    assert witness.last is not None
    async with store_at(backup.url) as store:
        counted = await replay(store, witness.entries(), witness.last)
    assert counted["grant.revoked"] == 1
    assert counted["grant.granted"] == 2
    async with world_on(backup.url, backup.folder, populated=True) as world:
        assert [reason for _, reason, _ in before] == EXPECTED
        assert await answers(world) == before
        async with world.store.reading() as session:
            audit = Audit(older=witness.checkpoints(), known=list(witness.entries()))
            assert [*await log_faults(session, audit), *await faults(session)] == []
        await world.operate("POST", "/v1/partners/90000002/_lift", {"reason": "Hersteld."})
        assert (await world.reason("taalhuis", "16SW01")) == "granted"


async def test_requests_are_as_they_were_after_the_replay_but_for_what_was_said(backup: Any) -> None:
    """One that was answered since the backup, one that was made since, and one that the connection changed since."""
    async with world_on(backup.url, backup.folder) as world:
        await world.register()
        token = world.token("partner", client_id="rekenrijk")
        asked = {"schools": ["16SW", "16SW01"], "scopes": BASIS, "message": "Alsjeblieft."}
        await world.call("POST", "/v1/consents/requests", token, asked)
        await backup.make(world)
        shown = (await world.administer("GET", "/requests")).json()["items"]
        of_school = next(each["requestId"] for each in shown if each["location"] is None)
        assert (await world.administer("POST", f"/requests/{of_school}/_accept", If_Match="*")).status_code == 200
        await world.call("POST", "/v1/consents/requests", token, {"schools": ["17TX"], "message": "U ook?"})
        change = {"scopes": {"required": BASIS, "optional": [*OFFERED[2:], "vestiging.basis"]}}
        assert (await world.operate("PATCH", "/v1/connections/rekenrijk", change, If_Match="*")).status_code == 200
        before = (await world.call("GET", "/v1/consents/requests", token)).json()["items"]
        witness = await witnessed(world)
    backup.put_back()
    assert witness.last is not None
    async with store_at(backup.url) as store:
        await replay(store, witness.entries(), witness.last)
    async with world_on(backup.url, backup.folder, populated=True) as world:
        after = (await world.call("GET", "/v1/consents/requests", token)).json()["items"]
        assert [each["status"] for each in before] == [each["status"] for each in after]
        assert {each["status"] for each in after} == {"open", "accepted"}
        lost = [each["requestId"] for each in before if each["message"] == "U ook?"]
        assert after == [{**each, "message": None} if each["requestId"] in lost else each for each in before]


async def test_deletion_duties_are_as_they_were_after_the_replay_but_for_what_was_said(backup: Any) -> None:
    """One that came about since the backup, one that was confirmed since."""
    async with world_on(backup.url, backup.folder) as world:
        await world.register()
        token, job = world.token("partner", client_id="rekenrijk"), KeepingDuties(world.store)
        letters = Reminding(world.store)
        await world.granted(brin="17TX", validUntil="2026-09-20T00:00:00Z")
        given = [await world.granted(location=location) for location in ("16SW00", "16SW01")]
        world.clock.advance(hours=1)
        await world.step(given[0]["grantId"], "revoke")
        await job.run()
        await backup.make(world)
        await world.step(given[1]["grantId"], "revoke")
        await job.run()
        while await letters.run():
            pass
        confirmed = f"/v1/consents/deletions/{given[0]['grantId']}/_confirm"
        assert (await world.call("POST", confirmed, token, {"statement": "Gewist."})).status_code == 200
        before = (await world.call("GET", "/v1/consents/deletions", token)).json()["items"]
        assert {each["status"] for each in before} == {"due", "confirmed"}
        written = (await world.call("GET", "/v1/consents/reminders", token)).json()["items"]
        assert len(written) == 1
        witness = await witnessed(world)
    backup.put_back()
    assert witness.last is not None
    async with store_at(backup.url) as store:
        await replay(store, witness.entries(), witness.last)
    async with world_on(backup.url, backup.folder, populated=True) as world:
        world.clock.advance(hours=1)
        after = (await world.call("GET", "/v1/consents/deletions", token)).json()["items"]
        assert after == [{**each, "statement": None} for each in before]
        assert await KeepingDuties(world.store).run() == 0
        letters = Reminding(world.store)
        while await letters.run():
            pass
        assert (await world.call("GET", "/v1/consents/reminders", token)).json()["items"] == written


async def test_what_either_side_calls_a_consent_is_as_it_was_after_the_replay(backup: Any) -> None:
    """A request that is in the backup, what it led to since, and how both sides then called that."""
    async with world_on(backup.url, backup.folder) as world:
        await world.register()
        asked, provider, consumer = (both_sides.new_reference() for _ in range(3))
        assert (await both_sides.ask(world, asked)).status_code == 201
        await backup.make(world)
        named = {"providerReferenceId": provider, "consumerReferenceId": asked}
        assert (await both_sides.notify(world, scopes=BASIS, **named)).status_code == 201
        assert (await both_sides.confirm(world, provider, consumer)).status_code == 201
        assert (await both_sides.ask(world, both_sides.new_reference(), "17TX")).status_code == 201
        before = await both_sides.statuses(world)
        witness = await witnessed(world)
    backup.put_back()
    assert witness.last is not None
    async with store_at(backup.url) as store:
        await replay(store, witness.entries(), witness.last)
    async with world_on(backup.url, backup.folder, populated=True) as world:
        assert await both_sides.statuses(world) == before
        assert {each["consumerReferenceId"] for each in before} > {consumer}
        query = f"statuses/school?consumerReferenceId={asked}"
        assert (await both_sides.by_partner(world, "GET", query)).json()["providerReferenceId"] == provider


async def test_what_was_erased_since_an_old_backup_is_erased_again_by_the_replay(backup: Any) -> None:
    """A name and two reasons: one of them is in the backup, the other came after it and was never in that."""
    async with world_on(backup.url, backup.folder) as world:
        await world.register()
        given = await world.granted()
        await world.step(given["grantId"], "suspend", {"reason": WRITTEN}, **{"Idempotency-Key": "een-sleutel"})
        suspended = (await entries_of(world))[-1]
        await backup.make(world)
        await world.step(given["grantId"], "revoke", {"reason": WRITTEN})
        for number in (suspended["number"], suspended["number"] + 1):
            assert (await world.operate("POST", f"/v1/log/entries/{number}/reason/_erase")).status_code == 200
        assert (await world.operate("POST", "/v1/actors/_erase", {"subject": "school-subject"})).status_code == 200
        witness = await witnessed(world)
    backup.put_back()
    commitments = [suspended["actor"], suspended["reason"]]
    async with store_at(backup.url) as store, store.reading() as session:
        assert [await session.get(SealedText, each) is not None for each in commitments] == [True, True]
    assert witness.last is not None
    async with store_at(backup.url) as store:
        counted = await replay(store, witness.entries(), witness.last)
        assert (counted["reason.erased"], counted["actor.erased"]) == (2, 1)
        async with store.reading() as session:
            assert [await session.get(SealedText, each) for each in commitments] == [None, None]
            assert [each.fingerprint for each in await session.exec(select(RememberedAnswer))] == [""]
            audit = Audit(older=witness.checkpoints(), known=list(witness.entries()))
            assert [*await log_faults(session, audit), *await faults(session)] == []


async def test_a_confirmed_backup_is_served_and_the_loss_is_in_the_log(backup: Any) -> None:
    await restored_without_a_revocation(backup)
    keys = keys_in(backup.folder)
    with pytest.raises(NotReadyToServe):
        await require_ready(settings_of(backup.url, backup.folder))
    async with store_at(backup.url) as store:
        await confirm(store, backup.folder / "known-checkpoint", keys)
    await require_ready(settings_of(backup.url, backup.folder))
    async with world_on(backup.url, backup.folder, populated=True) as world:
        last = (await entries_of(world))[-1]
    assert last["kind"] == "store.confirmed"
    assert last["state"]["known"] > last["state"]["found"]


async def test_another_history_of_the_same_length_is_refused(backup: Any) -> None:
    await restored_without_a_revocation(backup)
    kept = kept_in(backup.folder)
    aside = kept.rename(backup.folder / "aside")
    async with world_on(backup.url, backup.folder, populated=True) as world:
        for _ in range(3):
            await world.operate("PATCH", "/v1/partners/90000001", {"name": "Anders"}, **{"If-Match": "*"})
    aside.replace(kept)
    with pytest.raises(NotReadyToServe, match="are not those that it had"):
        await require_ready(settings_of(backup.url, backup.folder))


async def test_entries_of_another_log_are_not_replayed(backup: Any) -> None:
    async with world_on(backup.url, backup.folder) as world:
        await world.register()
        await backup.make(world)
        await world.granted()
        witness = await witnessed(world)
    backup.put_back()
    assert witness.last is not None
    entries = list(witness.entries())
    async with store_at(backup.url) as store:
        for wrong in (
            entries[:-1],
            entries[:2],
            [{**each, "mark": "0" * 32} for each in entries],
            [*entries[:-1], {"number": len(entries)}],
        ):
            with pytest.raises(ReplayRefused):
                await replay(store, wrong, witness.last)
        await replay(store, entries, witness.last)
        with pytest.raises(ReplayRefused, match="lacks none"):
            await replay(store, entries, witness.last)


async def test_a_process_keeps_the_newest_checkpoint_and_never_an_older_one(store_url: str, tmp_path: Path) -> None:
    path = tmp_path / "known-checkpoint"
    async with world_on(store_url, tmp_path) as world:
        keys = keys_in(tmp_path)
        await world.register()
        size = await keep_checkpoint(world.store, path, keys)
        kept = kept_in(tmp_path).read_bytes()
        assert await keep_checkpoint(world.store, path, keys, size) == size
        await world.granted()
        assert await keep_checkpoint(world.store, path, keys, size) > size
        newer = kept_in(tmp_path).read_bytes()
    assert newer != kept
    # A process that still sees less, as of a standby, does not put that in its place.
    async with store_at(store_url) as store:
        await keep_checkpoint(store, path, keys)
    assert kept_in(tmp_path).read_bytes() == newer


async def test_a_kept_checkpoint_that_nobody_signed_is_refused(store_url: str, tmp_path: Path) -> None:
    async with world_on(store_url, tmp_path) as world:
        await world.register()
        await witnessed(world)
    path = kept_in(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"\n1", b"\n2", 1) + b"x")
    with pytest.raises(ValueError, match="known-checkpoint"):
        await require_ready(settings_of(store_url, tmp_path))


async def test_another_store_of_the_same_installation_has_a_checkpoint_of_its_own(
    backup: Any, sqlite_template: Path
) -> None:
    """As when a demo is started on another store: that one is no older backup of the first."""
    async with world_on(backup.url, backup.folder) as world:
        await world.register()
        await world.granted()
        await witnessed(world)
    other = backup.folder / "other.db"
    shutil.copy(sqlite_template, other)
    url = f"sqlite+aiosqlite:///{other}"
    await require_ready(settings_of(url, backup.folder))
    async with world_on(url, backup.folder) as world:
        await keep_checkpoint(world.store, backup.folder / "known-checkpoint", keys_of(world))
    assert len(list(backup.folder.glob("known-checkpoint-*"))) == 2
    await require_ready(settings_of(backup.url, backup.folder))
    await require_ready(settings_of(url, backup.folder))
