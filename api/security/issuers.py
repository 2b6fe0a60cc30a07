"""Trusted issuers of access tokens, and their public keys (RFC 7517).

Answers of an issuer's server are trusted no more than a caller's input: their size and time are limited, they are
parsed strictly, and a key with anything unusual is ignored.
"""

import asyncio
import logging
import math
import ssl
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_address
from typing import Annotated, Any, Final, Literal, Self

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from api.security.strict_json import Malformed, base64url, strict_object

log = logging.getLogger("privacy_manager.issuers")

FETCH_SECONDS = 3.0
REFRESH_SECONDS = 600
RETRY_SECONDS = 30
STALE_SECONDS = 3600
MAX_DOCUMENT_BYTES = 256 * 1024
MAX_KEYS = 100
MAX_KID_LENGTH = 256

Algorithm = Literal["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"]

#: Algorithms that fit a key, by its `kty` and `crv` (RFC 7518 3.1).
_FITTING: Final[dict[str, frozenset[str]]] = {
    "RSA": frozenset({"RS256", "RS384", "RS512"}),
    "EC P-256": frozenset({"ES256"}),
    "EC P-384": frozenset({"ES384"}),
    "EC P-521": frozenset({"ES512"}),
}
_CURVES: Final[dict[str, type[ec.EllipticCurve]]] = {
    "P-256": ec.SECP256R1,
    "P-384": ec.SECP384R1,
    "P-521": ec.SECP521R1,
}
_SECRET_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key of an issuer, for one algorithm. `jwk` holds public members only."""

    kid: str
    algorithm: str
    jwk: Mapping[str, str] = field(hash=False)


def usable_keys(document: Mapping[str, Any], algorithms: Collection[str]) -> dict[str, VerificationKey]:
    """The keys of a JWK set that may verify a token, by kid; others are ignored.

    Raises `Malformed` when the document is no JWK set, or has more than 100 keys.
    """
    listed = document.get("keys")
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise Malformed("not a JWK set of at most 100 keys")
    jwks = [jwk for jwk in listed if isinstance(jwk, dict)]
    named = Counter(jwk["kid"] for jwk in jwks if isinstance(jwk.get("kid"), str))
    keys = [_verification_key(jwk, algorithms) for jwk in jwks if named.get(_kid(jwk)) == 1]
    return {key.kid: key for key in keys if key is not None}


def _kid(jwk: Mapping[str, Any]) -> str:
    """The key's id, or "" without one that a token could name."""
    kid = jwk.get("kid")
    return kid if isinstance(kid, str) and len(kid) <= MAX_KID_LENGTH else ""


def _verification_key(jwk: Mapping[str, Any], algorithms: Collection[str]) -> VerificationKey | None:
    algorithm = _algorithm(jwk, algorithms)
    if not _kid(jwk) or algorithm is None or not _SECRET_MEMBERS.isdisjoint(jwk) or not _is_for_signatures(jwk):
        return None
    try:
        public = _rsa_members(jwk) if jwk["kty"] == "RSA" else _ec_members(jwk)
    except (ValueError, TypeError, KeyError):
        return None
    return VerificationKey(_kid(jwk), algorithm, public)


def _algorithm(jwk: Mapping[str, Any], algorithms: Collection[str]) -> str | None:
    """The key's algorithm: its `alg`, else the configured one that fits its type; None if there is no single one."""
    kind = " ".join(str(jwk[member]) for member in ("kty", "crv") if member in jwk)
    fitting = [algorithm for algorithm in _FITTING.get(kind, ()) if algorithm in algorithms]
    if "alg" in jwk:
        fitting = [algorithm for algorithm in fitting if algorithm == jwk["alg"]]
    return fitting[0] if len(fitting) == 1 else None


def _is_for_signatures(jwk: Mapping[str, Any]) -> bool:
    operations = jwk.get("key_ops", ["verify"])
    return jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _ec_members(jwk: Mapping[str, Any]) -> dict[str, str]:
    curve = _CURVES[jwk["crv"]]()
    x, y = base64url(jwk["x"]), base64url(jwk["y"])
    if not len(x) == len(y) == (curve.key_size + 7) // 8:
        raise Malformed("not the length of the curve")
    # Raises ValueError for a point that is not on the curve.
    ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), curve).public_key()
    return {member: jwk[member] for member in ("kty", "crv", "x", "y")}


def _rsa_members(jwk: Mapping[str, Any]) -> dict[str, str]:
    modulus, exponent = (int.from_bytes(base64url(jwk[member])) for member in ("n", "e"))
    # The upper bounds limit the time of one verification.
    if not 2048 <= modulus.bit_length() <= 8192 or exponent.bit_length() > 32:
        raise Malformed("not a size in use")
    rsa.RSAPublicNumbers(exponent, modulus).public_key()
    return {member: jwk[member] for member in ("kty", "n", "e")}


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _safe_url(text: str) -> str:
    import httpx2  # where a URL is trusted: a demo has none

    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL:
        raise ValueError("not a URL") from None
    if not (url.scheme == "https" or (url.scheme == "http" and _is_loopback(url.host))):
        raise ValueError("must be https (http on a loopback host only)")
    if not url.host or url.userinfo or url.fragment:
        raise ValueError("must have a host, and neither credentials nor a fragment")
    return text


