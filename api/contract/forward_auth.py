"""Forward-auth in the published contract, written out: its routes are not FastAPI routes."""

from typing import Final

from api.contract.components import (
    ALWAYS,
    GATEWAY_BUSY,
    GATEWAY_DENY,
    GATEWAY_ERROR,
    GATEWAY_MALFORMED,
    GATEWAY_METHOD,
    GATEWAY_UNAUTHENTICATED,
    GATEWAY_UNREACHABLE,
    Document,
    Refusal,
    headers,
)
from api.gateways import forward_auth


def _header(name: str, description: str, example: str) -> Document:
    schema = {"type": "string"}
    return {"name": name, "in": "header", "description": description, "schema": schema, "example": example}


def _consent(description: str, example: str) -> Document:
    return {"description": description, "schema": {"type": "string"}, "example": example}


def _refusals(*refusals: Refusal) -> Document:
    return {str(refusal.status): refusal.reference for refusal in refusals}


_HELD: Final = "/uwlr/v2/16SW/leerlingen"

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
                _header(
                    "X-Partner-Client-Id",
                    "The connection, as the gateway knows it by its certificate.",
                    "rekenrijk-web",
                ),
                _header("X-Forwarded-Method", "The held request's method (Traefik, Caddy).", "GET"),
                _header("X-Forwarded-Uri", "Its path and query, as they were sent.", _HELD),
                _header("X-Original-Method", "The same, as nginx says it.", "GET"),
                _header("X-Original-URI", "The same, as nginx says it.", _HELD),
            ],
            "responses": {
                "200": {
                    "description": "A permit.",
                    "headers": {
                        **headers(ALWAYS),
                        "X-Consent-Scopes": _consent(
                            "What may be released, by scope; separated by spaces.", "leerling.basis leerling.naam"
                        ),
                        "X-Consent-Fields": _consent("The same by field, named as in UWLR.", "achternaam roepnaam"),
                        "X-Consent-Grant": _consent("The grant.", "0b8f6e0e-3f0a-4f53-8a37-6c3b0a6f2d11"),
                        "X-Consent-Revision": _consent("The revision that the decision was made on.", "42"),
                    },
                },
                **_refusals(
                    GATEWAY_MALFORMED,
                    GATEWAY_UNAUTHENTICATED,
                    GATEWAY_DENY,
                    GATEWAY_BUSY,
                    GATEWAY_ERROR,
                    GATEWAY_UNREACHABLE,
                ),
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
                    "headers": headers(ALWAYS),
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/PartnerOfToken"}}},
                },
                **_refusals(
                    GATEWAY_MALFORMED,
                    GATEWAY_UNAUTHENTICATED,
                    GATEWAY_DENY,
                    GATEWAY_METHOD,
                    GATEWAY_BUSY,
                    GATEWAY_ERROR,
                ),
            },
            "security": [{"gatewayCredential": [], "accessToken": []}],
        }
    },
}

SCHEMAS: Final[Document] = {
    "PartnerOfToken": {
        "type": "object",
        "required": ["clientId"],
        "properties": {"clientId": {"type": "string"}},
    },
}
