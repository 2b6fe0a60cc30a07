"""The published contract: what FastAPI derives from the routes, the hook's routes, and what every answer has."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.contract import forward_auth
from api.edge.authentication import OPEN_TO_ANYONE
from api.edge.problems import ALL, MEDIA_TYPE, TYPE_BASE
from api.edge.request_context import API_VERSION
from api.gateways import authzen, authzen_search
from models.consents.files import ATTACHMENTS, DOCUMENTS

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]
Document = dict[str, Any]

ABOUT: Final[dict[str, Any]] = {
    "title": "School privacy manager",
    "version": API_VERSION,
    "summary": "Which schools granted which partners access to which data scopes; may this be released, now?",
    "contact": {
        "name": "School privacy manager",
        "url": "https://privacy-manager.example/",
        "email": "beheer@privacy-manager.example",
    },
    "license_info": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    # The major version stands in each path; the host's first label repeats it for tools that look for it here.
    "servers": [{"url": "https://v1.privacy-manager.example"}],
    "openapi_tags": [
        {
            "name": "schools",
            "description": "School administrators: what can be granted, and to grant and revoke it.",
        },
        {"name": "boards", "description": "Boards (bevoegd gezag): to grant for all their schools at once."},
        {"name": "partners", "description": "Partners: where a connection has permission, and what changed."},
        {"name": "requests", "description": "What partners ask of schools, and what the schools answer."},
        {
            "name": "deletions",
            "description": "What partners delete after a grant has ended, and by when.",
        },
        {"name": "reminders", "description": "A letter a week to who has something to look at, and where it goes."},
        {"name": "webhooks", "description": "Where partners are told of changes, and what was delivered."},
        {"name": "applicants", "description": "Anyone who wants to connect: an application, without a token."},
        {"name": "onboarding", "description": "The road from application to live, step by step."},
        {"name": "operators", "description": "The platform's operators: the register, its rules and what is due."},
        {"name": "incidents", "description": "The incident portal: partners report, consultants resolve."},
        {"name": "gateways", "description": "Gateways: may this be released, now? OpenID AuthZEN 1.0."},
        {
            "name": "evidence",
            "description": "The log of all changes, with proofs and receipts.",
        },
        {"name": "health", "description": "Whether the service lives and is ready."},
    ],
}

HEADERS: Final[Document] = {
    "API-Version": {
        "description": "The version of this contract.",
        "required": True,
        "schema": {"type": "string"},
    },
    "X-Request-ID": {
        "description": "The request's id, as it came or made here.",
        "required": True,
        "schema": {"type": "string"},
    },
}
ETAG: Final[Document] = {
    "ETag": {
        "description": "What was read, for If-Match or If-None-Match.",
        "required": True,
        "schema": {"type": "string"},
    }
}
CHALLENGE: Final[Document] = {
    "WWW-Authenticate": {"description": "RFC 6750.", "required": True, "schema": {"type": "string"}}
}
LOCATION: Final[Document] = {
    "Location": {
        "description": "Where the grant is; not repeated to a replay.",
        "schema": {"type": "string", "format": "uri-reference"},
    }
}
REPLAYED: Final[Document] = {
    "Idempotency-Replayed": {
        "description": "This is the first answer again: nothing was changed.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}
RETRY: Final[Document] = {
    "Retry-After": {"description": "Seconds.", "required": True, "schema": {"type": "string", "pattern": "^[0-9]+$"}}
}

#: The operations whose object has a version, or whose answer can be asked for again only if it changed.
VERSIONED: Final = frozenset(
    {
        "grant",
        "getGrant",
        "amendGrant",
        "revokeGrant",
        "suspendGrant",
        "resumeGrant",
        "registerPartner",
        "getPartner",
        "changePartner",
        "registerConnection",
        "getConnection",
        "changeConnection",
        "listConsents",
        "stopPartner",
        "liftPartnerStop",
        "stopConnection",
        "liftConnectionStop",
        "getCase",
        "takeCaseStep",
        "openIncident",
        "getIncident",
        "commentOnIncident",
        "takeIncident",
        "answerIncident",
        "resolveIncident",
        "reopenIncident",
        "suspectBreach",
        "giveBreachNotice",
        "subscribe",
        "getSubscription",
        "changeSubscription",
        "rotateSecret",
        "disableSubscription",
        "enableSubscription",
    }
)

#: Where a URL is given, whose name is looked up.
LOOKING_UP: Final = frozenset(
    {("/v1/webhooks/subscriptions", "post"), ("/v1/webhooks/subscriptions/{subscription_id}", "patch")}
)

#: What these are about is named in the body.
NAMING: Final = frozenset(
    {
        ("/v1/incidents", "post"),
        ("/v1/actors/_erase", "post"),
        ("/v1/consents/requests", "post"),
        ("/v1/webhooks/subscriptions", "post"),
    }
)

#: The operations that take a file as their body, with the types that they take.
UPLOADS: Final = {"keepAgreementDocument": DOCUMENTS, "attachToIncident": ATTACHMENTS}
#: The operations that answer with a file.
DOWNLOADS: Final = {
    "getAgreementDocument": DOCUMENTS,
    "getOwnAgreementDocument": DOCUMENTS,
    "getAttachment": ATTACHMENTS,
    "downloadRegister": DOCUMENTS,
    "downloadRegisterTable": frozenset({"text/csv"}),
}
DOWNLOAD: Final[Document] = {
    "Content-Disposition": {
        "description": "Always `attachment`: the file is never shown in place.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Repr-Digest": {"description": "RFC 9530, SHA-256.", "required": True, "schema": {"type": "string"}},
}
BINARY: Final[Document] = {"schema": {"type": "string", "format": "binary"}}

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

_REF: Final = "#/components/schemas/{name}"

METHODS: Final = ("get", "post", "patch", "put", "delete")


def publish(app: FastAPI) -> None:
    """Makes `/openapi.json` the whole contract."""

    def document() -> Document:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def as_text(document: Document) -> str:
    """The document as the file in `openapi/` holds it."""
    return json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def _document(app: FastAPI) -> Document:
    # FastAPI would want another library to look at the e-mail address.
    about = {name: value for name, value in ABOUT.items() if name not in ("openapi_tags", "contact")}
    document = _well_named(get_openapi(routes=app.routes, tags=ABOUT["openapi_tags"], **about))
    document["info"]["contact"] = ABOUT["contact"]
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM
    components["securitySchemes"] = {
        "accessToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT (RFC 9068)"},
        "gatewayCredential": {
            "type": "apiKey",
            "in": "header",
            "name": "X-Gateway-Authorization",
            "description": "`Bearer` and an access token with the role gateway.",
        },
        "applicationSecret": {"type": "apiKey", "in": "header", "name": "X-Application-Secret"},
    }
    _add_hooks(document, schemas)
    document["paths"].update(forward_auth.PATHS)
    for path, method, operation in operations_of(document):
        _complete(path, method, operation)
    return document


def _well_named(document: Document) -> Document:
    """Pages as `PageOfGrantView`: in upper camel case, as the API design rules ask."""
    renamed: Document = json.loads(re.sub(r'Page_(\w+)_(?=")', r"PageOf\1", json.dumps(document)))
    return renamed


def operations_of(document: Document) -> Iterator[tuple[str, str, Document]]:
    """Each operation of a contract, with its path and method."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def _add_hooks(document: Document, schemas: Document) -> None:
    shapes = [authzen.EvaluationRequest, authzen.EvaluationsRequest, authzen.EvaluationResponse]
    _, components = msgspec.json.schema_components(shapes, ref_template=_REF)
    schemas.update(components)
    schemas["EvaluationsRequest"] = _batch(components["EvaluationsRequest"])
    schemas["EvaluationsResponse"] = BATCH_RESPONSE
    document["paths"]["/access/v1/evaluation"] = {
        "post": _hook("evaluate", "May this be released, now?", "EvaluationRequest", "EvaluationResponse")
    }
    many = _hook("evaluateMany", "Many questions at once.", "EvaluationsRequest", "EvaluationsResponse")
    answer = many["responses"]["200"]["content"]["application/json"]
    # Without evaluations it is a single question, and so is its answer (AuthZEN 1.0, 7.1).
    answer["schema"] = {"anyOf": [answer["schema"], {"$ref": "#/components/schemas/EvaluationResponse"}]}
    document["paths"]["/access/v1/evaluations"] = {"post": many}
    _add_searches(document, schemas)


