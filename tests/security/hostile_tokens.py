"""Tokens that an attacker would send, each with the reason for which it must be refused.

Where the attack is not the signature itself the token is signed with the trusted key: what refuses it is the
check that its name speaks of, and not a signature that happens to be wrong.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.security.signing_keys import (
    Claimset,
    SigningKey,
    encoded_json,
    segment,
    with_member,
)


@dataclass(frozen=True)
class HostileToken:
    name: str
    text: str
    why: str

    @property
    def fits_a_header(self) -> bool:
        """Whether an HTTP client can send it at all, as the one value of a header."""
        return self.text.isascii() and self.text.isprintable() and " " not in self.text and len(self.text) < 32_000


def hostile_tokens(key: SigningKey, claims: Claimset, foreign: SigningKey | None = None) -> Iterator[HostileToken]:
    """Hostile versions of the token that `key` signs over `claims`; `foreign` is a key of another issuer."""
    foreign = foreign or SigningKey.es256("a-key-of-another-issuer")
    for name, why, text in (
        *_algorithms(key, claims, foreign),
        *_keys(key, claims, foreign),
        *_headers(key, claims),
        *_spellings(key, claims),
        *_json(key, claims),
        *_sizes(key, claims),
        *_claims(key, claims),
        *_signatures(key, claims),
    ):
        yield HostileToken(name, text, why)


Row = tuple[str, str, str]

_ALGORITHM = "not the algorithm of its key"
_SEGMENTS = "not three base64url segments"
_JOSE = "signature or registered claim"


def _algorithms(key: SigningKey, claims: Claimset, foreign: SigningKey) -> Iterator[Row]:
    for spelling in ("none", "None", "NONE", "nOnE"):
        header = segment(encoded_json({**key.header, "alg": spelling}))
        payload = segment(encoded_json(claims))
        yield f"alg {spelling} without a signature", _SEGMENTS, f"{header}.{payload}."
        yield f"alg {spelling} with a signature", _ALGORITHM, key.token(claims, alg=spelling)
    public_jwk = encoded_json(key.jwk)
    for name, secret in (("PEM", key.pem), ("JWK", public_jwk), ("kid", key.kid.encode()), ("nothing", b"")):
        yield f"HS256 with the {name} as its secret", _ALGORITHM, _hmac_token(key, claims, secret)
    for other in ("RS256", "ES256", "ES384", "PS256", "EdDSA", "HS512", "dir", key.algorithm.lower()):
        if other != key.algorithm:
            yield f"alg {other} over the key's own signature", _ALGORITHM, key.token(claims, alg=other)
    yield "alg empty", _ALGORITHM, key.token(claims, alg="")
    for value in (None, 256, [key.algorithm], {"alg": key.algorithm}, True):
        yield f"alg {value!r}", "alg missing or wrong", key.token(claims, alg=value)
    without = encoded_json({"kid": key.kid, "typ": "at+jwt"})
    yield "alg missing", "alg missing or wrong", key.token_of(without, encoded_json(claims))


def _hmac_token(key: SigningKey, claims: Claimset, secret: bytes) -> str:
    signing_input = f"{segment(encoded_json({**key.header, 'alg': 'HS256'}))}.{segment(encoded_json(claims))}"
    return f"{signing_input}.{segment(hmac.digest(secret, signing_input.encode(), hashlib.sha256))}"


def _keys(key: SigningKey, claims: Claimset, foreign: SigningKey) -> Iterator[Row]:
    for name, kid in {
        "that climbs out of a folder": "../../../../dev/null",
        "that is a file": "/dev/null",
        "with SQL": "' UNION SELECT 'secret' --",
        "with a command": "| cat /etc/passwd",
        "that is a URL": "https://attacker.example/jwks.json",
        "in other capitals": key.kid.swapcase(),
        "with a space after it": key.kid + " ",
        "with a NUL after it": key.kid + "\0",
        "of another issuer": foreign.kid,
    }.items():
        yield f"a kid {name}", "unknown key", key.token(claims, kid=kid)
    wrong: tuple[Any, ...] = (None, 1, True, [key.kid], {"kid": key.kid}, "", "k" * 4_000)
    for kid in wrong:
        yield f"kid {str(kid)[:24]!r}", "kid missing or wrong", key.token(claims, kid=kid)
    yield "a kid of 10 kB", "too long", key.token(claims, kid="k" * 10_000)
    header = encoded_json({"alg": key.algorithm, "typ": "at+jwt"})
    yield "kid missing", "kid missing or wrong", key.token_of(header, encoded_json(claims))
    own = SigningKey(key.kid, SigningKey.es256("").private)
    yield "a key of the attacker under the trusted kid", _JOSE, own.token(claims, alg=key.algorithm)
    yield "a key of another issuer under its own kid", "unknown key", foreign.token(claims)


def _headers(key: SigningKey, claims: Claimset) -> Iterator[Row]:
    url = "https://attacker.example/keys"
    members: dict[str, Any] = {
        "crit": ["exp"],
        "jku": url,
        "jwk": key.jwk,
        "x5u": url,
        "x5c": ["MIIB"],
        "b64": False,
        "zip": "DEF",
        "enc": "A128GCM",
        "cty": "JWT",
        "epk": key.jwk,
        "iss": claims["iss"],
        "Alg": "none",
        "": "",
        "constructor": {},
    }
    for member, value in members.items():
        why = "a header member that is not allowed"
        yield f"header member {member!r}", why, key.token(claims, **{member: value})
    yield "crit with b64", why, key.token(claims, crit=["b64"], b64=False)
    for kind in ("JWT", "jwt", "id_token", "logout+jwt", "dpop+jwt", "at+jwt ", "at+JWT;x", "application/jwt",
                 "", None, 1, ["at+jwt"]):  # fmt: skip
        yield f"typ {kind!r}", "typ missing or wrong", key.token(claims, typ=kind)
    header = encoded_json({"alg": key.algorithm, "kid": key.kid})
    yield "typ missing", "typ missing or wrong", key.token_of(header, encoded_json(claims))


def _spellings(key: SigningKey, claims: Claimset) -> Iterator[Row]:
    good = key.token(claims)
    header, payload, signature = good.split(".")
    spoiled = {
        "nothing at all": "",
        "only dots": "..",
        "a space before": " " + good,
        "a space after": good + " ",
        "a newline after": good + "\n",
        "a newline inside": good[:30] + "\n" + good[30:],
        "a tab inside": good[:30] + "\t" + good[30:],
        "a NUL after": good + "\0",
        "a NUL inside": good[:30] + "\0" + good[30:],
        "a letter that looks like another": "\u0435" + good[1:],
        "a digit of another script": good + "\u0661",
        "a lone surrogate": good + "\ud800",
        "a scheme before": "Bearer " + good,
        "two tokens with a comma": f"{good},{good}",
        "quotes": f'"{good}"',
        "padding with =": f"{header}=.{payload}=.{signature}=",
        "padding that is right": ".".join(part + "=" * (-len(part) % 4) for part in good.split(".")),
        "padding escaped": good + "%3D",
        "the alphabet with + and /": f"{header}.{payload}.{'+/' * 43}",
        "no header": f".{payload}.{signature}",
        "no payload": f"{header}..{signature}",
        "no signature": f"{header}.{payload}.",
        "no signature and no dot": f"{header}.{payload}",
        "one segment": header,
        "four segments": f"{good}.{signature}",
        "five segments, as JWE has": f"{good}.{signature}.{signature}",
        "a dot after": good + ".",
        "the JSON serialization": json.dumps({"payload": payload, "protected": header, "signature": signature}),
    }
    for name, text in spoiled.items():
        yield name, _SEGMENTS, text
    yield (
        "a byte too few for base64",
        "not base64url",
        key.token_of_segments(header + "A" * (-(len(header) - 1) % 4), payload),
    )
    stray = "not canonical base64url"
    # A byte more than a multiple of three takes two characters, and leaves four bits of the last one unused.
    loose_header = segment(_padded_to(encoded_json({**key.header, "x5t": ""}), 1))
    loose_payload = segment(_padded_to(encoded_json({**claims, "x": ""}), 1))
    yield "stray bits at the end of the header", stray, key.token_of_segments(_strayed(loose_header), payload)
    yield (
        "stray bits at the end of the payload",
        stray,
        key.token_of_segments(header, _strayed(loose_payload)),
    )
    yield "stray bits at the end of the signature", stray, f"{header}.{payload}.{_strayed(signature)}"


def _padded_to(document: bytes, remainder: int) -> bytes:
    """The same JSON with spaces after it, until its length leaves `remainder` when divided by three."""
    return document + b" " * ((remainder - len(document)) % 3)


def _strayed(text: str) -> str:
    """Another spelling of the same bytes: the last character carries bits that decoding drops."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) + 1]


