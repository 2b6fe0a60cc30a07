"""Keys of issuers, fetched from a real server that rotates, fails, lies and dawdles."""

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import ValidationError

from api.issuers import KeySet, TrustedIssuer, usable_keys
from api.strict_json import Malformed, base64url, strict_object
from api.tokens import TokenRefused, TokenVerifier
from tests.hostile_tokens import PrivateKey, SigningKey, good_claims, public_members, segment

OLD, NEW = SigningKey.es256("old"), SigningKey.es256("new")
RSA = SigningKey.rs256("rsa")
ISSUER, AUDIENCE = "https://issuer.example", "privacy-manager"

Answer = bytes | list[bytes]


def jwks(*keys: object) -> bytes:
    return json.dumps({"keys": [key.jwk if isinstance(key, SigningKey) else key for key in keys]}).encode()


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class JwksServer:
    """Answers every request with `says`; a list is sent a piece at a time, and an empty one never ends."""

    says: Answer = b""
    requests: list[bytes] = field(default_factory=list)
    port: int = 0
    #: While it is not set, requests wait.
    open: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/jwks.json"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            await self.open.wait()
            for piece in [self.says] if isinstance(self.says, bytes) else self.says:
                writer.write(piece)
                await writer.drain()
                if isinstance(self.says, list):
                    await asyncio.sleep(0.02)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def server() -> AsyncIterator[JwksServer]:
    served = JwksServer(answer(jwks(OLD)))
    served.open.set()
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(served.serve(reader, writer))
        connections.add(task)
        await asyncio.wait({task})

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    served.port = listening.sockets[0].getsockname()[1]
    yield served
    for task in connections:
        task.cancel()
    await asyncio.gather(*connections, return_exceptions=True)
    listening.close()
    await listening.wait_closed()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def keys(server: JwksServer, clock: Clock) -> AsyncIterator[KeySet]:
    key_set = KeySet(trusted(jwksUrl=server.url), clock)
    yield key_set
    await key_set.aclose()


