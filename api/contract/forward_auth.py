"""Forward-auth in the published contract."""

from typing import Any, Final

from api.gateways import forward_auth

Document = dict[str, Any]


def _header(name: str, description: str) -> Document:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}


def _consent(description: str) -> Document:
    return {"description": description, "schema": {"type": "string"}}


_REFUSALS: Final[Document] = {
    "400": {"description": "Not given by this door: to a gateway, what is malformed is a 403."},
    "401": {"description": "The gateway's credential or the partner's token is missing or not valid."},
    "403": {"description": "A deny: not granted, a request that no route names, or one told in two ways."},
    "500": {"description": "Something went wrong here: a deny."},
    "503": {"description": "The store is out of reach: a deny."},
}
_PARTNER: Final = _header("X-Partner-Client-Id", "The connection, as the gateway knows it by its certificate.")

PATHS: Final[Document] = {
    forward_auth.PATH: {
        "get": {
            "tags": ["gateways"],
            "operationId": "authorize",
            "summary": "May the request that a gateway holds go on?",
            "description": (
                "Any method will do. The partner is named by its own token in `Authorization` or by"
                " `X-Partner-Client-Id`. Instead of in headers the held request may be told as Envoy does: by the"
                " method, and by the path behind this one. Anything but 200 means: let it not through."
            ),
            "parameters": [
                _PARTNER,
                _header("X-Forwarded-Method", "The held request's method (Traefik, Caddy)."),
                _header("X-Forwarded-Uri", "Its path and query, as they were sent."),
                _header("X-Original-Method", "The same, as nginx says it."),
                _header("X-Original-URI", "The same, as nginx says it."),
            ],
            "responses": {
                "200": {
                    "description": "A permit.",
                    "headers": {
                        "X-Consent-Scopes": _consent("What may be released, by scope; separated by spaces."),
                        "X-Consent-Fields": _consent("The same by field, named as in UWLR."),
                        "X-Consent-Grant": _consent("The grant."),
                        "X-Consent-Revision": _consent("The revision that the decision was made on."),
                    },
                },
                **_REFUSALS,
            },
            "security": [{"gatewayCredential": [], "accessToken": []}, {"gatewayCredential": []}],
        }
    },
    forward_auth.PARTNER_PATH: {
        "get": {
            "tags": ["gateways"],
            "operationId": "identifyPartner",
            "summary": "Which connection is this partner's token of?",
            "description": "For a layer that then asks about it by its client id.",
            "responses": {
                "200": {
                    "description": "The connection.",
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "required": ["clientId"],
                                "properties": {"clientId": {"type": "string"}},
                            }
                        }
                    },
                },
                **{status: _REFUSALS[status] for status in ("400", "401", "403", "500")},
                "405": {"description": "It is asked with GET."},
            },
            "security": [{"gatewayCredential": [], "accessToken": []}],
        }
    },
}