def _json(key: SigningKey, claims: Claimset) -> Iterator[Row]:
    header, payload = encoded_json(key.header), encoded_json(claims)
    for member in (
        '"alg":"none"',
        f'"alg":"{key.algorithm}"',
        '"kid":"x"',
        '"typ":"JWT"',
        '"\\u0061lg":"none"',
    ):
        yield (
            f"header with {member} a second time",
            "a member twice",
            key.token_of(with_member(key.header, member), payload),
        )
    for member in ('"iss":"https://a.example"', '"exp":9999999999', '"roles":["operator"]', '"school":"00AA"',
                   '"sub":"x"', '"\\u0072oles":["operator"]', '"x":{"y":1,"y":2}'):  # fmt: skip
        yield (
            f"payload with {member} a second time",
            "a member twice",
            key.token_of(header, with_member(claims, member)),
        )
    for number in ("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" * 400, "1" * 5_000):
        document = with_member({name: value for name, value in claims.items() if name != "exp"}, f'"exp":{number}')
        yield f"exp {number[:9]}, {len(number)} long", "a number out of range", key.token_of(header, document)
    for text in ("[]", '"text"', "null", "true", "1", f"[{payload.decode()}]"):
        yield f"payload {text[:8]}", "not a JSON object", key.token_of(header, text.encode())
        yield f"header {text[:8]}", "not a JSON object", key.token_of(text.encode(), payload)
    for name, spoil in _NOT_JSON.items():
        yield f"payload {name}", "not JSON in UTF-8", key.token_of(header, spoil(payload))
        yield f"header {name}", "not JSON in UTF-8", key.token_of(spoil(header), payload)


