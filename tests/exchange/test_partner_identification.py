"""Identification of the partner of a request, and how the privacy manager's answers are read, against the real one."""

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from exchange.decisions import TYPES, PrivacyManager
from exchange.partners import CredentialsInvalid, Customers, Partners
from exchange.requests import Credential, RequestRefused
from exchange.settings import ExchangeSettings, require_usable
from exchange.uwlr import Call, Fault
from tests.worlds.world import World

KEY = "een-willekeurige-sleutel"
CREDENTIAL = Credential("K-1", "Rekenrijk B.V.", KEY)
KNOWN = {
    "klantcode": "K-1",
    "klantnaam": "Rekenrijk B.V.",
    "sleutelSha256": hashlib.sha256(KEY.encode()).hexdigest(),
    "clientId": "rekenrijk",
}
Headers = list[tuple[bytes, bytes]]


def customers_in(folder: Path, *listed: Any) -> Customers:
    path = folder / "credentials.json"
    path.write_text(json.dumps(listed), encoding="utf-8")
    return Customers.read(path)


@pytest.fixture
def manager(world: World) -> PrivacyManager:
    return PrivacyManager(world.client, "http://test", lambda: world.token("gateway"), 5)


@pytest.fixture
def customers(tmp_path: Path) -> Customers:
    return customers_in(tmp_path, KNOWN)


async def refused(partners: Partners, headers: Headers, credential: Credential | None = None) -> Fault:
    with pytest.raises(RequestRefused) as refusal:
        await partners.client_id(headers, credential)
    return refusal.value.fault


# -- identification of the partner ------------------------------------------------------------------------------------


async def test_a_partner_is_known_by_its_autorisatie(manager: PrivacyManager, customers: Customers) -> None:
    partners = Partners(customers, manager, trusts_client_id=False)
    assert await partners.client_id([], CREDENTIAL) == "rekenrijk"
    assert await refused(partners, [], Credential("K-1", "Rekenrijk B.V.", "een andere")) is Fault.NOT_AUTHORISED
    assert await refused(partners, [], Credential("K-2", "Rekenrijk B.V.", KEY)) is Fault.UNKNOWN_CUSTOMER
    assert await refused(partners, []) is Fault.UNKNOWN_CUSTOMER
    assert KEY not in repr(CREDENTIAL)


async def test_a_partner_is_known_by_its_own_token(world: World, manager: PrivacyManager, customers: Customers) -> None:
    partners = Partners(customers, manager, trusts_client_id=False)
    token = world.token("partner", client_id="taalreis")
    given = [(b"authorization", f"Bearer {token}".encode())]
    assert await partners.client_id(given, CREDENTIAL) == "taalreis"
    for other in (f"Bearer {world.token('operator')}", f"Bearer {token[:-4]}AAAA", "Basic x", "Bearer é"):
        assert await refused(partners, [(b"authorization", other.encode("latin-1"))]) is Fault.UNKNOWN_CUSTOMER
    assert await refused(partners, [*given, *given]) is Fault.UNKNOWN_CUSTOMER


async def test_a_gateway_speaks_for_its_clients_only_where_it_is_trusted(
    manager: PrivacyManager, customers: Customers
) -> None:
    named = [(b"x-partner-client-id", b"taalreis")]
    trusting = Partners(customers, manager, trusts_client_id=True)
    assert await trusting.client_id(named, CREDENTIAL) == "taalreis"
    assert await refused(trusting, [*named, *named]) is Fault.UNKNOWN_CUSTOMER
    assert await refused(trusting, [*named, (b"authorization", b"Bearer x")]) is Fault.UNKNOWN_CUSTOMER
    assert await refused(Partners(customers, manager, False), named, CREDENTIAL) is Fault.UNKNOWN_CUSTOMER


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ([{**KNOWN, "sleutelSha256": KEY}], "0.sleutelSha256"),
        ([{**KNOWN, "klantcode": ""}], "0.klantcode"),
        ([{**KNOWN, "sleutel": KEY}], "0.sleutel"),
        ([KNOWN, {**KNOWN, "clientId": "taalreis"}], "K-1 is there twice"),
    ],
)
def test_a_file_of_credentials_that_is_wrong_is_refused(tmp_path: Path, listed: list[Any], said: str) -> None:
    with pytest.raises(CredentialsInvalid, match=said) as refusal:
        customers_in(tmp_path, *listed)
    assert KEY not in str(refusal.value)


def test_a_file_of_credentials_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CredentialsInvalid, match="nowhere"):
        Customers.read(tmp_path / "nowhere.json")
    assert Customers.read(None).known == {}