class TrustedIssuer(BaseModel):
    """An issuer whose access tokens are accepted, for one audience and with these algorithms only.

    Its keys come from either `jwks_url` or `jwks`. JSON names are camelCase or snake_case.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_alias=True, validate_by_name=True
    )

    issuer: str = Field(min_length=1, description="Exactly the `iss` of its tokens.")
    audience: str = Field(min_length=1, description="What `aud` must name: this installation.")
    jwks_url: Annotated[str, AfterValidator(_safe_url)] | None = None
    algorithms: tuple[Algorithm, ...] = Field(min_length=1)
    jwks: dict[str, Any] | None = Field(default=None, repr=False)

    @model_validator(mode="after")
    def _one_source_of_keys(self) -> Self:
        if (self.jwks_url is None) == (self.jwks is None):
            raise ValueError("exactly one of jwksUrl and jwks is needed")
        if self.jwks is not None and not usable_keys(self.jwks, self.algorithms):
            raise ValueError("jwks holds no key that may verify a token")
        return self


class KeySet:
    """The cached keys of one issuer; `clock` is monotonic, in seconds.

    Keys are fetched again after 10 minutes, or earlier for an unknown kid. One fetch runs at a time, and none starts
    within 30 seconds of the last, whatever its outcome. While fetches fail, keys are used for an hour after the last
    successful one. A successful fetch replaces all keys, so that a missing one is withdrawn.
    """

    def __init__(self, issuer: TrustedIssuer, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._clock = clock
        self._keys = usable_keys(issuer.jwks, issuer.algorithms) if issuer.jwks is not None else {}
        self._fetched_at = -math.inf
        self._tried_at = -math.inf
        self._fetching: asyncio.Task[None] | None = None

    def cached(self, kid: str) -> VerificationKey | None:
        """The cached key. None when it is not there, or when the keys are due to be fetched."""
        return None if self._is_due() else self._usable_key(kid)

    async def key(self, kid: str) -> VerificationKey | None:
        """The key, fetched if necessary. For a known key that is not stale no caller waits for a fetch."""
        key = self._usable_key(kid)
        if key is None or self._is_due():
            self._start_fetch()
        if key is None and self._fetching is not None:
            # asyncio.wait(), so that cancelling one request does not cancel the fetch that others wait for.
            await asyncio.wait({self._fetching})
            key = self._usable_key(kid)
        return key

    async def aclose(self) -> None:
        """Cancels a fetch under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait({self._fetching})

    def _age(self) -> float:
        """Seconds since the cached keys were fetched; 0 for keys of the configuration."""
        return self._clock() - self._fetched_at if self._issuer.jwks_url is not None else 0.0

    def _is_due(self) -> bool:
        return self._age() >= REFRESH_SECONDS and self._clock() - self._tried_at >= RETRY_SECONDS

    def _usable_key(self, kid: str) -> VerificationKey | None:
        return self._keys.get(kid) if self._age() < STALE_SECONDS else None

    def _start_fetch(self) -> None:
        now = self._clock()
        url = self._issuer.jwks_url
        idle = self._fetching is None or self._fetching.done()
        if url is not None and idle and now - self._tried_at >= RETRY_SECONDS:
            self._tried_at = now
            self._fetching = asyncio.get_running_loop().create_task(self._fetch(url, now))

    async def _fetch(self, url: str, now: float) -> None:
        try:
            document = strict_object(await _download(url))
            self._keys = usable_keys(document, self._issuer.algorithms)
            self._fetched_at = now
        except Exception as error:
            log.warning("the keys of issuer %s were not fetched: %r", self._issuer.issuer, error)
        else:
            log.info("issuer %s has %d keys in use", self._issuer.issuer, len(self._keys))


async def _download(url: str) -> bytes:
    """The document at `url`. Raises on a redirect, a status other than 200, too large a document, or a timeout."""
    import httpx2

    document = bytearray()
    async with (
        asyncio.timeout(FETCH_SECONDS),
        # A proxy of the environment is used for https only; loopback, the only http, never goes through it.
        httpx2.AsyncClient(verify=_tls(), trust_env=url.startswith("https:")) as client,
        client.stream("GET", url, headers={"Accept-Encoding": "identity"}, follow_redirects=False) as response,
    ):
        if response.status_code != 200:
            raise Malformed(f"status {response.status_code}")
        # Raw, so that a compressed answer cannot expand beyond the counted size.
        async for chunk in response.aiter_raw():
            document += chunk
            if len(document) > MAX_DOCUMENT_BYTES:
                raise Malformed("too large")
    return bytes(document)


@cache
def _tls() -> ssl.SSLContext:
    """Cached: creating it loads all certificates of the machine, which would block requests."""
    import httpx2

    return httpx2.create_ssl_context()