def trusted(**members: Any) -> TrustedIssuer:
    return TrustedIssuer.model_validate(
        {"issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["ES256", "RS256"], **members}
    )


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what is waited for is another connection, not an event of ours
            await asyncio.sleep(0.005)


# How keys come and go


async def test_keys_are_fetched_when_first_asked_for_and_then_stay_in_memory(keys: KeySet, server: JwksServer) -> None:
    assert keys.present("old") is None
    key = await keys.key("old")
    assert key is not None
    assert (key.kid, key.algorithm, key.jwk) == ("old", "ES256", public_members(OLD.private))
    assert keys.present("old") is key
    assert await keys.key("old") is key
    assert len(server.requests) == 1


async def test_all_who_wait_for_the_keys_share_one_fetch(keys: KeySet, server: JwksServer, clock: Clock) -> None:
    server.open.clear()
    waiting = [asyncio.create_task(keys.key("old")) for _ in range(20)]
    await eventually(lambda: len(server.requests) == 1)
    clock.now += 30
    waiting.append(asyncio.create_task(keys.key("old")))
    await asyncio.sleep(0.05)
    server.open.set()
    found = await asyncio.gather(*waiting)
    assert all(key is not None for key in found)
    assert len(server.requests) == 1


async def test_one_who_gives_up_does_not_end_the_fetch_of_the_others(keys: KeySet, server: JwksServer) -> None:
    server.open.clear()
    impatient, patient = asyncio.create_task(keys.key("old")), asyncio.create_task(keys.key("old"))
    await eventually(lambda: len(server.requests) == 1)
    impatient.cancel()
    server.open.set()
    assert await patient is not None
    assert impatient.cancelled()


async def test_a_rotated_key_is_found_and_the_withdrawn_one_is_gone_at_once(
    keys: KeySet, server: JwksServer, clock: Clock
) -> None:
    await keys.key("old")
    server.says = answer(jwks(NEW))
    clock.now += 30
    assert await keys.key("new") is not None
    assert keys.present("old") is None
    assert await keys.key("old") is None
    assert len(server.requests) == 2


async def test_an_unknown_kid_makes_at_most_one_request_in_thirty_seconds(
    keys: KeySet, server: JwksServer, clock: Clock
) -> None:
    for second in range(61):
        clock.now = 1000 + second
        assert await keys.key(f"unknown-{second}") is None
    assert len(server.requests) == 3


@pytest.mark.parametrize("says", [answer(b"", "500 Internal Server Error"), b"", b"nonsense\r\n\r\n"])
async def test_a_server_that_fails_is_not_asked_more_often(
    says: bytes, keys: KeySet, server: JwksServer, clock: Clock
) -> None:
    server.says = says
    for second in range(61):
        clock.now = 1000 + second
        assert await keys.key("old") is None
    assert len(server.requests) == 3


async def test_keys_are_refreshed_after_ten_minutes_while_nobody_waits(
    keys: KeySet, server: JwksServer, clock: Clock
) -> None:
    await keys.key("old")
    server.says = answer(jwks(OLD, NEW))
    clock.now += 599
    assert await keys.key("old") is not None
    assert len(server.requests) == 1
    server.open.clear()
    clock.now += 1
    assert keys.present("old") is None
    async with asyncio.timeout(0.5):
        assert await keys.key("old") is not None
        await eventually(lambda: len(server.requests) == 2)
        assert await keys.key("old") is not None
    assert keys.present("old") is not None
    server.open.set()
    await eventually(lambda: keys.present("new") is not None)
    assert len(server.requests) == 2


async def test_while_the_server_is_down_keys_serve_for_an_hour_and_no_longer(
    keys: KeySet, server: JwksServer, clock: Clock
) -> None:
    await keys.key("old")
    fetched = clock.now
    server.says = answer(b"", "503 Service Unavailable")
    for second in range(0, 3600, 29):
        clock.now = fetched + second
        assert await keys.key("old") is not None
    clock.now = fetched + 3599.9
    assert await keys.key("old") is not None
    clock.now = fetched + 3600
    assert keys.present("old") is None
    assert await keys.key("old") is None
    server.says = answer(jwks(OLD))
    clock.now += 30
    assert await keys.key("old") is not None


async def test_a_document_without_keys_withdraws_them_all(keys: KeySet, server: JwksServer, clock: Clock) -> None:
    await keys.key("old")
    server.says = answer(jwks())
    clock.now += 600
    await keys.key("old")
    await eventually(lambda: keys.present("old") is None and len(server.requests) == 2)
    clock.now += 1
    assert await keys.key("old") is None


# What a server may answer


@pytest.mark.parametrize(
    "says",
    {
        "another status": answer(jwks(OLD), "201 Created"),
        "no content": answer(b"", "204 No Content"),
        "an error": answer(jwks(OLD), "404 Not Found"),
        "garbage": answer(b"<html>"),
        "a list": answer(b"[]"),
        "no list of keys": answer(b'{"keys":{}}'),
        "nothing": b"",
        "no HTTP": b"SSH-2.0-OpenSSH\r\n",
        "a member twice": answer(jwks(OLD)[:-1] + b',"keys":[]}'),
        "a member of a key twice": answer(jwks(OLD).replace(b'"use"', b'"kid":"x","use"')),
        "UTF-16": answer(jwks(OLD).decode().encode("utf-16")),
        "a number out of range": answer(jwks(OLD)[:-1] + b',"x":1e999}'),
        "nested deep": answer(jwks(OLD)[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        "compressed": answer(gzip.compress(jwks(OLD)), "200 OK", "Content-Encoding: gzip"),
        "too many keys": answer(jwks(OLD, *({"kid": str(number)} for number in range(100)))),
        "too large": answer(jwks(OLD) + b" " * 256 * 1024),
        "cut short": answer(jwks(OLD) + b"    ")[:-2],
    }.items(),
    ids=lambda pair: pair[0],
)
async def test_no_key_is_taken_from(says: tuple[str, bytes], keys: KeySet, server: JwksServer) -> None:
    server.says = says[1]
    assert await keys.key("old") is None
    assert len(server.requests) == 1


async def test_a_redirect_is_not_followed(keys: KeySet, server: JwksServer) -> None:
    server.says = answer(b"", "302 Found", f"Location: {server.url}")
    assert await keys.key("old") is None
    assert len(server.requests) == 1


async def test_a_document_without_an_end_is_read_no_further_than_it_may_be_long(
    keys: KeySet, server: JwksServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.issuers.FETCH_SECONDS", 5)
    server.says = [b"HTTP/1.1 200 OK\r\n\r\n"] + [b" " * 64 * 1024] * 1_000
    async with asyncio.timeout(2):
        assert await keys.key("old") is None


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["status", "headers", "body"]
)
async def test_a_server_that_drips_gets_no_more_time_than_one_that_hangs(
    start: bytes, keys: KeySet, server: JwksServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.issuers.FETCH_SECONDS", 0.2)
    drip = b"X-Drip: 1\r\n" if start.count(b"\r\n") == 1 else b" "
    server.says = [start, *[drip] * 1_000]
    async with asyncio.timeout(1):
        assert await keys.key("old") is None


async def test_a_server_that_hangs_is_left_after_the_deadline(
    keys: KeySet, server: JwksServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.issuers.FETCH_SECONDS", 0.2)
    server.open.clear()
    async with asyncio.timeout(1):
        assert await keys.key("old") is None


async def test_a_server_that_is_not_there_gives_no_keys(clock: Clock) -> None:
    keys = KeySet(trusted(jwksUrl="http://127.0.0.1:1/jwks.json"), clock)
    assert await keys.key("old") is None


# Which keys are used


def _private(key: SigningKey) -> dict[str, str]:
    assert isinstance(key.private, ec.EllipticCurvePrivateKey)
    return {"d": segment(key.private.private_numbers().private_value.to_bytes(32))}


def _jwk(private: PrivateKey, **members: object) -> dict[str, object]:
    return {"kid": "k", **public_members(private), **members}


P256, P384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
SMALL = rsa.generate_private_key(65537, 1024)
CUBE = rsa.generate_private_key(3, 2048)


@pytest.mark.parametrize(
    "jwk",
    {
        "without a kid": {name: value for name, value in _jwk(P256).items() if name != "kid"},
        "with an empty kid": _jwk(P256, kid=""),
        "with a kid that is a number": _jwk(P256, kid=1),
        "with a kid of 257 characters": _jwk(P256, kid="k" * 257),
        "for encryption": _jwk(P256, use="enc"),
        "with a use that is a list": _jwk(P256, use=["sig"]),
        "for signing only": _jwk(P256, key_ops=["sign"]),
        "with operations in a text": _jwk(P256, key_ops="verify"),
        "with its private half": _jwk(P256, **_private(SigningKey("k", P256))),
        "with an empty private half": _jwk(P256, d=""),
        "with a prime": _jwk(RSA.private, alg="RS256", p="AQAB"),
        "that is symmetric": {"kid": "k", "kty": "oct", "k": "c2VjcmV0", "alg": "HS256"},
        "that is symmetric and says ES256": {"kid": "k", "kty": "oct", "k": "c2VjcmV0", "alg": "ES256"},
        "with a symmetric key inside": _jwk(P256, k="c2VjcmV0"),
        "of 1024 bits": _jwk(SMALL, alg="RS256"),
        "of 16,384 bits": {"kid": "k", "kty": "RSA", "alg": "RS256", "e": "AQAB", "n": segment(b"\xff" * 2048)},
        "with an even exponent": _jwk(RSA.private, alg="RS256", e="AQAA"),
        "with an exponent of one": _jwk(RSA.private, alg="RS256", e="AQ"),
        "with a huge exponent": _jwk(RSA.private, alg="RS256", e=segment(b"\x01" * 200)),
        "on a curve that is not configured": _jwk(P384),
        "on a curve that does not fit its alg": _jwk(P384, alg="ES256"),
        "on a curve that nobody uses": _jwk(ec.generate_private_key(ec.SECP256K1()), alg="ES256"),
        "on another curve by name": _jwk(P256, crv="P-384"),
        "of another type by name": _jwk(P256, kty="RSA"),
        "with a type that is a list": _jwk(P256, kty=["EC"]),
        "with an alg that is not configured": _jwk(RSA.private, alg="RS512"),
        "with an alg of another type": _jwk(P256, alg="RS256"),
        "with an alg that is symmetric": _jwk(P256, alg="HS256"),
        "with alg none": _jwk(P256, alg="none"),
        "with an alg that is null": _jwk(P256, alg=None),
        "with an alg that is a list": _jwk(P256, alg=["ES256"]),
        "off its curve": _jwk(P256, y=segment(b"\x01" * 32)),
        "at infinity": _jwk(P256, x=segment(bytes(32)), y=segment(bytes(32))),
        "without y": {name: value for name, value in _jwk(P256).items() if name != "y"},
        "with an x that is a number": _jwk(P256, x=1),
        "with an x that is short": _jwk(P256, x="AQAB"),
        "with an x that has a zero before it": _jwk(P256, x=segment(b"\0" + base64url(public_members(P256)["x"]))),
        "with an x that is padded": _jwk(P256, x=public_members(P256)["x"] + "="),
        "that is a set itself": {"kid": "k", "keys": [_jwk(P256)]},
        "that is a text": "k",
    }.items(),
    ids=lambda pair: pair[0],
)
def test_a_key_is_ignored(jwk: tuple[str, object]) -> None:
    found = usable_keys(json.loads(jwks(jwk[1], OLD)), ("ES256", "RS256"))
    assert list(found) == ["old"]


def test_of_keys_with_one_kid_none_is_used() -> None:
    twin = SigningKey.es256("new")
    assert list(usable_keys(json.loads(jwks(NEW, OLD, twin)), ("ES256",))) == ["old"]
    for_encryption = {**twin.jwk, "use": "enc"}
    assert list(usable_keys(json.loads(jwks(for_encryption, NEW, OLD)), ("ES256",))) == ["old"]


def test_a_key_without_alg_has_the_one_algorithm_that_fits_it() -> None:
    listed = {"keys": [_jwk(P256, kid="ec"), _jwk(RSA.private, kid="rsa"), _jwk(CUBE, kid="cube")]}
    found = usable_keys(listed, ("ES256", "RS384"))
    assert {kid: key.algorithm for kid, key in found.items()} == {"ec": "ES256", "rsa": "RS384", "cube": "RS384"}
    assert list(usable_keys(listed, ("ES256", "RS256", "RS384"))) == ["ec"]


def test_a_key_for_es512_is_on_p_521() -> None:
    key = _jwk(ec.generate_private_key(ec.SECP521R1()))
    assert usable_keys({"keys": [key]}, ("ES256", "ES384", "ES512"))["k"].algorithm == "ES512"


def test_of_a_key_only_its_public_members_are_kept() -> None:
    found = usable_keys({"keys": [_jwk(P256, x5c=["MIIB"], keys=[], x5u="https://attacker.example")]}, ("ES256",))
    assert set(found["k"].jwk) == {"kty", "crv", "x", "y"}


# What reaches a caller


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