def test_settings_with_which_nothing_could_be_released_are_refused() -> None:
    with pytest.raises(ValidationError):
        ExchangeSettings(upstream="ftp://las", manager="http://127.0.0.1:8000")
    with pytest.raises(ValueError, match="needs an access token"):
        require_usable(ExchangeSettings(upstream="http://las/uwlr", manager="http://127.0.0.1:8000"))


# -- what may be released ---------------------------------------------------------------------------------------------


async def test_what_was_granted_may_be_released(world: World, manager: PrivacyManager) -> None:
    await world.granted()
    release = await manager.release("rekenrijk", "16SW", Call.PUPILS)
    assert release["leerling"] == {"@eckid", "@key", "achternaam", "voorvoegsel", "roepnaam"}
    assert "brincode" in release["school"]
    assert release["docent"] == release["groep"] == frozenset()


@pytest.mark.parametrize(
    ("client_id", "place", "call", "fault"),
    [
        ("niemand", "16SW", Call.PUPILS, Fault.UNKNOWN_CUSTOMER),
        ("rekenrijk", "17TX", Call.PUPILS, Fault.NOT_AUTHORISED),
        ("rekenrijk", "99ZZ", Call.STRUCTURE, Fault.NOT_AUTHORISED),
        ("rekenrijk", "16SW", Call.TEACHERS, Fault.NOT_AUTHORISED),
    ],
)
async def test_what_was_not_granted_is_a_fault(
    world: World, manager: PrivacyManager, client_id: str, place: str, call: Call, fault: Fault
) -> None:
    await world.granted()
    with pytest.raises(RequestRefused) as refusal:
        await manager.release(client_id, place, call)
    assert refusal.value.fault is fault


def permit(*fields: str, **more: Any) -> dict[str, Any]:
    return {"decision": True, "context": {"reason": "granted", "revision": 7, "fields": list(fields), **more}}


def odd_answers() -> Iterator[tuple[str, httpx2.Response]]:
    four = [permit("naam")] * len(TYPES)
    yield "no JSON", httpx2.Response(200, content=b"<html>")
    yield "nothing", httpx2.Response(200, content=b"")
    yield "an error", httpx2.Response(500, json={"evaluations": four})
    yield "a redirect", httpx2.Response(302, headers={"Location": "/elders"}, json={"evaluations": four})
    packed = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    yield (
        "packed",
        httpx2.Response(200, headers=packed, content=gzip.compress(json.dumps({"evaluations": four}).encode())),
    )
    yield "too large", httpx2.Response(200, content=json.dumps({"evaluations": four}).encode() + b" " * 300_000)
    yield "no evaluations", httpx2.Response(200, json={"decision": True})
    yield "too few", httpx2.Response(200, json={"evaluations": four[1:]})
    yield "too many", httpx2.Response(200, json={"evaluations": [*four, *four]})
    yield (
        "a word for a permit",
        httpx2.Response(200, json={"evaluations": [{**four[0], "decision": "true"}, *four[1:]]}),
    )
    yield "a number for a permit", httpx2.Response(200, json={"evaluations": [{**four[0], "decision": 1}, *four[1:]]})
    yield "no context", httpx2.Response(200, json={"evaluations": [{"decision": True}] * 4})
    yield "fields in a text", httpx2.Response(200, json={"evaluations": [permit(fields="naam")] * 4})


@pytest.mark.parametrize(("name", "answer"), list(odd_answers()), ids=[name for name, _ in odd_answers()])
async def test_what_is_not_in_the_contracts_shape_is_no_permit(name: str, answer: httpx2.Response) -> None:
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(lambda _: answer)) as client:
        manager = PrivacyManager(client, "http://manager", lambda: "een-token", 5)
        with pytest.raises(RequestRefused) as refusal:
            await manager.release("rekenrijk", "16SW", Call.STRUCTURE)
        assert refusal.value.fault is Fault.UNAVAILABLE


async def test_fields_that_the_catalogue_does_not_release_are_not_taken_from_anyone() -> None:
    answer = {"evaluations": [permit("brincode", "bsn"), permit("naam"), permit("@eckid", "bsn", "fotourl"), permit()]}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json=answer))
    async with httpx2.AsyncClient(transport=transport) as client:
        release = await PrivacyManager(client, "http://manager", lambda: "x", 5).release("a", "16SW", Call.STRUCTURE)
    assert release == {"school": {"brincode"}, "groep": {"naam"}, "leerling": {"@eckid"}, "docent": frozenset()}
