"""Only a token that a trusted issuer signed for us, well formed in every detail and still valid, gets in."""

import asyncio
import base64
import json
import os
import stat
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from api.security.issuers import TrustedIssuer
from api.security.tokens import MAX_CACHED, Claims, EmbeddedIssuer, TokenRefused, TokenVerifier, parse
from tests.security.hostile_tokens import HostileToken, hostile_claims, hostile_tokens
from tests.security.signing_keys import SigningKey, encoded_json, good_claims, segment

AUDIENCE = "privacy-manager"
KEYS = {"https://ec.example": SigningKey.es256("ec-1"), "https://rsa.example": SigningKey.rs256("rsa-1")}
ISSUERS = list(KEYS)


def _trusted(issuer: str, *keys: SigningKey) -> TrustedIssuer:
    algorithms = tuple(sorted({key.algorithm for key in keys}))
    return TrustedIssuer.model_validate(
        {
            "issuer": issuer,
            "audience": AUDIENCE,
            "algorithms": algorithms,
            "jwks": {"keys": [k.jwk for k in keys]},
        }
    )


def _verifier(clock: Callable[[], float] = time.time) -> TokenVerifier:
    return TokenVerifier([_trusted(issuer, key) for issuer, key in KEYS.items()], clock)


def _claims(issuer: str = ISSUERS[0], **changed: Any) -> dict[str, Any]:
    return good_claims(issuer, AUDIENCE, int(time.time()), **changed)


def _token(claims: Mapping[str, Any], **header: Any) -> str:
    return KEYS[claims["iss"]].token(claims, **header)


async def _refusal(verifier: TokenVerifier, token: str) -> str:
    """Why the token is refused; "accepted" when it isn't."""
    try:
        await verifier.verify(token)
    except TokenRefused as refused:
        return refused.why
    return "accepted"


@pytest.fixture(params=ISSUERS)
def hostile(request: pytest.FixtureRequest) -> list[HostileToken]:
    issuer = request.param
    foreign = next(key for other, key in KEYS.items() if other != issuer)
    return list(hostile_tokens(KEYS[issuer], _claims(issuer), foreign))


@pytest.mark.parametrize("issuer", ISSUERS)
async def test_a_good_token_says_who_calls(issuer: str) -> None:
    claims = _claims(issuer, aud=["another", AUDIENCE], roles=["school", "offline_access"], nbf=int(time.time()))
    assert await _verifier().verify(_token(claims, typ="application/AT+JWT", x5t="x")) == Claims(
        issuer=issuer,
        subject="beheerder@regenboog.example",
        client_id="school-portal",
        roles=frozenset({"school"}),
        school="16SW",
        board=None,
        expires_at=claims["exp"],
        token_id=claims["jti"],
    )


async def test_a_token_without_roles_may_do_nothing() -> None:
    claims = _claims()
    del claims["roles"], claims["school"]
    assert (await _verifier().verify(_token(claims))).roles == frozenset()


@pytest.mark.parametrize("name", ["x", "x" * 255, "Zoë de Graaf-Ünal"])
async def test_a_name_has_a_character_at_least_and_255_at_most(name: str) -> None:
    claims = await _verifier().verify(_token(_claims(sub=name, client_id=name, jti=name)))
    assert (claims.subject, claims.client_id, claims.token_id) == (name, name, name)


async def test_every_hostile_token_is_refused_for_what_is_wrong_with_it(hostile: list[HostileToken]) -> None:
    verifier = _verifier()
    found = {token.name: await _refusal(verifier, token.text) for token in hostile}
    assert found == {token.name: token.why for token in hostile}
    assert len(found) == len(hostile) > 75
    assert not any(verifier.cached_claims(token.text) for token in hostile)


async def test_no_hostile_token_costs_more_than_fifty_good_ones(hostile: list[HostileToken]) -> None:
    verifier = _verifier()
    good = _token(_claims())

    async def seconds(token: str) -> float:
        start = time.perf_counter()
        await _refusal(verifier, token)
        return time.perf_counter() - start

    allowed = 50 * statistics.median([await seconds(good) for _ in range(50)])
    costly = {token.name for token in hostile if min([await seconds(token.text) for _ in range(3)]) > allowed}
    assert costly == set()


