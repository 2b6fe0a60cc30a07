"""Erasing who acted: nothing of the name is in database, write-ahead log or export, and every proof still holds."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from sqlmodel import select

from api.evidence.exports import write_export
from api.evidence.proofs import checkpoint
from api.evidence.receipts import verified as verified_receipt
from api.evidence.verification import log_faults
from api.security import sealing
from models.log.events import Event
from models.log.sealed_texts import SealedText, commitment
from models.log.signed_notes import checkpoint_in
from models.log.verification import Audit
from tests.incidents.reporters import reported
from tests.worlds.world import Answer, World
from tests.worlds.world_evidence import entries_of, keys_of, where_it_is

#: Nobody else's: the write-ahead log of a PostgreSQL is one for all its databases, and other tests write names in it.
SUBJECT = f"zq-sjoukje-{uuid.uuid4().hex}"


async def by_them(world: World, method: str, path: str, body: dict[str, Any], **headers: str) -> Answer:
    token = world.issuer.mint("operator", subject=SUBJECT, lifetime=timedelta(hours=1), now=datetime.now(UTC))
    answer = await world.call(method, path, token, body, **headers)
    assert answer.status_code in (200, 201), answer.text
    return answer


async def acted(world: World) -> dict[str, Any]:
    """Someone does all that leaves a name: revokes, checks a rule, takes an incident. How the incident is seen then."""
    given = await world.granted()
    reason = {"reason": f"Gevraagd door {SUBJECT}."}
    key = {"Idempotency-Key": "een-sleutel-van-ons"}
    await by_them(world, "POST", f"/v1/schools/16SW/grants/{given['grantId']}/_revoke", reason, **key)
    incident_id = (await reported(world))["incidentId"]
    await by_them(world, "POST", f"/v1/incidents/{incident_id}/_take", {"text": "Ik kijk ernaar."})
    rule = {"rule": "kvk", "evidence": "Gezien.", "source": "KvK"}
    checked = await by_them(world, "POST", "/v1/connections/rekenrijk/ground-rules", rule)
    assert checked.json()["checkedBy"] == SUBJECT
    seen: dict[str, Any] = (await world.operate("GET", f"/v1/incidents/{incident_id}")).json()
    return seen


async def erased(world: World) -> Answer:
    return await world.operate("POST", "/v1/actors/_erase", {"subject": SUBJECT})


async def test_after_an_erasure_the_name_is_nowhere_and_all_proofs_hold(world: World, tmp_path: Path) -> None:
    keys = keys_of(world)
    assert (await acted(world))["assignee"] == SUBJECT
    async with world.store.reading() as session:
        older = checkpoint_in((await checkpoint(session, keys)).encode(), keys.verifiers)
        revoked = (await session.exec(select(Event).where(Event.kind == "grant.revoked"))).one()
    receipt = (await world.operate("GET", f"/v1/receipts/{revoked.number}")).json()["receipt"]
    assert (await erased(world)).json()["commitment"] == revoked.actor

    export = tmp_path / "export.jsonl"
    await write_export(world.store, keys, export)
    assert SUBJECT.encode() not in export.read_bytes()
    assert await where_it_is(world, SUBJECT.encode()) == []
    assert await where_it_is(world, b"rekenrijk"), "the search finds what is there"
    async with world.store.reading() as session:
        assert await log_faults(session, Audit(older=[older])) == []
    assert verified_receipt(receipt, keys.jwks, keys.verifiers)["entry"]["actor"] == revoked.actor


async def test_whom_nobody_can_tell_any_more_is_told_as_nobody(world: World) -> None:
    incident_id = (await acted(world))["incidentId"]
    await erased(world)
    seen = (await world.operate("GET", f"/v1/incidents/{incident_id}")).json()
    assert seen["assignee"] is None
    assert [line["by"] for line in seen["course"]] == ["partner-subject", None]
    rules = (await world.operate("GET", "/v1/connections/rekenrijk/ground-rules")).json()["items"]
    assert sorted({str(rule["checkedBy"]) for rule in rules}) == ["None", "operator-subject"]
    assert (await erased(world)).status_code == 404


@pytest.mark.both_stores
async def test_a_commitment_can_be_checked_until_its_key_is_destroyed(world: World) -> None:
    await acted(world)
    assert world.store.sealing is not None
    async with world.store.reading() as session:
        lookup = world.store.sealing.lookup(SUBJECT)
        row = (await session.exec(select(SealedText).where(SealedText.lookup == lookup))).one()
    assert world.store.sealing.opened(row) == SUBJECT
    wrapped = row.key
    assert SUBJECT.encode() not in row.text
    assert commitment(wrapped[:32], SUBJECT) != row.commitment, "the key in the store is not the key"
    await erased(world)
    async with world.store.reading() as session:
        assert await sealing.named(session, [row.commitment]) == {}
    if world.store.is_sqlite:
        assert await where_it_is(world, wrapped) == []


async def test_who_acts_again_after_an_erasure_is_someone_new(world: World) -> None:
    await acted(world)
    before = (await erased(world)).json()["commitment"]
    await world.granted()
    await by_them(world, "POST", "/v1/connections/rekenrijk/_stop", {"reason": "Oefening."})
    async with world.store.reading() as session:
        stopped = (await session.exec(select(Event).where(Event.kind == "connection.stopped"))).one()
        assert await sealing.named(session, [stopped.actor]) == {stopped.actor: SUBJECT}
    assert stopped.actor != before


@pytest.mark.parametrize("remembered", [True, False], ids=["known to this process", "known to the store alone"])
async def test_who_erases_their_own_name_is_nowhere_afterwards(world: World, remembered: bool) -> None:
    await acted(world)
    token = world.issuer.mint("operator", subject=SUBJECT, lifetime=timedelta(hours=1), now=datetime.now(UTC))
    known = cast(Any, world.service)._app.state.store.sealing.known
    assert SUBJECT in known
    if not remembered:
        known.clear()
    done = await world.call("POST", "/v1/actors/_erase", token, {"subject": SUBJECT})
    assert done.status_code == 200
    last = (await entries_of(world))[-1]
    assert (last["kind"], last["actor"]) == ("actor.erased", done.json()["commitment"])
    assert world.store.sealing is not None
    async with world.store.reading() as session:
        kept = select(SealedText).where(SealedText.lookup == world.store.sealing.lookup(SUBJECT))
        assert (await session.exec(kept)).first() is None
    again = await world.call("POST", "/v1/actors/_erase", token, {"subject": SUBJECT})
    assert again.status_code == 404


async def test_nobody_is_erased_by_a_name_that_never_acted(world: World) -> None:
    await acted(world)
    for name in (SUBJECT.upper(), SUBJECT + "x", "privacy-manager"):
        assert (await world.operate("POST", "/v1/actors/_erase", {"subject": name})).status_code == 404
