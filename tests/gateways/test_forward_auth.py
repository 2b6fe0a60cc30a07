"""Forward-auth: whom a gateway speaks for, which request it holds, and that nothing but a permit is a 200."""

import json
import time
from pathlib import Path
from typing import Any, cast

import pytest

from api.app import NotReadyToServe, create_app, require_ready
from api.gateways.forward_auth import PARTNER_PATH, PATH, Authorize
from api.security.tokens import DEMO_AUDIENCE, DEMO_ISSUER
from api.settings import Mode, Settings
from models.decision.route_table import RouteTable
from tests.security.hostile_tokens import hostile_tokens
from tests.security.signing_keys import SigningKey, good_claims
from tests.worlds.world import Answer, World

ROUTES = """
GET,HEAD  /las/{brin}/leerlingen{?page}  leerling  {brin}  leerling.naam
GET       /las/{brin}/docenten           docent    {brin}
"""
PUPILS = "/las/16SW/leerlingen"


@pytest.fixture
async def gate(world: World) -> World:
    """A world whose gateways hold requests by `ROUTES`, with the pupils' names granted to `rekenrijk`."""
    cast(Authorize, world.service.hooks[PATH]).routes = RouteTable.read(ROUTES)
    await world.granted()
    return world


def bearer(token: str) -> str:
    return f"Bearer {token}"


def refused(answer: Answer, status: int, slug: str) -> bool:
    document = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert not [name for name in answer.headers if name.startswith("x-consent")]
    return answer.status_code == status and document["type"].endswith(f"/{slug}") and document["decision"] is False


# -- permit and deny --------------------------------------------------------------------------------------------------


async def test_a_permit_says_what_may_be_released(gate: World) -> None:
    answer = await gate.hold("GET", PUPILS)
    assert answer.status_code == 200
    assert answer.headers["x-consent-scopes"] == "leerling.pseudoniem leerling.naam"
    assert answer.headers["x-consent-fields"] == "@eckid @key achternaam voorvoegsel roepnaam"
    decision = (await gate.ask()).json()["context"]
    assert answer.headers["x-consent-grant"] == decision["grantId"]
    assert answer.headers["x-consent-revision"] == str(decision["revision"])


async def test_a_deny_is_403_with_its_reason(gate: World) -> None:
    answer = await gate.hold("GET", "/las/17TX/leerlingen")
    assert refused(answer, 403, "not_released")
    assert answer.json()["reason"] == "no_grant"


async def test_a_type_that_is_not_granted_is_denied(gate: World) -> None:
    assert (await gate.hold("GET", "/las/16SW/docenten")).json()["reason"] == "scope_not_granted"


async def test_a_revoked_grant_denies_the_next_request(gate: World) -> None:
    grant_id = (await gate.hold("GET", PUPILS)).headers["x-consent-grant"]
    assert (await gate.step(grant_id, "revoke")).status_code == 200
    assert (await gate.hold("GET", PUPILS)).json()["reason"] == "revoked"


@pytest.mark.parametrize("target", ["/las/16SW/leerlingen/", "/las/16SW%2Fleerlingen", "/las/x/../16SW/leerlingen", ""])
async def test_a_request_that_no_route_names_is_denied(gate: World, target: str) -> None:
    assert refused(await gate.hold("GET", target), 403, "not_released")


async def test_without_a_route_table_everything_is_denied(world: World) -> None:
    await world.granted()
    assert refused(await world.hold("GET", PUPILS), 403, "not_released")