_NOT_JSON: dict[str, Callable[[bytes], bytes]] = {
    "in UTF-16": lambda document: document.decode().encode("utf-16"),
    "in UTF-16 without a mark": lambda document: document.decode().encode("utf-16-le"),
    "in UTF-32": lambda document: document.decode().encode("utf-32-le"),
    "with a byte order mark": lambda document: b"\xef\xbb\xbf" + document,
    "in Latin-1": lambda document: document[:-1] + b',"x":"\xe9"}',
    "with an overlong character": lambda document: document[:-1] + b',"x":"\xc0\xae"}',
    "with more after it": lambda document: document + document,
    "with a NUL after it": lambda document: document + b"\0",
    "with a comma too many": lambda document: document[:-1] + b",}",
    "with a comment": lambda document: document + b"/* */",
    "with single quotes": lambda document: document.replace(b'"', b"'"),
    "with a newline in a string": lambda document: document[:-1] + b',"x":"\n"}',
    "cut short": lambda document: document[:-1],
    "of nothing but a space": lambda document: b" ",
}


def _sizes(key: SigningKey, claims: Claimset) -> Iterator[Row]:
    header, payload = encoded_json(key.header), encoded_json(claims)
    yield "8 MB", "too long", key.token({**claims, "x": "x" * 6_000_000})
    yield "8 MB of dots", "too long", "." * 8_000_000
    yield "8 MB of one letter", "too long", "A" * 8_000_000
    yield (
        "100,000 members",
        "too long",
        key.token({**claims, **{f"m{number}": 0 for number in range(100_000)}}),
    )
    yield "a sub of 10 kB", "too long", key.token({**claims, "sub": "x" * 10_000})
    for depth, why in ((200_000, "too long"), (2_500, "nested too deep"), (16, "nested too deep")):
        for opening, closing in (("[", "]"), ('{"x":', "}")):
            if depth * len(opening) < 4_000 or why == "too long":
                member = f'"x":{opening * depth}0{closing * depth}'
                deep = with_member(claims, member)
                yield f"payload {depth} deep in {opening}", why, key.token_of(header, deep)
                yield (
                    f"header {depth} deep in {opening}",
                    why,
                    key.token_of(with_member(key.header, member), payload),
                )
    yield "payload of 5,000 brackets that never close", "nested too deep", key.token_of(header, b"[" * 5_000)
    yield "payload of 5,000 quotes", "not JSON in UTF-8", key.token_of(header, b'{"' + b'\\"' * 2_500)


