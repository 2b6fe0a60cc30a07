"""Keys of issuers, as tests make them, and the tokens that they sign.

Only `cryptography` signs here, so that the verifier is not tested against the library that it uses.
"""

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Claimset = Mapping[str, Any]


@dataclass(frozen=True)
class SigningKey:
    """A private key of an issuer, for ES256 or RS256."""

    kid: str
    private: PrivateKey

    @classmethod
    def es256(cls, kid: str) -> "SigningKey":
        return cls(kid, ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def rs256(cls, kid: str, bits: int = 2048) -> "SigningKey":
        return cls(kid, rsa.generate_private_key(65537, bits))

    @classmethod
    def of(cls, private_jwk: Mapping[str, str]) -> "SigningKey":
        """The ES256 key of a private JWK, such as the file of the embedded issuer."""
        secret = int.from_bytes(base64.urlsafe_b64decode(private_jwk["d"] + "=="))
        return cls(private_jwk["kid"], ec.derive_private_key(secret, ec.SECP256R1()))

    @property
    def algorithm(self) -> str:
        return "RS256" if isinstance(self.private, rsa.RSAPrivateKey) else "ES256"

    @property
    def jwk(self) -> dict[str, str]:
        """The public key, as an issuer publishes it."""
        return {"kid": self.kid, "use": "sig", "alg": self.algorithm, **public_members(self.private)}

    @property
    def pem(self) -> bytes:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.private.public_key().public_bytes(serialization.Encoding.PEM, form)

    def sign(self, message: bytes) -> bytes:
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(message, padding.PKCS1v15(), hashes.SHA256())
        r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32) + s.to_bytes(32)

    @property
    def header(self) -> dict[str, Any]:
        return {"alg": self.algorithm, "kid": self.kid, "typ": "at+jwt"}

    def token(self, claims: Claimset, **header: Any) -> str:
        """A signed token with these claims; members of `header` replace or add to the usual ones."""
        return self.token_of(encoded_json({**self.header, **header}), encoded_json(claims))

    def token_of(self, header: bytes, payload: bytes) -> str:
        """A signed token of whatever bytes."""
        return self.token_of_segments(segment(header), segment(payload))

    def token_of_segments(self, header: str, payload: str) -> str:
        """A signed token of whatever stands between the dots."""
        signing_input = f"{header}.{payload}"
        return f"{signing_input}.{segment(self.sign(signing_input.encode()))}"


def public_members(private: PrivateKey) -> dict[str, str]:
    if isinstance(private, rsa.RSAPrivateKey):
        public = private.public_key().public_numbers()
        n, e = public.n.to_bytes((public.n.bit_length() + 7) // 8), public.e.to_bytes(3)
        return {"kty": "RSA", "n": segment(n), "e": segment(e)}
    point = private.public_key().public_numbers()
    size = (private.curve.key_size + 7) // 8
    names = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521", "secp256k1": "secp256k1"}
    x, y = point.x.to_bytes(size), point.y.to_bytes(size)
    return {"kty": "EC", "crv": names[private.curve.name], "x": segment(x), "y": segment(y)}


def good_claims(issuer: str, audience: str, now: int, **changed: Any) -> dict[str, Any]:
    """What a good token of a school administrator says."""
    claims = {
        "iss": issuer,
        "aud": audience,
        "sub": "beheerder@regenboog.example",
        "client_id": "school-portal",
        "iat": now,
        "exp": now + 600,
        "jti": secrets.token_urlsafe(12),
        "roles": ["school"],
        "school": "16SW",
    }
    return {**claims, **changed}


def segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def encoded_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def with_member(value: Claimset, member: str) -> bytes:
    """The JSON object with one more member, as raw text: json.dumps writes no member twice and no 1e400."""
    return encoded_json(value)[:-1] + b"," + member.encode() + b"}"
