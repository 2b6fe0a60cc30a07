"""Which of the keys that an issuer publishes are used, and for what."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from api.security.issuers import usable_keys
from api.security.strict_json import base64url
from tests.security.jwks_server import NEW, OLD, RSA, jwks
from tests.security.signing_keys import PrivateKey, SigningKey, public_members, segment


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