def _add_searches(document: Document, schemas: Document) -> None:
    entities, actions = authzen_search.EntitiesFound, authzen_search.ActionsFound
    for searched, request, response, summary in (
        ("Subject", authzen_search.SubjectSearchRequest, entities, "Which connections may receive this?"),
        ("Resource", authzen_search.ResourceSearchRequest, entities, "Of which schools and locations may it receive?"),
        ("Action", authzen_search.ActionSearchRequest, actions, "What may be done, and what released by it?"),
    ):
        _, components = msgspec.json.schema_components((request, response), ref_template=_REF)
        schemas.update(components)
        search = _hook(f"search{searched}s", summary, request.__name__, response.__name__)
        search["description"] = "A result is no permission to release: ask for an evaluation for each release."
        search["responses"]["200"]["description"] = "A page of what was found; `next_token` asks for the next one."
        document["paths"][f"/access/v1/search/{searched.lower()}"] = {"post": search}


BATCH_RESPONSE: Final[Document] = {
    "description": "One answer for each evaluation that was made.",
    "type": "object",
    "required": ["evaluations"],
    "properties": {
        "evaluations": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["decision"],
                "properties": {"decision": {"type": "boolean"}, "context": {"type": "object"}},
            },
        }
    },
}


def _batch(schema: Document) -> Document:
    """The batch with the types that its raw members are decoded to later."""
    parts = {"subject": "Subject", "action": "Action", "resource": "Resource", "context": "Context"}
    members = {name: {"$ref": f"#/components/schemas/{part}"} for name, part in parts.items()}
    item = {"type": "object", "properties": members}
    listed = {"type": "array", "maxItems": authzen.MOST_EVALUATIONS, "items": item}
    return {**schema, "properties": {**schema["properties"], **members, "evaluations": listed}}


