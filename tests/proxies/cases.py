"""The requests that every gateway gets. Each says what the client is told, and whether its request may go on.

`answers` are the statuses that a client may be told, `at` those at one gateway where it differs, with the reason beside
it. Whatever is told: a request that went on is exactly one that was asked about and permitted (`test_gateways.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

PUPILS: Final = "/las/v1/scholen/16SW/leerlingen"
AT_LOCATION: Final = "/las/v1/scholen/17TX/vestigingen/00/leerlingen"
#: Not granted to anyone.
TEACHERS: Final = "/las/v1/scholen/16SW/docenten"

PERMITTED: Final = frozenset({200})
REFUSED: Final = frozenset({400, 403, 404})
UNKNOWN: Final = frozenset({401})
NOT_TAKEN: Final = frozenset({400})


class Token(StrEnum):
    """Whose token the client shows."""

    GRANTED = "a partner that was granted"
    OTHER = "a partner that was granted nothing"
    GATEWAY = "a gateway"
    INVALID = "nobody"
    NONE = "none"


@dataclass(frozen=True)
class Case:
    """One request of a client, as its bytes go out."""

    target: str = PUPILS
    method: str = "GET"
    token: Token = Token.GRANTED
    headers: tuple[tuple[str, str], ...] = ()
    answers: frozenset[int] = REFUSED
    at: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def expected(self, gateway: str) -> frozenset[int]:
        return self.at.get(gateway, self.answers)


def _permitted(target: str = PUPILS, method: str = "GET", **more: frozenset[int]) -> Case:
    return Case(target, method, answers=PERMITTED, at=more)


def _claiming(*headers: tuple[str, str], target: str = TEACHERS, **more: frozenset[int]) -> Case:
    """A client that says what only a gateway may say, of a request that is not permitted."""
    return Case(target, headers=headers, at=more)


def _allowed_though(*headers: tuple[str, str], **more: frozenset[int]) -> Case:
    """The same, of a request that is permitted all the same."""
    return Case(headers=headers, answers=PERMITTED, at=more)


#: Traefik resolves `.`, `..`, `//` and needless escapes, asks about what is left, and sends that on.
_RESOLVED: Final = {"traefik": PERMITTED}
#: What is told is the gateway's own affair.
_EITHER: Final = PERMITTED | REFUSED

CASES: Final[dict[str, Case]] = {
    # -- what is granted
    "the pupils of a school": _permitted(),
    "their head alone": _permitted(method="HEAD"),
    "a page of them": _permitted(f"{PUPILS}?page=2&limit=50"),
    "an empty query": Case(f"{PUPILS}?", answers=_EITHER),
    "the pupils of a location": _permitted(AT_LOCATION),
    "the school itself": _permitted("/las/v1/scholen/16SW"),
    "an address in absolute form": _permitted(f"http://127.0.0.1{PUPILS}"),
    # -- what is not
    "a scope that was not granted": Case(TEACHERS),
    "a school that granted only a location": Case("/las/v1/scholen/17TX/leerlingen"),
    "another location": Case("/las/v1/scholen/17TX/vestigingen/01/leerlingen"),
    "a school that nobody knows": Case("/las/v1/scholen/99ZZ/leerlingen"),
    "a brin in small letters": Case("/las/v1/scholen/16sw/leerlingen"),
    "a brin in mixed letters": Case("/las/v1/scholen/16Sw/leerlingen"),
    "no school at all": Case("/las/v1/scholen//leerlingen"),
    "an address that no route names": Case("/las/v1/leerlingen"),
    "the root": Case("/"),
    "a path that begins as a route": Case(f"{PUPILS}/1"),
    "a slash at the end": Case(f"{PUPILS}/"),
    "a method that no route names": Case(method="DELETE"),
    "a method in small letters": Case(method="get", at={"nginx": NOT_TAKEN}),
    # Caddy and Traefik answer this themselves, about themselves.
    "all of the server": Case("*", method="OPTIONS", at={"caddy": _EITHER, "traefik": _EITHER}),
    "a tunnel": Case("127.0.0.1:9", method="CONNECT", answers=REFUSED | {405, 501}),
    "the hook of the privacy manager": Case("/gateway/v1/authorize"),
    "the question itself": Case("/consent"),
    # -- what two readers could read in two ways
    "an escaped slash": Case("/las/v1/scholen/16SW%2Fleerlingen"),
    "an escaped slash in small letters": Case("/las/v1/scholen/17TX%2f..%2f16SW/leerlingen"),
    "an escaped dot": Case("/las/v1/scholen/17TX/%2e%2e/16SW/leerlingen", at=_RESOLVED),
    "an escaped digit of a brin": Case("/las/v1/scholen/%316SW/leerlingen", at=_RESOLVED),
    "an escaped escape": Case("/las/v1/scholen/17TX/%252e%252e/16SW/leerlingen"),
    "an escaped null": Case("/las/v1/scholen/16SW%00/leerlingen"),
    "an escape that breaks off": Case("/las/v1/scholen/16SW/leerlingen%"),
    "a doubled slash": Case("/las/v1//scholen/16SW/leerlingen", at=_RESOLVED),
    "a doubled slash in front": Case(f"/{PUPILS}", at=_RESOLVED),
    "a way up": Case("/las/v1/scholen/17TX/../16SW/leerlingen", at=_RESOLVED),
    "a way up, out of what is granted": Case(f"{PUPILS}/../../17TX/leerlingen"),
    "a dot": Case("/las/v1/./scholen/16SW/leerlingen", at=_RESOLVED),
    "a parameter of the path": Case(f"{PUPILS};jsessionid=1"),
    "a parameter of a segment": Case("/las/v1/scholen/16SW;a=b/leerlingen"),
    "a backslash": Case("/las/v1/scholen/17TX\\..\\16SW\\leerlingen"),
    "a fragment": Case(f"{PUPILS}#x"),
    "a letter that is none of ASCII": Case("/las/v1/scholen/16S\u00df/leerlingen"),
    "a parameter that no route names": Case(f"{PUPILS}?bsn=1"),
    "the school again, in the query": Case(f"{PUPILS}?brin=17TX"),
    "a parameter twice": Case(f"{PUPILS}?page=1&page=2"),
    "parameters parted by a semicolon": Case(f"{PUPILS}?page=1;brin=17TX"),
    "a second question mark": Case(f"{PUPILS}?page=1?brin=17TX"),
    "another host in absolute form": Case(f"http://elsewhere.example{TEACHERS}"),
    # -- what only a gateway may say
    "a client id of the client's own": _claiming(("X-Partner-Client-Id", "rekenrijk")),
    "a client id instead of a token": Case(
        token=Token.NONE, headers=(("X-Partner-Client-Id", "rekenrijk"),), answers=UNKNOWN
    ),
    "another's client id": Case(token=Token.OTHER, headers=(("X-Partner-Client-Id", "rekenrijk"),)),
    "a client id beside a good token": _allowed_though(("X-Partner-Client-Id", "taalmaat")),
    "a credential of the client's own": _claiming(("X-Gateway-Authorization", "Bearer x")),
    "a credential beside a good token": _allowed_though(("X-Gateway-Authorization", "Bearer x")),
    "another address, as Traefik and Caddy say it": _claiming(
        ("X-Forwarded-Uri", PUPILS), ("X-Forwarded-Method", "GET")
    ),
    "another method, as Traefik and Caddy say it": Case(method="DELETE", headers=(("X-Forwarded-Method", "GET"),)),
    "another address, as nginx says it": _claiming(("X-Original-URI", PUPILS), ("X-Original-Method", "GET")),
    "another method, as nginx says it": Case(method="DELETE", headers=(("X-Original-Method", "GET"),)),
    "another address, as some applications read it": _claiming(("X-Original-URL", PUPILS), ("X-Rewrite-URL", PUPILS)),
    "a worse address beside a good one": _allowed_though(
        ("X-Forwarded-Uri", TEACHERS), ("X-Original-URI", TEACHERS), ("X-Envoy-Original-Path", TEACHERS)
    ),
    "consent of the client's own": _claiming(
        ("X-Consent-Grant", "mine"), ("X-Consent-Scopes", "docent.naam"), ("X-Consent-Fields", "bsn")
    ),
    "more consent than there is": _allowed_though(("X-Consent-Scopes", "docent.naam"), ("X-Consent-Fields", "bsn")),
    "consent in small letters": _allowed_though(("x-consent-scopes", "docent.naam")),
    # nginx, Caddy and Traefik drop such a header, Envoy refuses the request.
    "consent with underscores": _allowed_though(("X_Consent_Scopes", "docent.naam"), envoy=NOT_TAKEN),
    "consent with an underscore": _allowed_though(("X-Consent_Grant", "mine"), envoy=NOT_TAKEN),
    "consent that is to be taken out": _allowed_though(
        ("Connection", "close, X-Consent-Scopes, X-Consent-Fields, X-Consent-Grant")
    ),
    "a question that is to be taken out": _claiming(
        ("Connection", "X-Forwarded-Uri, X-Forwarded-Method, X-Gateway-Authorization"), ("X-Original-URI", PUPILS)
    ),
    # nginx and Caddy drop it, Traefik too; Envoy takes no upgrade that it was not told of.
    "another protocol": _allowed_though(
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        envoy=frozenset({403}),
    ),
    # -- who asks
    "no token": Case(token=Token.NONE, answers=UNKNOWN),
    "an invalid token": Case(token=Token.INVALID, answers=UNKNOWN),
    "another partner's token": Case(token=Token.OTHER),
    "a gateway's token": Case(token=Token.GATEWAY),
    "two tokens": Case(token=Token.OTHER, headers=(("Authorization", "Bearer x"),), answers=REFUSED | UNKNOWN),
    "a header that is too long": Case(headers=(("X-Long", "x" * 70_000),), answers=frozenset({400, 414, 431})),
}
