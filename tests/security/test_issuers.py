"""Keys of issuers, fetched from a real server that rotates, fails, lies and dawdles."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from api.security.issuers import KeySet
from api.security.strict_json import Malformed, base64url, strict_object
from api.security.tokens import TokenRefused, TokenVerifier
from tests.security.jwks_server import AUDIENCE, ISSUER, NEW, OLD, Clock, JwksServer, answer, jwks, trusted
from tests.security.signing_keys import SigningKey, good_claims
from tests.security.test_keys import _private


async def test_a_withdrawn_key_ends_the_tokens_that_were_verified_with_it(server: JwksServer, clock: Clock) -> None:
    verifier = TokenVerifier([trusted(jwksUrl=server.url)], lambda: 1_800_000_000, clock)
    token = OLD.token(good_claims(ISSUER, AUDIENCE, 1_800_000_000))
    claims = await verifier.verify(token)
    assert verifier.remembered(token) == claims
    server.says = answer(jwks(NEW))
    clock.now += 30
    await verifier.verify(NEW.token(good_claims(ISSUER, AUDIENCE, 1_800_000_000)))
    assert verifier.remembered(token) is None
    with pytest.raises(TokenRefused, match="unknown key"):
        await verifier.verify(token)
    await verifier.aclose()


async def test_a_key_that_changes_under_its_kid_ends_the_tokens_of_the_old_one(
    server: JwksServer, clock: Clock
) -> None:
    verifier = TokenVerifier([trusted(jwksUrl=server.url)], lambda: 1_800_000_000, clock)
    token = OLD.token(good_claims(ISSUER, AUDIENCE, 1_800_000_000))
    await verifier.verify(token)
    server.says = answer(jwks(SigningKey.es256("old"), NEW))
    clock.now += 30
    await verifier.verify(NEW.token(good_claims(ISSUER, AUDIENCE, 1_800_000_000)))
    assert verifier.remembered(token) is None
    with pytest.raises(TokenRefused, match="signature"):
        await verifier.verify(token)


async def test_a_refresh_that_finds_the_same_keys_forgets_no_token(server: JwksServer, clock: Clock) -> None:
    verifier = TokenVerifier([trusted(jwksUrl=server.url)], lambda: 1_800_000_000, clock)
    token = OLD.token(good_claims(ISSUER, AUDIENCE, 1_800_000_000))
    await verifier.verify(token)
    clock.now += 30
    with pytest.raises(TokenRefused):
        await verifier.verify(NEW.token(good_claims(ISSUER, AUDIENCE, 1_800_000_000)))
    assert len(server.requests) == 2
    assert verifier.remembered(token) is not None


async def test_an_issuer_whose_server_is_down_for_an_hour_lets_nobody_in(server: JwksServer, clock: Clock) -> None:
    verifier = TokenVerifier([trusted(jwksUrl=server.url)], lambda: 1_800_000_000, clock)
    token = OLD.token(good_claims(ISSUER, AUDIENCE, 1_800_000_000))
    await verifier.verify(token)
    server.says = answer(b"", "500 Internal Server Error")
    clock.now += 3599
    assert await verifier.verify(token) == verifier.remembered(token)
    clock.now += 1
    assert verifier.remembered(token) is None
    with pytest.raises(TokenRefused, match="unknown key"):
        await verifier.verify(token)
    await verifier.aclose()


# What an operator may configure


def test_an_issuer_is_named_in_camel_case_or_in_snake_case() -> None:
    url = "https://issuer.example/jwks"
    assert trusted(jwksUrl=url) == trusted(jwks_url=url)


async def test_keys_that_stand_in_the_configuration_are_always_there(clock: Clock) -> None:
    keys = KeySet(trusted(jwks=json.loads(jwks(OLD))), clock)
    clock.now += 1_000_000
    assert keys.present("old") is not None
    assert await keys.key("old") is keys.present("old")
    assert await keys.key("unknown") is None


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example/jwks",
        "http://10.0.0.1/jwks",
        "http://127.0.0.1.attacker.example/jwks",
        "http://localhost.attacker.example/jwks",
        "http://localhost@attacker.example/jwks",
        "https://user:secret@issuer.example/jwks",
        "https://issuer.example/jwks#x",
        "https:///jwks",
        "ftp://issuer.example/jwks",
        "file:///etc/passwd",
        "//issuer.example/jwks",
        "jwks.json",
        "",
    ],
)
def test_keys_are_fetched_over_https_only(url: str) -> None:
    with pytest.raises(ValidationError):
        trusted(jwksUrl=url)


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "127.1.2.3:81", "[::1]:8080"])
def test_keys_may_be_fetched_over_http_from_this_machine(host: str) -> None:
    assert trusted(jwksUrl=f"http://{host}/jwks").jwks_url is not None


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"jwksUrl": "https://issuer.example/jwks", "jwks": json.loads(jwks(OLD))},
        {"jwks": {"keys": []}},
        {"jwks": {"keys": [{**OLD.jwk, **_private(OLD)}]}},
        {"jwks": {"keys": [OLD.jwk] * 101}},
        {"jwksUrl": "https://issuer.example/jwks", "algorithms": []},
        {"jwksUrl": "https://issuer.example/jwks", "algorithms": ["HS256"]},
        {"jwksUrl": "https://issuer.example/jwks", "algorithms": ["RS256", "none"]},
        {"jwksUrl": "https://issuer.example/jwks", "algorithms": ["PS256"]},
        {"jwksUrl": "https://issuer.example/jwks", "issuer": ""},
        {"jwksUrl": "https://issuer.example/jwks", "audience": ""},
        {"jwksUrl": "https://issuer.example/jwks", "leeway": 60},
    ],
)
def test_an_issuer_that_makes_no_sense_is_refused_at_the_start(members: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        trusted(**members)


# How strictly text is read


@pytest.mark.parametrize("text", ["", "=", "A", "AAAAA", "AB", "A B", "AA==", "+/+/", "AA\n", "\u00e9\u00e9"])
def test_base64url_has_one_spelling(text: str) -> None:
    with pytest.raises(Malformed):
        base64url(text)


def test_brackets_in_texts_do_not_count_as_nesting() -> None:
    text = {"x": "[" * 1_000 + '\\"' + "{" * 1_000}
    assert strict_object(json.dumps(text).encode()) == text


@pytest.mark.parametrize(("depth", "is_read"), [(16, True), (17, False)])
def test_json_is_read_to_a_depth_of_sixteen(depth: int, is_read: bool) -> None:
    document = b'{"x":' * (depth - 1) + b"{}" + b"}" * (depth - 1)
    if is_read:
        assert strict_object(document)
    else:
        with pytest.raises(Malformed, match="nested too deep"):
            strict_object(document)
