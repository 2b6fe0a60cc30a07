"""Receipts: they say what was permitted, hold for whoever has the public keys, and not after any change."""

import base64
import json
from functools import partial
from typing import Any

import pytest
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from api.evidence.receipts import ReceiptRefused, verified
from api.registry.connection_routes import registered
from api.security import evidence_keys
from api.store.events import SYSTEM, record
from models.consents.partners import Connection, RecipientRole
from models.log.log_entries import canonical
from models.vocabulary.event_kinds import EventKind
from tests.effort import sample
from tests.worlds.world import NAMES, PURPOSE, Answer, World
from tests.worlds.world_evidence import keys_of


async def receipts_of(world: World, grant_id: str) -> list[dict[str, Any]]:
    """The receipts of all that happened to a grant, as its school gets them."""
    history = (await world.administer("GET", f"/grants/{grant_id}/history")).json()["items"]
    token = world.token("school", school="16SW")
    answers = [await world.call("GET", f"/v1/receipts/{each['number']}", token) for each in history]
    assert {answer.status_code for answer in answers} == {200}
    return [answer.json() for answer in answers]


async def lived(world: World) -> str:
    given = await world.granted()
    await world.amend(given, scopes=["school.basis", "leerling.pseudoniem"])
    await world.step(given["grantId"], "revoke", {"reason": "Klaar, zegt Sjoukje."})
    return str(given["grantId"])


def by_joserfc(receipt: str, jwks: Any) -> dict[str, Any]:
    found = jws.deserialize_compact(receipt, KeySet.import_key_set(jwks), algorithms=["ES256"])
    said: dict[str, Any] = json.loads(found.payload)
    return said


async def test_grant_amendment_and_revocation_each_have_a_receipt(world: World) -> None:
    keys = keys_of(world)
    receipts = await receipts_of(world, await lived(world))
    assert [each["event"] for each in receipts] == ["grant.granted", "grant.amended", "grant.revoked"]
    for each in receipts:
        said = verified(each["receipt"], keys.jwks, keys.verifiers)
        assert said == by_joserfc(each["receipt"], keys.jwks)
        assert (said["entry"]["number"], said["entry"]["kind"]) == (each["number"], each["event"])
        assert "Sjoukje" not in str(said)
        assert "-subject" not in str(said)
    record = verified(receipts[0]["receipt"], keys.jwks, keys.verifiers)["record"]
    assert record["dpv:hasLegalBasis"]["@type"] == "dpv:ControllerProcessorAgreement"
    assert "instruction of the controller" in record["dpv:hasLegalBasis"]["dct:description"]
    assert record["dpv:hasDataController"]["pm:brin"] == "16SW"
    assert [each["dct:identifier"] for each in record["dpv:hasProcess"]["dpv:hasPersonalData"]] == sorted(NAMES)
    assert [each["dct:identifier"] for each in record["dpv:hasProcess"]["dpv:hasPurpose"]] == [PURPOSE]
    assert record["dpv:hasDataSubject"] == ["dpv:Student"]


async def test_a_receipt_is_refused_after_any_change_of_a_byte(world: World) -> None:
    keys = keys_of(world)
    receipt = (await receipts_of(world, await lived(world)))[0]["receipt"]
    held = []
    # In make test a tenth, and of each part the first and the last: at its end a base64url text may have spare bits.
    for at in sample(range(len(receipt)), partial(edge_in, receipt)):
        for other in ({"A": "B", ".": "A"}.get(receipt[at], "A"), "!", "="):
            changed = receipt[:at] + other + receipt[at + 1 :]
            try:
                verified(changed, keys.jwks, keys.verifiers)
                held.append((at, other, "ours"))
            except ReceiptRefused:
                pass
            try:
                by_joserfc(changed, keys.jwks)
                held.append((at, other, "joserfc"))
            except (JoseError, ValueError):
                pass
    assert held == []


def edge_in(receipt: str, at: int) -> int | None:
    """The place itself where a part of the receipt begins or ends, or a dot parts two of them."""
    return at if "." in receipt[max(at - 1, 0) : at + 2] or at in (0, len(receipt) - 1) else None


async def test_a_receipt_of_another_log_or_with_a_part_exchanged_is_refused(
    world: World, tmp_path_factory: Any
) -> None:
    keys = keys_of(world)
    others = evidence_keys.make(tmp_path_factory.mktemp("others") / "keys.json")
    receipt = (await receipts_of(world, await lived(world)))[0]["receipt"]
    for jwks, verifiers in (
        (others.jwks, keys.verifiers),
        (keys.jwks, others.verifiers),
        ({"keys": []}, keys.verifiers),
    ):
        with pytest.raises(ReceiptRefused):
            verified(receipt, jwks, verifiers)
    forged = sealed_again(receipt, others.jwks["keys"][0]["kid"])
    with pytest.raises(ReceiptRefused):
        verified(forged, keys.jwks, keys.verifiers)