async def test_the_claims_are_checked_even_if_the_library_checked_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jose.jwt._validate_claims", lambda *_, **__: None)
    verifier = _verifier()
    found = {token.name: await _refusal(verifier, token.text) for token in hostile_claims(KEYS[ISSUERS[0]], _claims())}
    assert not {"accepted", "signature or registered claim", "an error while verifying"} & set(found.values())


async def test_what_fails_unexpectedly_refuses_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise RecursionError

    monkeypatch.setattr("api.security.tokens.parse", broken)
    assert await _refusal(_verifier(), _token(_claims())) == "an error while verifying"


async def test_a_request_that_is_cancelled_stays_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stuck(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("api.security.issuers.KeySet.key", stuck)
    task = asyncio.create_task(_verifier().verify(_token(_claims())))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_refusal_says_nothing_of_the_token() -> None:
    with pytest.raises(TokenRefused) as refused:
        parse("geheim")
    assert "geheim" not in str(refused.value)


def test_a_token_of_just_8_kib_is_still_read() -> None:
    header = segment(encoded_json(KEYS[ISSUERS[0]].header))
    payload = encoded_json(_claims())
    fill = (8 * 1024 - len(header) - 86 - 2) * 3 // 4 - len(payload)
    longest = KEYS[ISSUERS[0]].token_of_segments(header, segment(payload + b" " * fill))
    assert 8 * 1024 - 2 <= len(longest) <= 8 * 1024
    assert parse(longest).kid == "ec-1"


async def test_a_token_ends_at_the_second_of_its_exp() -> None:
    claims = _claims()
    assert await _refusal(_verifier(lambda: claims["exp"] - 0.001), _token(claims)) == "accepted"
    assert await _refusal(_verifier(lambda: claims["exp"]), _token(claims)) == "expired"


async def test_the_clock_of_an_issuer_may_be_a_minute_ahead_and_no_more() -> None:
    claims = _claims()
    assert await _refusal(_verifier(lambda: claims["iat"] - 60), _token(claims)) == "accepted"
    assert await _refusal(_verifier(lambda: claims["iat"] - 61), _token(claims)) == "issued in the future"


async def test_a_token_lives_for_a_day_at_most() -> None:
    now = int(time.time())
    assert await _refusal(_verifier(), _token(_claims(iat=now, exp=now + 86_400))) == "accepted"
    assert await _refusal(_verifier(), _token(_claims(iat=now, exp=now + 86_401))) == "lifetime too long"


async def test_a_verified_token_is_remembered_until_it_expires() -> None:
    now = time.time()
    verifier = _verifier(lambda: now)
    claims = _claims()
    token = _token(claims)
    assert verifier.cached_claims(token) is None
    verified = await verifier.verify(token)
    assert verifier.cached_claims(token) == verified
    now = claims["exp"]
    assert verifier.cached_claims(token) is None
    now = claims["exp"] - 1
    assert verifier.cached_claims(token) is None


async def test_only_so_many_tokens_are_remembered_and_the_one_last_used_stays() -> None:
    verifier = _verifier()
    tokens = [_token(_claims()) for _ in range(MAX_CACHED + 1)]
    for token in tokens[:-1]:
        await verifier.verify(token)
    assert verifier.cached_claims(tokens[0]) is not None
    await verifier.verify(tokens[-1])
    assert verifier.cached_claims(tokens[0]) is not None
    assert verifier.cached_claims(tokens[1]) is None
    assert sum(verifier.cached_claims(token) is not None for token in tokens) == MAX_CACHED


def test_an_issuer_cannot_be_trusted_twice() -> None:
    issuer = _trusted(ISSUERS[0], KEYS[ISSUERS[0]])
    with pytest.raises(ValueError, match="twice"):
        TokenVerifier([issuer, issuer])


async def test_an_issuer_cannot_sign_for_another_that_uses_the_same_kid() -> None:
    one, other = SigningKey.es256("1"), SigningKey.es256("1")
    verifier = TokenVerifier([_trusted(ISSUERS[0], one), _trusted(ISSUERS[1], other)])
    claims = _claims(ISSUERS[0])
    assert await _refusal(verifier, one.token(claims)) == "accepted"
    assert await _refusal(verifier, other.token(claims)) == "signature or registered claim"


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("role", "named"),
    [
        ("school", {"school": "16SW"}),
        ("partner", {"client_id": "rekenrijk-web"}),
        ("gateway", {}),
        ("operator", {}),
    ],
)
async def test_the_embedded_issuer_mints_tokens_of_rfc_9068(role: str, named: dict[str, str], tmp_path: Path) -> None:
    issuer = EmbeddedIssuer.at(tmp_path / "var" / "issuer.jwk")
    now = datetime.now(UTC)
    token = issuer.mint(role, subject="demo", lifetime=HOUR, now=now, **named)
    claims = await TokenVerifier([issuer.trusted()]).verify(token)
    assert claims.roles == {role}
    assert claims.subject == "demo"
    assert claims.school == named.get("school")
    assert claims.client_id == named.get("client_id", "privacy-manager-demo")
    assert claims.expires_at == int(now.timestamp()) + 3600
    header = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    assert set(header) == {"alg", "kid", "typ"}
    assert (header["alg"], header["typ"]) == ("ES256", "at+jwt")