def hostile_claims(key: SigningKey, claims: Claimset) -> Iterator[HostileToken]:
    """The hostile tokens of which nothing is wrong but a claim."""
    for name, why, text in _claims(key, claims):
        yield HostileToken(name, text, why)


_REQUIRED = {
    "iss": "iss missing or wrong",
    "client_id": "client_id missing or wrong",
    "jti": "jti missing or wrong",
}


def _claims(key: SigningKey, claims: Claimset) -> Iterator[Row]:
    without_school = {name: value for name, value in claims.items() if name != "school"}
    why = "role school without a school"
    yield why, why, key.token({**without_school, "roles": ["school"]})
    why = "role board without a board"
    yield why, why, key.token({**claims, "roles": ["board"]})
    for claim in ("iss", "sub", "aud", "exp", "iat", "jti", "client_id"):
        rest = {name: value for name, value in claims.items() if name != claim}
        yield f"{claim} missing", _REQUIRED.get(claim, _JOSE), key.token(rest)
    for name, why, changed in (
        *_wrong_parties(claims),
        *_wrong_times(claims),
        *_wrong_names(claims),
        *_wrong_roles(),
    ):
        yield name, why, key.token({**claims, **changed})


Change = tuple[str, str, dict[str, Any]]


def _wrong_parties(claims: Claimset) -> Iterator[Change]:
    issuer, audience = claims["iss"], claims["aud"]
    for iss in ("https://attacker.example", issuer + "/", issuer.upper(), " " + issuer, issuer + "\0", ""):
        yield f"iss {iss!r}", "unknown issuer", {"iss": iss}
    for iss in (None, 1, [issuer], {"iss": issuer}):
        yield f"iss {iss!r}", "iss missing or wrong", {"iss": iss}
    for aud in ("another-service", audience.upper(), audience + " ", "", "*", None, 1, True, [], [[audience]],
                ["another-service"], [audience, 1], [audience, None], {audience: True}):  # fmt: skip
        yield f"aud {aud!r}", _JOSE, {"aud": aud}


def _wrong_times(claims: Claimset) -> Iterator[Change]:
    now, expires = claims["iat"], claims["exp"]
    yield "expired", _JOSE, {"iat": now - 7_200, "exp": now - 3_600}
    yield "expired a second ago", _JOSE, {"iat": now - 3_600, "exp": now - 1}
    yield "exp negative", _JOSE, {"exp": -expires}
    yield "exp zero", _JOSE, {"exp": 0}
    for exp in (str(expires), float(expires), expires + 0.5):
        yield f"exp {exp!r}", "exp missing or wrong", {"exp": exp}
    unreadable: tuple[Any, ...] = ("never", "", True, False, None, [expires], {"exp": expires})
    for exp in unreadable:
        yield f"exp {exp!r}", _JOSE, {"exp": exp}
    yield "exp in the year 5138", "lifetime too long", {"exp": 99_999_999_999}
    yield "a lifetime of a day and a second", "lifetime too long", {"exp": now + 86_401}
    yield "iat a week ago", "lifetime too long", {"iat": now - 7 * 86_400}
    yield "iat negative", "lifetime too long", {"iat": -now}
    yield "iat five minutes ahead", "issued in the future", {"iat": now + 300}
    yield (
        "iat a year ahead, and exp after it",
        "issued in the future",
        {"iat": now + 31_536_000, "exp": now + 31_536_600},
    )
    yield "nbf five minutes ahead", _JOSE, {"nbf": now + 300}
    for claim in ("iat", "nbf"):
        for mistyped in (str(now), float(now), True):
            yield f"{claim} {mistyped!r}", f"{claim} missing or wrong", {claim: mistyped}
        for no_number in ("now", None, [now]):
            yield f"{claim} {no_number!r}", _JOSE, {claim: no_number}


