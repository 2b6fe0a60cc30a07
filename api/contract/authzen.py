"""AuthZEN in the published contract, written out: its routes are not FastAPI routes, and its types are msgspec's."""

from typing import Any, Final

import msgspec

from api.contract.components import INTERNAL_ERROR, TOO_MANY_REQUESTS, UNDECIDED, Document
from api.contract.schema_names import without_titles
from api.gateways import authzen, authzen_search

_REF: Final = "#/components/schemas/{name}"

_SEARCHES: Final = (
    (
        "Subject",
        authzen_search.SubjectSearchRequest,
        authzen_search.EntitiesFound,
        "Which connections may receive this?",
    ),
    (
        "Resource",
        authzen_search.ResourceSearchRequest,
        authzen_search.EntitiesFound,
        "Of which schools and locations may it receive?",
    ),
    (
        "Action",
        authzen_search.ActionSearchRequest,
        authzen_search.ActionsFound,
        "What may be done, and what released by it?",
    ),
)

_BATCH_RESPONSE: Final[Document] = {
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


def paths() -> Document:
    """The AuthZEN operations, by path."""
    found = {
        "/access/v1/evaluation": _operation(
            "evaluate", "May this be released, now?", "EvaluationRequest", _ref("EvaluationResponse")
        ),
        "/access/v1/evaluations": _operation(
            "evaluateMany",
            "Many questions at once.",
            "EvaluationsRequest",
            # A request without `evaluations` is a single question, and is answered as one (AuthZEN 1.0, 7.1).
            {"anyOf": [_ref("EvaluationsResponse"), _ref("EvaluationResponse")]},
        ),
    }
    for searched, request, response, summary in _SEARCHES:
        search = _operation(f"search{searched}s", summary, request.__name__, _ref(response.__name__))
        search["description"] = "A result is no permission to release: ask for an evaluation for each release."
        search["responses"]["200"]["description"] = "A page of what was found; `next_token` asks for the next one."
        found[f"/access/v1/search/{searched.lower()}"] = search
    return {path: {"post": operation} for path, operation in found.items()}


def schemas() -> Document:
    """The schemas of request and response bodies, by name."""
    shapes: list[Any] = [authzen.EvaluationRequest, authzen.EvaluationsRequest, authzen.EvaluationResponse]
    shapes += [shape for _, request, response, _ in _SEARCHES for shape in (request, response)]
    _, found = msgspec.json.schema_components(shapes, ref_template=_REF)
    batch = _batch(found["EvaluationsRequest"])
    named = {**found, "EvaluationsRequest": batch, "EvaluationsResponse": _BATCH_RESPONSE}
    return {name: without_titles(schema) for name, schema in named.items()}


def _batch(schema: Document) -> Document:
    """The schema of a batch. Its members, raw JSON for msgspec, get the types that they are decoded to later."""
    parts = {"subject": "Subject", "action": "Action", "resource": "Resource", "context": "Context"}
    members = {name: _ref(part) for name, part in parts.items()}
    item = {"type": "object", "properties": members}
    listed = {"type": "array", "maxItems": authzen.MOST_EVALUATIONS, "items": item}
    return {**schema, "properties": {**schema["properties"], **members, "evaluations": listed}}


def _ref(name: str) -> Document:
    return {"$ref": _REF.format(name=name)}


def _operation(operation_id: str, summary: str, request: str, answer: Document) -> Document:
    return {
        "tags": ["gateways"],
        "operationId": operation_id,
        "summary": summary,
        "description": "Anything but 200 with `decision: true` means: release nothing.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref(request)}}},
        "responses": {
            "200": {"description": "The decision.", "content": {"application/json": {"schema": answer}}},
            "429": TOO_MANY_REQUESTS.reference,
            "500": INTERNAL_ERROR.reference,
            "503": UNDECIDED.reference,
        },
    }