def _hook(operation_id: str, summary: str, request: str, response: str) -> Document:
    answer = {"application/json": {"schema": {"$ref": f"#/components/schemas/{response}"}}}
    single = {"application/json": {"schema": {"$ref": "#/components/schemas/EvaluationResponse"}}}
    return {
        "tags": ["gateways"],
        "operationId": operation_id,
        "summary": summary,
        "description": "Anything but 200 with `decision: true` means: release nothing.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{request}"}}},
        },
        "responses": {
            "200": {"description": "The decision.", "content": answer},
            "503": {
                "description": "The store is out of reach, or behind `minRevision`: a deny.",
                "content": single,
            },
        },
    }


def _complete(path: str, method: str, operation: Document) -> None:
    """Adds what every answer has and every route may refuse."""
    if path.startswith("/gateway/"):
        _complete_gateway_door(operation)
        return
    responses, operation_id = operation["responses"], operation["operationId"]
    responses.pop("422", None)
    if operation_id in UPLOADS:
        content = dict.fromkeys(sorted(UPLOADS[operation_id]), BINARY)
        operation["requestBody"] = {"required": True, "content": content}
    if operation_id in DOWNLOADS:
        responses["200"]["content"] = dict.fromkeys(sorted(DOWNLOADS[operation_id]), BINARY)
    sent = {parameter["name"] for parameter in operation.get("parameters", ())}
    if "if-none-match" in sent:
        responses["304"] = {"description": "It is still what If-None-Match names."}
    for status, description in _refusals(path, method, sent).items():
        known = responses.setdefault(status, {"description": description})
        known.setdefault("content", {})[MEDIA_TYPE] = {"schema": {"$ref": "#/components/schemas/Problem"}}
    for status, response in responses.items():
        response["headers"] = {**HEADERS, **_headers(operation_id, status, sent)}
    operation["responses"] = dict(sorted(responses.items()))
    if path == OPEN_TO_ANYONE or path.startswith("/health"):
        return
    scheme = "applicationSecret" if path.startswith(OPEN_TO_ANYONE) else "accessToken"
    operation["security"] = [{scheme: []}]
    if scheme == "applicationSecret":
        operation["parameters"] = [each for each in operation["parameters"] if each["name"] != "x-application-secret"]


def _complete_gateway_door(operation: Document) -> None:
    """A gateway lets a 200 through and nothing else: what is malformed is a 403 to it."""
    problem = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for status, response in operation["responses"].items():
        more = RETRY if status == "503" else CHALLENGE if status == "401" else {}
        response["headers"] = {**HEADERS, **more, **response.get("headers", {})}
        if status >= "400":
            response["content"] = problem


def _headers(operation_id: str, status: str, sent: set[str]) -> Document:
    """What an answer with this status has beside the headers that every answer has."""
    if status in ("429", "503"):
        return RETRY
    if status == "401":
        return CHALLENGE
    if status >= "400":
        return {}
    more: Document = {}
    for holds, headers in (
        (operation_id in VERSIONED, ETAG),
        (operation_id == "grant", LOCATION),
        ("idempotency-key" in sent, REPLAYED),
        (operation_id in DOWNLOADS, DOWNLOAD),
    ):
        more |= headers if holds else {}
    return more


def _refusals(path: str, method: str, sent: set[str]) -> dict[str, str]:
    refusals = {"400": "The request is not valid."}
    if not path.endswith("/live"):
        drawn = ", or too many documents are being drawn" if path.endswith(".pdf") else ""
        refusals["503"] = f"The store is out of reach{drawn}."
    if path.startswith("/health"):
        return refusals
    refusals["500"] = "Something went wrong here."
    is_open = path.startswith(OPEN_TO_ANYONE)
    looks_up = (path, method) in LOOKING_UP
    for holds, status, sentence in (
        (is_open, "429", "Too many requests."),
        (looks_up, "429", "Too many names are being looked up."),
        (path.startswith("/v1/consents/changes"), "429", "Too many requests wait for changes."),
        (path.startswith("/v1/consents/changes"), "410", "The store's history does not hold what `since` names."),
        (not is_open, "403", "The token's role may not do this."),
        (path != OPEN_TO_ANYONE, "401", "No valid access token."),
        ("{" in path or (path, method) in NAMING, "404", "There is no such thing, or it is not the caller's."),
        (method != "get", "413", "The request is too large."),
        ("idempotency-key" in sent, "409", "The present state forbids it."),
        ("if-match" in sent, "412", "It has changed since it was read."),
        (method == "patch" or path.endswith("/_accept"), "428", "If-Match is required."),
    ):
        refusals |= {status: sentence} if holds else {}
    return refusals