async def test_a_store_out_of_reach_is_503(gate: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away() -> Any:
        raise OSError("gone")

    monkeypatch.setattr(cast(Authorize, gate.service.hooks[PATH]).current._source, "connect", away)
    answer = await gate.hold("GET", PUPILS)
    assert refused(answer, 503, "store_unreachable")
    assert answer.headers["retry-after"] == "1"


async def test_a_defect_releases_nothing(gate: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Authorize, "client_id", None)
    assert refused(await gate.hold("GET", PUPILS), 500, "internal_error")


# -- which request is held --------------------------------------------------------------------------------------------


def told(**headers: str) -> dict[str, str]:
    """Headers that say which request is held, in place of the usual ones."""
    return {"X_Forwarded_Method": "", "X_Forwarded_Uri": "", **headers}


async def test_nginx_tells_it_in_its_own_headers(gate: World) -> None:
    answer = await gate.hold("", "", **told(X_Original_Method="GET", X_Original_URI=PUPILS))
    assert answer.status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_envoy_tells_it_by_the_path_behind_ours(gate: World, method: str) -> None:
    headers = {
        "X-Gateway-Authorization": bearer(gate.token("gateway")),
        "Authorization": bearer(gate.token("partner", client_id="rekenrijk")),
    }
    answer = await gate.client.request(method, f"{PATH}{PUPILS}?page=2", headers=headers)
    assert answer.status_code == 200
    answer = await gate.client.request(method, f"{PATH}{PUPILS}?pagina=2", headers=headers)
    assert answer.status_code == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"])
async def test_it_is_asked_with_any_method(gate: World, method: str) -> None:
    headers = {
        "X-Gateway-Authorization": bearer(gate.token("gateway")),
        "X-Partner-Client-Id": "rekenrijk",
        "X-Forwarded-Method": "GET",
        "X-Forwarded-Uri": PUPILS,
    }
    assert (await gate.client.request(method, PATH, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        told(),
        told(X_Forwarded_Method="GET"),
        told(X_Forwarded_Uri=PUPILS),
        told(X_Original_Method="GET", X_Forwarded_Uri=PUPILS),
        {"X_Original_URI": PUPILS},
        {"X_Original_Method": "GET", "X_Original_URI": PUPILS},
    ],
)
async def test_what_is_told_in_no_way_or_in_two_is_denied(gate: World, headers: dict[str, str]) -> None:
    assert refused(await gate.hold("GET", PUPILS, **headers), 403, "not_released")


@pytest.mark.parametrize("name", ["X-Forwarded-Uri", "X-Forwarded-Method", "X-Partner-Client-Id"])
async def test_a_header_that_comes_twice_is_denied(gate: World, name: str) -> None:
    headers = [
        ("X-Gateway-Authorization", bearer(gate.token("gateway"))),
        ("X-Partner-Client-Id", "rekenrijk"),
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-Uri", PUPILS),
    ]
    answer = await gate.client.get(PATH, headers=[*headers, *(each for each in headers if each[0] == name)])
    assert refused(answer, 403, "not_released")


@pytest.mark.parametrize("suffix", [PUPILS, "/", "?page=1"])
async def test_a_path_behind_ours_beside_headers_is_denied(gate: World, suffix: str) -> None:
    headers = {
        "X-Gateway-Authorization": bearer(gate.token("gateway")),
        "X-Partner-Client-Id": "rekenrijk",
        "X-Forwarded-Method": "GET",
        "X-Forwarded-Uri": PUPILS,
    }
    assert refused(await gate.client.get(PATH + suffix, headers=headers), 403, "not_released")


async def test_an_over_long_address_is_denied(gate: World) -> None:
    assert refused(await gate.hold("GET", f"{PUPILS}?page={'1' * 9_000}"), 403, "not_released")
    headers = {"X-Gateway-Authorization": bearer(gate.token("gateway")), "X-Partner-Client-Id": "rekenrijk"}
    answer = await gate.client.get(f"{PATH}{PUPILS}?page={'1' * 9_000}", headers=headers)
    assert refused(answer, 403, "not_released")


@pytest.mark.parametrize("odd", ["\x00", "é", "a b", "\t", "%00", "/" * 5_000, "{brin}"])
async def test_odd_values_are_never_an_error_of_the_service(gate: World, odd: str) -> None:
    for name in ("X-Forwarded-Method", "X-Forwarded-Uri", "X-Partner-Client-Id"):
        headers: dict[str, Any] = {
            "X-Gateway-Authorization": bearer(gate.token("gateway")),
            "X-Partner-Client-Id": "rekenrijk",
            "X-Forwarded-Method": "GET",
            "X-Forwarded-Uri": PUPILS,
            name: odd.encode(),
        }
        assert (await gate.client.get(PATH, headers=headers)).status_code in (401, 403)


# -- who asks, and for whom -------------------------------------------------------------------------------------------


async def test_a_partner_is_known_by_its_own_token(gate: World) -> None:
    token = gate.token("partner", client_id="rekenrijk")
    assert (await gate.hold("GET", PUPILS, None, Authorization=bearer(token))).status_code == 200
    other = gate.token("partner", client_id="taalreis")
    assert (await gate.hold("GET", PUPILS, None, Authorization=bearer(other))).json()["reason"] == "unknown_partner"


async def test_a_partner_that_is_named_in_two_ways_is_denied(gate: World) -> None:
    token = gate.token("partner", client_id="rekenrijk")
    assert refused(await gate.hold("GET", PUPILS, Authorization=bearer(token)), 403, "not_released")


async def test_without_a_partner_the_answer_is_401(gate: World) -> None:
    assert refused(await gate.hold("GET", PUPILS, None), 401, "unauthenticated")


@pytest.mark.parametrize("role", ["school", "gateway", "operator"])
async def test_a_token_of_another_role_is_no_partners(gate: World, role: str) -> None:
    token = gate.token(role, school="16SW" if role == "school" else None)
    assert refused(await gate.hold("GET", PUPILS, None, Authorization=bearer(token)), 403, "forbidden")


@pytest.mark.parametrize("path", [PATH, PARTNER_PATH])
async def test_without_the_gateways_credential_the_answer_is_401(gate: World, path: str) -> None:
    for headers in ({}, {"Authorization": bearer(gate.token("gateway"))}, {"X-Gateway-Authorization": "Basic x"}):
        assert refused(await gate.client.get(path, headers=headers), 401, "unauthenticated")


@pytest.mark.parametrize("path", [PATH, PARTNER_PATH])
@pytest.mark.parametrize("role", ["school", "partner", "operator"])
async def test_another_role_is_no_gateway(gate: World, path: str, role: str) -> None:
    more = {"school": {"school": "16SW"}, "partner": {"client_id": "rekenrijk"}}.get(role, {})
    headers = {"X-Gateway-Authorization": bearer(gate.token(role, **more))}
    assert refused(await gate.client.get(path, headers=headers), 403, "forbidden")


async def test_every_hostile_token_is_401_in_either_place(gate: World) -> None:
    key = SigningKey.of(json.loads((gate.folder / "embedded-issuer.jwk").read_text()))
    claims = good_claims(DEMO_ISSUER, DEMO_AUDIENCE, int(time.time()), roles=["gateway", "partner"])
    good = bearer(key.token(claims))
    assert (await gate.hold("GET", PUPILS, X_Gateway_Authorization=good)).status_code == 200
    for token in hostile_tokens(key, claims):
        # Bytes, so that what no client would send is sent too.
        value: Any = f"Bearer {token.text}".encode("utf-8", "surrogatepass")
        if value.strip() == good.encode():
            continue
        assert (await gate.hold("GET", PUPILS, X_Gateway_Authorization=value)).status_code == 401, token.name
        assert (await gate.hold("GET", PUPILS, None, Authorization=value)).status_code == 401, token.name


async def test_whose_token_it_is_is_told_to_a_gateway(gate: World) -> None:
    headers = {"X-Gateway-Authorization": bearer(gate.token("gateway"))}
    given = {**headers, "Authorization": bearer(gate.token("partner", client_id="rekenrijk"))}
    answer = await gate.client.get(PARTNER_PATH, headers=given)
    assert (answer.status_code, answer.json()) == (200, {"clientId": "rekenrijk"})
    assert refused(await gate.client.get(PARTNER_PATH, headers=headers), 401, "unauthenticated")
    named = {**headers, "X-Partner-Client-Id": "rekenrijk"}
    assert refused(await gate.client.get(PARTNER_PATH, headers=named), 401, "unauthenticated")
    answer = await gate.client.post(PARTNER_PATH, headers=given)
    assert refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"


# -- the route table at start -----------------------------------------------------------------------------------------


async def test_a_route_table_that_is_wrong_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "routes.txt"
    path.write_text("GET /las/{brin}/leerlingen pupil {brin}\n", encoding="utf-8")
    settings = Settings(mode=Mode.TEST, var_dir=tmp_path, route_table=path)
    with pytest.raises(NotReadyToServe, match=r"routes.txt cannot be used:\nline 1: 'pupil' is no type"):
        await require_ready(settings)
    with pytest.raises(NotReadyToServe, match="cannot be used"):
        create_app(settings.model_copy(update={"route_table": tmp_path / "nowhere.txt"}))


async def test_the_route_table_of_the_settings_is_used(tmp_path: Path) -> None:
    path = tmp_path / "routes.txt"
    path.write_text(ROUTES, encoding="utf-8")
    service = create_app(Settings(mode=Mode.TEST, var_dir=tmp_path, route_table=path))
    assert len(cast(Authorize, service.hooks[PATH]).routes.routes) == 2
