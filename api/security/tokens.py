"""Access tokens (RFC 9068): parsing, verification and, for the demo, issuing. Only this module imports jose.

    text -> parse() -> UnverifiedToken -> TokenVerifier.verify() -> Claims

The text is parsed strictly before jose reads it, and the claims are checked again afterwards: jose itself accepts a
token without `aud` or `exp`, and one with a repeated member.
"""

import asyncio
import json
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from jose import jwk, jws, jwt

from api.security.issuers import MAX_KID_LENGTH, KeySet, TrustedIssuer, VerificationKey
from api.security.private_files import publish
from api.security.rates import Rates
from api.security.strict_json import Malformed, base64url, strict_object
from models.vocabulary.identifiers import is_board_number, is_brin

ROLES: Final = frozenset({"school", "board", "partner", "gateway", "operator"})

MAX_TOKEN_LENGTH = 8 * 1024
MAX_NAME_LENGTH = 255
MAX_LIFETIME_SECONDS = 24 * 3600
MAX_SKEW_SECONDS = 60
MAX_CACHED = 1024

_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
# Closed list: a header that carries a key, an extension or anything else that changes its meaning is refused unread.
_HEADER_MEMBERS: Final = frozenset({"alg", "kid", "typ", "x5t", "x5t#S256"})
_TYPES: Final = frozenset({"at+jwt", "application/at+jwt"})
_JOSE_OPTIONS: Final = {f"require_{claim}": True for claim in ("aud", "iss", "exp", "sub", "iat")}

DEMO_ISSUER: Final = "https://demo-issuer.invalid"
DEMO_AUDIENCE: Final = "privacy-manager"
DEMO_CLIENT: Final = "privacy-manager-demo"


class TokenRefused(Exception):
    """A refused token. `why` is short and stable, for the log; the caller never learns it."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """A well-formed token. None of its claims is known to be true."""

    text: str
    algorithm: str
    kid: str
    unverified_issuer: str


@dataclass(frozen=True, slots=True)
class Claims:
    """A caller's claims by a trusted issuer. `expires_at` is in seconds since 1970, UTC."""

    issuer: str
    subject: str
    client_id: str
    roles: frozenset[str]
    school: str | None
    board: str | None
    expires_at: int
    token_id: str


def parse(token: str) -> UnverifiedToken:
    """Parses a token in compact serialization (RFC 7515 7.1) without trusting it. Raises `TokenRefused`."""
    if len(token) > MAX_TOKEN_LENGTH:
        raise TokenRefused("too long")
    segments = _COMPACT.fullmatch(token)
    if segments is None:
        raise TokenRefused("not three base64url segments")
    try:
        header_bytes, payload_bytes, _ = (base64url(segment) for segment in segments.groups())
        header, payload = strict_object(header_bytes), strict_object(payload_bytes)
    except Malformed as malformed:
        raise TokenRefused(str(malformed)) from None
    algorithm, kid = _checked_header(header)
    issuer = payload.get("iss")
    if not isinstance(issuer, str):
        raise TokenRefused("iss missing or wrong")
    return UnverifiedToken(token, algorithm, kid, issuer)


def _checked_header(header: Mapping[str, Any]) -> tuple[str, str]:
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ")
    if not _HEADER_MEMBERS.issuperset(header):
        raise TokenRefused("a header member that is not allowed")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise TokenRefused("typ missing or wrong")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID_LENGTH:
        raise TokenRefused("kid missing or wrong")
    if not isinstance(algorithm, str):
        raise TokenRefused("alg missing or wrong")
    return algorithm, kid


@dataclass(frozen=True, slots=True)
class _Verified:
    claims: Claims
    keys: KeySet
    key: VerificationKey


