"""The contract's shared headers, refusals and security schemes, and the functions by which a route declares its own."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from api.edge.problems import ALL, MEDIA_TYPE, TYPE_BASE
from api.edge.request_context import API_VERSION

Document = dict[str, Any]
Responses = dict[int | str, Document]

# -- headers ----------------------------------------------------------------------------------------------------------

#: Headers of every answer.
ALWAYS: Final = ("API-Version", "X-Request-ID")

HEADERS: Final[Document] = {
    "API-Version": {
        "description": "The version of this contract.",
        "required": True,
        "schema": {"type": "string"},
        "example": API_VERSION,
    },
    "X-Request-ID": {
        "description": "The request's id, as it came or made here.",
        "required": True,
        "schema": {"type": "string"},
        "example": "5b0b7a2e-7e0b-4b67-9f53-0a8f4e1f6f1c",
    },
    "ETag": {
        "description": "What was read, for If-Match or If-None-Match.",
        "required": True,
        "schema": {"type": "string"},
        "example": '"3"',
    },
    "WWW-Authenticate": {
        "description": "RFC 6750.",
        "required": True,
        "schema": {"type": "string"},
        "example": 'Bearer error="invalid_token"',
    },
    "Location": {
        "description": "Where the grant is; not repeated to a replay.",
        "schema": {"type": "string", "format": "uri-reference"},
        "example": "/v1/schools/16SW/grants/0b8f6e0e-3f0a-4f53-8a37-6c3b0a6f2d11",
    },
    "Idempotency-Replayed": {
        "description": "This is the first answer again: nothing was changed.",
        "schema": {"type": "string", "enum": ["true"]},
        "example": "true",
    },
    "Retry-After": {
        "description": "Seconds.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
        "example": "1",
    },
    "Content-Disposition": {
        "description": "Always `attachment`: the file is never shown in place.",
        "required": True,
        "schema": {"type": "string"},
        "example": "attachment; filename=\"file.pdf\"; filename*=UTF-8''overeenkomst.pdf",
    },
    "Repr-Digest": {
        "description": "RFC 9530, SHA-256.",
        "required": True,
        "schema": {"type": "string"},
        "example": "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
    },
}


def header_name(header: str) -> str:
    """The component name of a header, in upper camel case: `RetryAfter`."""
    return header.replace("-", "")


def headers(names: Iterable[str]) -> Document:
    """References to the headers of an answer."""
    return {name: {"$ref": f"#/components/headers/{header_name(name)}"} for name in names}


# -- refusals ---------------------------------------------------------------------------------------------------------

_PROBLEM: Final = "#/components/schemas/Problem"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusing answer, the same for all operations that give it."""

    name: str
    status: int
    description: str
    #: Whether the body may also be a decision.
    decides: bool = False

    @property
    def reference(self) -> Document:
        return {"$ref": f"#/components/responses/{self.name}"}

    def document(self, media_type: str = MEDIA_TYPE, schema: str = _PROBLEM) -> Document:
        content: Document = {media_type: {"schema": {"$ref": schema}}}
        if self.decides:
            content["application/json"] = {"schema": {"$ref": "#/components/schemas/EvaluationResponse"}}
        more = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}.get(self.status, ())
        return {"description": self.description, "headers": headers((*ALWAYS, *more)), "content": content}


BAD_REQUEST: Final = Refusal("BadRequest", 400, "The request is not valid.")
UNAUTHENTICATED: Final = Refusal("Unauthenticated", 401, "No valid access token.")
FORBIDDEN: Final = Refusal("Forbidden", 403, "The token's role may not do this.")
NOT_FOUND: Final = Refusal("NotFound", 404, "There is no such thing, or it is not the caller's.")
CONFLICT: Final = Refusal("Conflict", 409, "The present state forbids it.")
NOT_IN_HISTORY: Final = Refusal("NotInHistory", 410, "The store's history does not hold what `since` names.")
VERSION_MISMATCH: Final = Refusal("VersionMismatch", 412, "It has changed since it was read.")
TOO_LARGE: Final = Refusal("TooLarge", 413, "The request is too large.")
VERSION_REQUIRED: Final = Refusal("VersionRequired", 428, "If-Match is required.")
TOO_MANY_REQUESTS: Final = Refusal("TooManyRequests", 429, "Too many requests.")
TOO_MANY_LOOKUPS: Final = Refusal("TooManyLookups", 429, "Too many names are being looked up.")
TOO_MANY_WAITING: Final = Refusal("TooManyWaiting", 429, "Too many requests wait for changes.")
INTERNAL_ERROR: Final = Refusal("InternalError", 500, "Something went wrong here.")
STORE_UNREACHABLE: Final = Refusal("StoreUnreachable", 503, "The store is out of reach.")
NOT_DRAWN: Final = Refusal("NotDrawn", 503, "The store is out of reach, or too many documents are being drawn.")
UNDECIDED: Final = Refusal(
    "Undecided", 503, "The store is out of reach, or behind `minRevision`: a deny.", decides=True
)