def test_the_embedded_issuer_keeps_its_key_in_a_file_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "issuer.jwk"
    first, second = EmbeddedIssuer.at(path), EmbeddedIssuer.at(path)
    assert first.trusted() == second.trusted()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["issuer.jwk"]


def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    start = threading.Barrier(8)
    issuers: list[EmbeddedIssuer] = []

    def begin() -> None:
        start.wait()
        issuers.append(EmbeddedIssuer.at(tmp_path / "issuer.jwk"))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(issuers) == 8
    assert all(issuer.trusted() == issuers[0].trusted() for issuer in issuers)
    assert os.listdir(tmp_path) == ["issuer.jwk"]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"kty":"EC"}', '{"kty":"oct","k":"AAAA","kid":"x"}'])
def test_a_file_that_holds_no_key_is_named_and_left_alone(content: str, tmp_path: Path) -> None:
    path = tmp_path / "issuer.jwk"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"issuer\.jwk holds no key"):
        EmbeddedIssuer.at(path)
    assert path.read_text() == content


def test_a_key_whose_halves_do_not_belong_together_is_not_taken(tmp_path: Path) -> None:
    for name in ("one", "other"):
        EmbeddedIssuer.at(tmp_path / name)
    one, other = (json.loads((tmp_path / name).read_text()) for name in ("one", "other"))
    (tmp_path / "one").write_text(json.dumps({**one, "d": other["d"]}))
    with pytest.raises(ValueError, match="holds no key") as refused:
        EmbeddedIssuer.at(tmp_path / "one")
    assert other["d"] not in repr(refused.value)


@pytest.mark.parametrize(
    ("role", "named", "lifetime"),
    [
        ("admin", {}, HOUR),
        ("school", {}, HOUR),
        ("school", {"school": "16sw"}, HOUR),
        ("operator", {"school": "16SW"}, HOUR),
        ("partner", {}, HOUR),
        ("operator", {}, timedelta(days=2)),
        ("operator", {}, timedelta(0)),
    ],
)
def test_nothing_is_minted_that_names_no_one(
    role: str, named: dict[str, str], lifetime: timedelta, tmp_path: Path
) -> None:
    issuer = EmbeddedIssuer.at(tmp_path / "issuer.jwk")
    with pytest.raises(ValueError):
        issuer.mint(role, subject="demo", lifetime=lifetime, now=datetime.now(UTC), **named)


def test_hostile_tokens_can_be_made_for_the_embedded_issuer(tmp_path: Path) -> None:
    EmbeddedIssuer.at(tmp_path / "issuer.jwk")
    private = json.loads((tmp_path / "issuer.jwk").read_text())
    public = {member: value for member, value in private.items() if member != "d"}
    assert SigningKey.of(private).jwk == {**public, "use": "sig"}