class TokenVerifier:
    """Verifies tokens of these issuers and no others.

    `clock` gives seconds since 1970, `monotonic` the seconds by which keys age. Raises `ValueError` for an issuer that
    is listed twice.
    """

    def __init__(
        self,
        issuers: Iterable[TrustedIssuer],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        failures: Rates | None = None,
    ) -> None:
        self._clock = clock
        #: Tokens that were not valid, by the address that sent them.
        self.failures = failures or Rates(20, 1_200)
        self._trusted: dict[str, tuple[TrustedIssuer, KeySet]] = {}
        for issuer in issuers:
            if issuer.issuer in self._trusted:
                raise ValueError(f"the issuer {issuer.issuer} is named twice")
            self._trusted[issuer.issuer] = issuer, KeySet(issuer, monotonic)
        self._verified: OrderedDict[str, _Verified] = OrderedDict()

    def cached_claims(self, token: str) -> Claims | None:
        """The claims of a token verified before, while neither it nor its signing key has expired or changed."""
        verified = self._verified.get(token)
        if verified is None:
            return None
        key = verified.keys.cached(verified.key.kid)
        if verified.claims.expires_at <= self._clock():
            del self._verified[token]
            return None
        if key is not verified.key and key != verified.key:
            return None  # or its keys are only due to be fetched, which `verify` does
        self._verified.move_to_end(token)
        return verified.claims

    def knows(self, token: str) -> bool:
        """Whether the token was valid when it was verified last."""
        return token in self._verified

    async def verify(self, token: str) -> Claims:
        """The claims of `token`, verified now. Raises `TokenRefused` and nothing else, whatever the text."""
        try:
            verified = await self._verify(parse(token))
        except TokenRefused:
            self._verified.pop(token, None)
            raise
        except Exception as error:
            self._verified.pop(token, None)
            raise TokenRefused("an error while verifying") from error
        self._cache(token, verified)
        return verified.claims

    async def aclose(self) -> None:
        """Cancels fetches of keys that are under way."""
        await asyncio.gather(*(keys.aclose() for _, keys in self._trusted.values()))

    async def _verify(self, token: UnverifiedToken) -> _Verified:
        if token.unverified_issuer not in self._trusted:
            raise TokenRefused("unknown issuer")
        issuer, keys = self._trusted[token.unverified_issuer]
        key = await keys.key(token.kid)
        if key is None:
            raise TokenRefused("unknown key")
        if token.algorithm != key.algorithm:
            raise TokenRefused("not the algorithm of its key")
        signed = _signed_claims(token, key, issuer)
        return _Verified(_checked_claims(signed, issuer, self._clock()), keys, key)

    def _cache(self, token: str, verified: _Verified) -> None:
        self._verified[token] = verified
        self._verified.move_to_end(token)
        if len(self._verified) > MAX_CACHED:
            self._verified.popitem(last=False)