def _wrong_names(claims: Claimset) -> Iterator[Change]:
    texts = {
        "empty": "",
        "of 256 characters": "x" * 256,
        "of 4 kB": "x" * 4_000,
        "with a newline": "x\nroot",
        "with a NUL": "x\0",
        "with an escape": "\x1b[2Jx",
        "with a delete": "x\x7f",
        "with a next line": "x\x85y",
        "that turns text around": "x\u202egro",
        "with a lone surrogate": "x\ud800",
    }
    for claim in ("sub", "jti", "client_id"):
        for name, value in texts.items():
            yield f"{claim} {name}", f"{claim} missing or wrong", {claim: value}
        for wrong in (None, 1, True, ["x"], {"x": "y"}):
            by_jose = claim in ("sub", "jti")
            yield f"{claim} {wrong!r}", _JOSE if by_jose else f"{claim} missing or wrong", {claim: wrong}


def _wrong_roles() -> Iterator[Change]:
    for roles in ("operator", "school operator", None, 1, True, {"operator": True}, [1, 2], [["operator"]],
                  ["school", None], [True], [{"role": "operator"}]):  # fmt: skip
        yield f"roles {roles!r}", "roles wrong", {"roles": roles}
    for school in ("16sw", "16SW00", "", " 16SW", "16SW\n", "\u0661\u0666SW", "1' OR 1", "*", None, 16,
                   True, ["16SW"], {"brin": "16SW"}):  # fmt: skip
        yield f"school {school!r}", "school wrong", {"school": school}
    for board in ("1000", "100010", "", " 10001", "10001\n", "\u0661\u0660\u0660\u0660\u0661", "1000x", "*", None,
                  10001, True, ["10001"]):  # fmt: skip
        yield f"board {board!r}", "board wrong", {"board": board}


def _signatures(key: SigningKey, claims: Claimset) -> Iterator[Row]:
    header, payload, signature = key.token(claims).split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    half = len(raw) // 2
    forged = {
        "first bit flipped": bytes([raw[0] ^ 128]) + raw[1:],
        "last bit flipped": raw[:-1] + bytes([raw[-1] ^ 1]),
        "all zeros": bytes(len(raw)),
        "all ones": b"\xff" * len(raw),
        "r zero": bytes(half) + raw[half:],
        "s zero": raw[:half] + bytes(half),
        "halves swapped": raw[half:] + raw[:half],
        "in DER": encode_dss_signature(int.from_bytes(raw[:half]), int.from_bytes(raw[half:])),
        "a byte too short": raw[:-1],
        "a byte too long": raw + b"\0",
        "a zero before it": b"\0" + raw,
        "of one byte": b"\0",
        "of 4 kB": raw * (4_000 // len(raw)),
        "random": secrets.token_bytes(len(raw)),
        "of other claims": key.sign(f"{header}.{segment(b'{}')}".encode()),
    }
    for name, data in forged.items():
        yield f"signature {name}", _JOSE, f"{header}.{payload}.{segment(data)}"
    other = segment(encoded_json({**claims, "roles": ["operator"]}))
    yield "payload changed after signing", _JOSE, f"{header}.{other}.{signature}"
