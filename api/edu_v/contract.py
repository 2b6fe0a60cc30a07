"""The door's own contract, beside the main one: the declarations for its routes, and the document."""

import json
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI

from api.contract.about import CONTACT
from api.contract.components import (
    ACCESS_TOKEN,
    ALWAYS,
    HEADERS,
    Document,
    Refusal,
    Responses,
    header_name,
    headers,
    refuses,
)
from api.contract.document import completed, derived, operations_of
from api.edge.request_context import API_VERSION
from api.edu_v import status_codes

#: Where the standard's paths begin.
PATH: Final = "/edu-v/v1"

TAGS: Final = [
    {
        "name": "consent",
        "description": "Requests, confirmations, revocations and statuses, as the Edu-V Consent API names them.",
    }
]

ABOUT: Final[dict[str, Any]] = {
    "title": "School privacy manager: Edu-V Consent API",
    "version": API_VERSION,
    "summary": "The consents of the main contract, in the words of the Edu-V Consent API (after its version 0.9.1).",
    "description": (
        "The same grants, rules, tokens and roles as in the main contract, for partners and schools that speak Edu-V."
        " `docs/edu-v.md` says where this differs from the published text of the standard."
    ),
    "contact": CONTACT,
    "servers": [{"url": f"https://v1.privacy-manager.example{PATH}"}],
    "openapi_tags": TAGS,
}

# -- what its routes declare ------------------------------------------------------------------------------------------

_BAD_REQUEST: Final = Refusal("BadRequest", 400, "0011, 0023 or 0099.")
_UNAUTHENTICATED: Final = Refusal("Unauthenticated", 401, "0021: no valid access token.")
_FORBIDDEN: Final = Refusal("Forbidden", 403, "0021: the token's role may not do this.")
_NOT_FOUND: Final = Refusal("NotFound", 404, "1001, 1003 or 0099: nothing of the caller's is called so, or is there.")
_CONFLICT: Final = Refusal("Conflict", 409, "1002, 1004 or 0099: the present state forbids it.")
_VERSION_MISMATCH: Final = Refusal("VersionMismatch", 412, "0099: it has changed since it was read.")
_TOO_LARGE: Final = Refusal("TooLarge", 413, "0099: the message is too large.")
_VERSION_REQUIRED: Final = Refusal("VersionRequired", 428, "0099: If-Match is required.")
_TOO_MANY: Final = Refusal("TooManyRequests", 429, "0099: too much at once.")
_INTERNAL_ERROR: Final = Refusal("InternalError", 500, "0099: something went wrong here.")
_STORE_UNREACHABLE: Final = Refusal("StoreUnreachable", 503, "0099: the store is out of reach.")

_OF_READS: Final = (
    _BAD_REQUEST,
    _UNAUTHENTICATED,
    _FORBIDDEN,
    _NOT_FOUND,
    _TOO_MANY,
    _INTERNAL_ERROR,
    _STORE_UNREACHABLE,
)
_OF_WRITES: Final = (_CONFLICT, _VERSION_MISMATCH, _TOO_LARGE, _VERSION_REQUIRED)

READ: Final[Responses] = refuses(*_OF_READS)
WRITE: Final[Responses] = refuses(*_OF_READS, *_OF_WRITES)

#: A status has a version where it is of one consent.
ETAG_OF_ONE: Final[Responses] = {200: {"headers": {"ETag": {"$ref": "#/components/headers/OptionalETag"}}}}


def put(view: type, status: int = 200) -> Responses:
    """For `responses=` of a route that takes a message: with 201 it may also answer 200 with the same view."""
    sent = headers(("ETag", "Idempotency-Replayed"))
    if status == 200:
        return {200: {"headers": sent}}
    again = {"model": view, "description": "0000: it was so already, or became so.", "headers": sent}
    return {200: again, status: {"headers": sent}}


# -- the document -----------------------------------------------------------------------------------------------------

LINK: Final[Document] = {
    "description": 'RFC 8288, `rel="next"`: where the following part is.',
    "schema": {"type": "string"},
    "example": f'<{PATH}/consent/statuses?limit=100&cursor=NDIuMQ>; rel="next"',
}
ERROR: Final[Document] = {
    "type": "object",
    "description": "Edu-V, Status- en foutcodes. `detail` and `errors` are ours.",
    "required": ["status", "statusMessage", "detail"],
    "properties": {
        "status": {"type": "string", "enum": sorted({code.status for code in status_codes.REFUSING})},
        "statusMessage": {"type": "string"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["location", "message"],
                "properties": {"location": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
EXAMPLES: Final[Document] = json.loads((Path(__file__).parent / "examples.json").read_text(encoding="utf-8"))
_SENT: Final = (*ALWAYS, "ETag", "Idempotency-Replayed", "Retry-After", "WWW-Authenticate")


def publish(door: FastAPI) -> None:
    """Makes the door's `/openapi.json` its whole contract."""

    def document() -> Document:
        if door.openapi_schema is None:
            door.openapi_schema = _document(door)
        return door.openapi_schema

    door.openapi = document  # type: ignore[method-assign]


def _document(door: FastAPI) -> Document:
    document = derived(door, ABOUT)
    for _, _, operation in operations_of(document):
        operation["security"] = [{"accessToken": []}]
        for status, response in operation["responses"].items():
            if "$ref" in response:
                operation["responses"][status] = {"$ref": response["$ref"]}
            else:
                response["headers"] = headers(ALWAYS) | response.get("headers", {})
    document["components"]["schemas"]["Error"] = ERROR
    document["components"] |= {
        "headers": {
            **{header_name(name): HEADERS[name] for name in _SENT},
            "OptionalETag": {**HEADERS["ETag"], "required": False},
            "Link": LINK,
        },
        "responses": {
            refusal.name: refusal.document("application/json", "#/components/schemas/Error")
            for refusal in (*_OF_READS, *_OF_WRITES)
        },
        "securitySchemes": {"accessToken": ACCESS_TOKEN},
    }
    return completed(document, EXAMPLES)