def _signed_claims(token: UnverifiedToken, key: VerificationKey, issuer: TrustedIssuer) -> Mapping[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(
            token.text,
            dict(key.jwk),
            algorithms=[key.algorithm],
            audience=issuer.audience,
            issuer=issuer.issuer,
            options=dict(_JOSE_OPTIONS),
        )
    except Exception:
        # jose raises errors of its own code for claims of some types; all are refusals.
        raise TokenRefused("signature or registered claim") from None
    return claims


def _checked_claims(claims: Mapping[str, Any], issuer: TrustedIssuer, now: float) -> Claims:
    """The claims, checked independently of jose. Raises `TokenRefused`."""
    if claims.get("iss") != issuer.issuer:
        raise TokenRefused("iss missing or wrong")
    _check_audience(claims, issuer.audience)
    _check_times(claims, now)
    roles = _roles(claims)
    school, board = _optional_name(claims, "school", is_brin), _optional_name(claims, "board", is_board_number)
    if "school" in roles and school is None:
        raise TokenRefused("role school without a school")
    if "board" in roles and board is None:
        raise TokenRefused("role board without a board")
    return Claims(
        issuer=issuer.issuer,
        subject=_name(claims, "sub"),
        client_id=_name(claims, "client_id"),
        roles=roles,
        school=school,
        board=board,
        expires_at=claims["exp"],
        token_id=_name(claims, "jti"),
    )


def _check_audience(claims: Mapping[str, Any], audience: str) -> None:
    audiences = claims.get("aud")
    if isinstance(audiences, str):
        audiences = [audiences]
    if (
        not isinstance(audiences, list)
        or not all(isinstance(name, str) for name in audiences)
        or audience not in audiences
    ):
        raise TokenRefused("aud missing or wrong")


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    expires, issued = _seconds(claims, "exp"), _seconds(claims, "iat")
    if expires <= now:
        raise TokenRefused("expired")
    if issued > now + MAX_SKEW_SECONDS:
        raise TokenRefused("issued in the future")
    if not 0 < expires - issued <= MAX_LIFETIME_SECONDS:
        raise TokenRefused("lifetime too long")
    if "nbf" in claims and _seconds(claims, "nbf") > now:
        raise TokenRefused("not valid yet")


def _seconds(claims: Mapping[str, Any], claim: str) -> int:
    value = claims.get(claim)
    # bool is a subclass of int, and a float may be nan.
    if type(value) is not int:
        raise TokenRefused(f"{claim} missing or wrong")
    return value


def _name(claims: Mapping[str, Any], claim: str) -> str:
    """A name fit for a log line: no control characters, lone surrogates or direction marks."""
    value = claims.get(claim)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME_LENGTH or not value.isprintable():
        raise TokenRefused(f"{claim} missing or wrong")
    return value


def _roles(claims: Mapping[str, Any]) -> frozenset[str]:
    """The roles known here (RFC 9068 2.2.3.1); issuers may include roles of other services."""
    value = claims.get("roles", [])
    if not isinstance(value, list) or not all(isinstance(role, str) for role in value):
        raise TokenRefused("roles wrong")
    return ROLES.intersection(value)


def _optional_name(claims: Mapping[str, Any], claim: str, is_one: Callable[[str], bool]) -> str | None:
    """The school or board in a claim, if it is there."""
    if claim not in claims:
        return None
    value = claims[claim]
    if not isinstance(value, str) or not is_one(value):
        raise TokenRefused(f"{claim} wrong")
    return value


class EmbeddedIssuer:
    """An issuer in this installation, for demo and test mode only: a reader of its key file can be anyone.

    Made from a private ES256 key as a JWK. Raises `ValueError`, `TypeError` or `KeyError` for anything else.
    """

    def __init__(self, private_jwk: Mapping[str, str]) -> None:
        public = {member: private_jwk[member] for member in ("kty", "crv", "x", "y", "alg", "kid")}
        self._trusted = TrustedIssuer(
            issuer=DEMO_ISSUER, audience=DEMO_AUDIENCE, algorithms=("ES256",), jwks={"keys": [public]}
        )
        self._kid = private_jwk["kid"]
        self._key = jwk.construct({**public, "d": private_jwk["d"]}, "ES256")

    @classmethod
    def at(cls, path: Path) -> "EmbeddedIssuer":
        """The issuer with the key in the file `path`, which is created if missing.

        Processes that start at once agree on one key. Raises `OSError`, or `ValueError` when the file holds no key.
        """
        if not path.exists():
            publish(path, json.dumps(new_private_jwk()).encode())
        try:
            return cls(strict_object(path.read_bytes()))
        except (ValueError, TypeError, KeyError):
            # Not chained: the cause may contain the private key.
            raise ValueError(f"{path} holds no key of the embedded issuer: remove it for a new one") from None

    def trusted(self) -> TrustedIssuer:
        """This issuer in the form that a verifier takes."""
        return self._trusted

    def mint(
        self,
        role: str,
        *,
        subject: str,
        client_id: str | None = None,
        school: str | None = None,
        board: str | None = None,
        lifetime: timedelta,
        now: datetime,
    ) -> str:
        """A token for one role. Raises `ValueError` for one that verifiers refuse or that names no one."""
        _check_mintable(role, client_id, school, board, lifetime)
        issued = int(now.timestamp())
        claims = {
            "iss": DEMO_ISSUER,
            "aud": DEMO_AUDIENCE,
            "sub": subject,
            "client_id": client_id or DEMO_CLIENT,
            "iat": issued,
            "exp": issued + int(lifetime.total_seconds()),
            "jti": secrets.token_urlsafe(16),
            "roles": [role],
        }
        if school is not None:
            claims["school"] = school
        if board is not None:
            claims["board"] = board
        return str(jwt.encode(claims, self._key, "ES256", headers={"kid": self._kid, "typ": "at+jwt"}))


def has_signed(text: str, public_jwk: Mapping[str, str]) -> bool:
    """Whether a compact JWS, which must have been parsed strictly, has a valid ES256 signature by this key."""
    try:
        jws.verify(text, dict(public_jwk), algorithms=["ES256"])
    except Exception:
        return False
    return True


def _check_mintable(
    role: str, client_id: str | None, school: str | None, board: str | None, lifetime: timedelta
) -> None:
    if role not in ROLES:
        raise ValueError(f"the role is one of {', '.join(sorted(ROLES))}")
    if role == "partner" and not client_id:
        raise ValueError("the role partner needs a client id")
    if (role == "school") != (school is not None) or (school is not None and not is_brin(school)):
        raise ValueError("the role school, and no other, needs a school: a BRIN4 such as 16SW")
    if (role == "board") != (board is not None) or (board is not None and not is_board_number(board)):
        raise ValueError("the role board, and no other, needs a board: five digits such as 10001")
    if not timedelta(seconds=1) <= lifetime <= timedelta(seconds=MAX_LIFETIME_SECONDS):
        raise ValueError("a token lives for a second at least and for a day at most")


def new_private_jwk() -> dict[str, str]:
    """A new key for ES256."""
    key = jwk.construct(ec.generate_private_key(ec.SECP256R1()), "ES256").to_dict()
    return {**key, "kid": secrets.token_urlsafe(16)}


def signed(payload: bytes, private_jwk: Mapping[str, str], kind: str) -> str:
    """A compact JWS (RFC 7515) over `payload`, by a key of `new_private_jwk`; `kind` is its `typ`."""
    headers = {"kid": private_jwk["kid"], "typ": kind}
    return str(jws.sign(payload, dict(private_jwk), headers=headers, algorithm="ES256"))
