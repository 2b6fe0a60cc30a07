"""The door put together: its routes, how it refuses, and its own contract beside the main one."""

from functools import cache
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from api.contract.document import CHALLENGE, ETAG, HEADERS, REPLAYED, RETRY, Document, operations_of
from api.edge.request_context import API_VERSION
from api.edu_v import answers, messages, statuses
from api.web.idempotency import Replayed, give_again

#: Where the standard's paths begin.
PATH: Final = "/edu-v/v1"
CONTRACT: Final = "/openapi.json"

ABOUT: Final[dict[str, Any]] = {
    "title": "School privacy manager: Edu-V Consent API",
    "version": API_VERSION,
    "summary": "The consents of the main contract, in the words of the Edu-V Consent API (after its version 0.9.1).",
    "servers": [{"url": f"https://v1.privacy-manager.example{PATH}"}],
}
LINK: Final[Document] = {
    "Link": {"description": 'RFC 8288, `rel="next"`: where the following part is.', "schema": {"type": "string"}}
}
ERROR: Final[Document] = {
    "type": "object",
    "description": "Edu-V, Status- en foutcodes. `detail` and `errors` are ours.",
    "required": ["status", "statusMessage", "detail"],
    "properties": {
        "status": {"type": "string", "enum": sorted({code.status for code in answers.REFUSING})},
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

#: What a route may refuse, by HTTP status; writes also the second.
REFUSALS: Final = {
    "400": "0011, 0023 or 0099.",
    "401": "0021: no valid access token.",
    "403": "0021: the token's role may not do this.",
    "404": "1001, 1003 or 0099: nothing of the caller's is called so, or is there.",
    "500": "0099: something went wrong here.",
    "503": "0099: the store is out of reach.",
}
REFUSALS_OF_WRITES: Final = {
    "409": "1002, 1004 or 0099: the present state forbids it.",
    "412": "0099: it has changed since it was read.",
    "413": "0099: the message is too large.",
    "428": "0099: If-Match is required.",
}


def needs_token(path: str) -> bool:
    """All that is below the door does, but its contract."""
    return path != PATH + CONTRACT


def documented_door() -> FastAPI:
    """Every route of the door, with its contract, and no store behind it yet."""
    door = FastAPI(
        routes=_routes(),
        docs_url=None,
        redoc_url=None,
        openapi_url=CONTRACT,
        redirect_slashes=False,
        root_path_in_servers=False,
        **ABOUT,
    )
    answers.install(door)
    door.add_exception_handler(Replayed, give_again)
    door.openapi = lambda: _document(door)  # type: ignore[method-assign]
    return door


@cache
def _routes() -> list[BaseRoute]:
    """Once for all services of a process."""
    every = APIRouter()
    every.include_router(statuses.router)
    every.include_router(messages.router)
    return every.routes


def _document(door: FastAPI) -> Document:
    if door.openapi_schema is None:
        door.openapi_schema = document = get_openapi(routes=door.routes, **ABOUT)
        schemas = document["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        schemas["Error"] = ERROR
        document["components"]["securitySchemes"] = {
            "accessToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT (RFC 9068)"}
        }
        for _, method, operation in operations_of(document):
            _complete(method, operation)
    return door.openapi_schema


def _complete(method: str, operation: Document) -> None:
    """Adds what every answer has and every route may refuse."""
    responses = operation["responses"]
    responses.pop("422", None)
    operation["security"] = [{"accessToken": []}]
    sent = {parameter["name"] for parameter in operation.get("parameters", ())}
    if method == "put" and "201" in responses:
        responses["200"] = {**responses["201"], "description": "0000: it was so already, or became so."}
    refusals = REFUSALS if method == "get" else {**REFUSALS, **REFUSALS_OF_WRITES}
    for status, description in refusals.items():
        content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
        responses[status] = {"description": description, "content": content}
    for status, response in responses.items():
        response["headers"] = {**HEADERS, **_headers(status, sent, method)}
    operation["responses"] = dict(sorted(responses.items()))


def _headers(status: str, sent: set[str], method: str) -> Document:
    if status == "503":
        return RETRY
    if status == "401":
        return CHALLENGE
    if status >= "400":
        return {}
    if method == "put":
        return {**ETAG, **REPLAYED}
    return LINK if "cursor" in sent else {name: {**header, "required": False} for name, header in ETAG.items()}