def sealed_again(receipt: str, kid: str) -> str:
    header = {"alg": "ES256", "kid": kid, "typ": "privacy-manager-receipt+jws"}
    encoded = base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
    return ".".join([encoded, *receipt.split(".")[1:]])


@pytest.mark.parametrize("text", ["", ".", "..", "...", "a.b.c", "é.é.é", "e30.e30.e30", "e30." * 100_000])
async def test_what_is_no_receipt_is_refused(world: World, text: str) -> None:
    keys = keys_of(world)
    with pytest.raises(ReceiptRefused):
        verified(text, keys.jwks, keys.verifiers)


async def test_a_receipt_holds_with_the_older_key_after_a_rotation(world: World) -> None:
    path = world.folder / "evidence-keys.json"
    receipt = (await receipts_of(world, await lived(world)))[0]["receipt"]
    evidence_keys.rotate(path)
    rotated = evidence_keys.read(path)
    assert len(rotated.notes) == len(rotated.receipts) == 2
    assert verified(receipt, rotated.jwks, rotated.verifiers)
    evidence_keys.retire(path)
    retired = evidence_keys.read(path)
    assert len(retired.notes) == len(retired.receipts) == 1
    assert verified(receipt, retired.jwks, retired.verifiers)


async def seen(world: World, number: int, role: str, **whose: str) -> Answer:
    return await world.call("GET", f"/v1/receipts/{number}", world.token(role, **whose))


async def test_a_receipt_is_for_its_school_its_partner_and_operators(world: World) -> None:
    receipts = await receipts_of(world, await lived(world))
    number = receipts[0]["number"]
    for role, whose in (("school", {"school": "16SW"}), ("partner", {"client_id": "rekenrijk"}), ("operator", {})):
        assert (await seen(world, number, role, **whose)).json()["event"] == "grant.granted"
    for role, whose in (("school", {"school": "17TX"}), ("partner", {"client_id": "een-ander"})):
        assert (await seen(world, number, role, **whose)).status_code == 404
    assert (await seen(world, 1, "operator")).status_code == 404


async def test_of_what_is_beyond_the_log_there_is_no_receipt(world: World) -> None:
    await lived(world)
    for number in (2**31 - 1, 2**31, 999_999_999_999_999):
        assert (await seen(world, number, "operator")).status_code == 404


async def test_a_recipient_that_is_a_controller_is_given_no_instruction(world: World) -> None:
    async with world.store.writing() as write:
        connection = await write.session.get_one(Connection, "rekenrijk")
        connection.recipient_role = RecipientRole.CONTROLLER
        record(
            write, EventKind.CONNECTION_CHANGED, SYSTEM, registered(connection).model_dump(mode="json", by_alias=True)
        )
    keys, given = keys_of(world), await world.granted()
    receipt = (await receipts_of(world, given["grantId"]))[0]
    said = verified(receipt["receipt"], keys.jwks, keys.verifiers)["record"]
    assert said["dpv:hasLegalBasis"]["@type"] == "dpv:LegalBasis"
    assert "dpv:hasDataProcessor" not in said["dpv:hasProcess"]
    page = await world.call("GET", f"/v1/receipts/{receipt['number']}/page", world.token("operator"))
    assert "andere verwerkingsverantwoordelijke" in page.text
    assert "verwerker (AVG" not in page.text


async def test_the_page_says_it_in_dutch_and_english_and_runs_nothing(world: World) -> None:
    named = {"name": "<script>alert(1)</script> & Zn"}
    assert (await world.operate("PATCH", "/v1/partners/90000001", named, **{"If-Match": "*"})).status_code == 200
    number = (await receipts_of(world, (await world.granted())["grantId"]))[0]["number"]
    answer = await world.call("GET", f"/v1/receipts/{number}/page", world.token("school", school="16SW"))
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    for text in (
        "Toestemming verleend",
        "Permission granted",
        "School 16SW",
        "leerling.naam",
        "verwerker",
        "controller",
    ):
        assert text in answer.text
    assert "<script>" not in answer.text


async def test_the_entry_in_a_receipt_is_the_one_in_the_log(world: World) -> None:
    keys = keys_of(world)
    for each in await receipts_of(world, await lived(world)):
        entry = verified(each["receipt"], keys.jwks, keys.verifiers)["entry"]
        page = await world.operate("GET", f"/v1/log/entries?after={each['number'] - 1}&limit=1")
        assert canonical(page.json()["items"][0]) == canonical(entry)