#: Refusals of forward-auth: a gateway lets a request through on a 200 only.
GATEWAY_MALFORMED: Final = Refusal(
    "GatewayMalformed", 400, "Not given by this door: to a gateway, what is malformed is a 403."
)
GATEWAY_UNAUTHENTICATED: Final = Refusal(
    "GatewayUnauthenticated", 401, "The gateway's credential or the partner's token is missing or not valid."
)
GATEWAY_DENY: Final = Refusal(
    "GatewayDeny", 403, "A deny: not granted, a request that no route names, or one told in two ways."
)
GATEWAY_METHOD: Final = Refusal("GatewayMethod", 405, "It is asked with GET.")
GATEWAY_BUSY: Final = Refusal("GatewayBusy", 429, "This gateway asks for too much at once: a deny.")
GATEWAY_ERROR: Final = Refusal("GatewayError", 500, "Something went wrong here: a deny.")
GATEWAY_UNREACHABLE: Final = Refusal("GatewayUnreachable", 503, "The store is out of reach: a deny.")

REFUSALS: Final = (
    BAD_REQUEST,
    UNAUTHENTICATED,
    FORBIDDEN,
    NOT_FOUND,
    CONFLICT,
    NOT_IN_HISTORY,
    VERSION_MISMATCH,
    TOO_LARGE,
    VERSION_REQUIRED,
    TOO_MANY_REQUESTS,
    TOO_MANY_LOOKUPS,
    TOO_MANY_WAITING,
    INTERNAL_ERROR,
    STORE_UNREACHABLE,
    NOT_DRAWN,
    UNDECIDED,
    GATEWAY_MALFORMED,
    GATEWAY_UNAUTHENTICATED,
    GATEWAY_DENY,
    GATEWAY_METHOD,
    GATEWAY_BUSY,
    GATEWAY_ERROR,
    GATEWAY_UNREACHABLE,
)

PROBLEM: Final[Document] = {
    "type": "object",
    "description": "RFC 9457. `type` is one of a closed list.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {
            "type": "string",
            "format": "uri",
            "enum": sorted({TYPE_BASE + problem.slug for problem in ALL}),
        },
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "Where the input is not valid, and why.",
            "items": {
                "type": "object",
                "required": ["location", "message"],
                "properties": {"location": {"type": "string"}, "message": {"type": "string"}},
            },
        },
        "conditions": {
            "type": "array",
            "description": "Which conditions of a step are not met.",
            "items": {
                "type": "object",
                "required": ["condition", "detail"],
                "properties": {"condition": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
        "decision": {"type": "boolean", "enum": [False], "description": "Release nothing."},
        "reason": {"type": "string", "description": "Of a decision: why it is a deny."},
        "revision": {"type": "integer", "description": "Of a decision: the revision that it was made on."},
    },
}

# -- security schemes -------------------------------------------------------------------------------------------------

ACCESS_TOKEN: Final = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT (RFC 9068)"}
SECURITY_SCHEMES: Final[Document] = {
    "accessToken": ACCESS_TOKEN,
    "gatewayCredential": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Gateway-Authorization",
        "description": "`Bearer` and an access token with the role gateway.",
    },
    "applicationSecret": {"type": "apiKey", "in": "header", "name": "X-Application-Secret"},
}

# -- what a route declares --------------------------------------------------------------------------------------------

_BINARY: Final[Document] = {"schema": {"type": "string", "format": "binary"}}


def refuses(*refusals: Refusal) -> Responses:
    """For `responses=` of a route: its own refusals, beside those that follow from its method and parameters."""
    return {refusal.status: refusal.reference for refusal in refusals}


def answers(status: int, *names: str) -> Responses:
    """For `responses=` of a route: headers of its answer with this status, beside those of every answer."""
    return {status: {"headers": headers(names)}}


def downloads(*media_types: str) -> Responses:
    """For `responses=` of a route: it answers with a file of one of these types."""
    content = {media_type: dict(_BINARY) for media_type in sorted(media_types)}
    return {200: {"content": content, "headers": headers(("Content-Disposition", "Repr-Digest"))}}


def takes_file(*media_types: str) -> Document:
    """For `openapi_extra=` of a route: its body is a file of one of these types."""
    content = {media_type: dict(_BINARY) for media_type in sorted(media_types)}
    return {"requestBody": {"required": True, "content": content}}
