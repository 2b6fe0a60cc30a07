"""The published contract: operations that FastAPI derives from routes, the gateways' operations, components."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from fastapi import FastAPI

from api.contract import authzen, forward_auth
from api.contract.about import ABOUT, CONTACT
from api.contract.components import (
    ALWAYS,
    BAD_REQUEST,
    CONFLICT,
    FORBIDDEN,
    HEADERS,
    INTERNAL_ERROR,
    NOT_FOUND,
    PROBLEM,
    REFUSALS,
    SECURITY_SCHEMES,
    STORE_UNREACHABLE,
    TOO_LARGE,
    TOO_MANY_REQUESTS,
    UNAUTHENTICATED,
    VERSION_MISMATCH,
    Document,
    Refusal,
    Responses,
    header_name,
    headers,
    refuses,
)
from api.contract.examples import EXAMPLES, add_examples
from api.contract.route_document import document_of
from api.contract.schema_names import well_named
from api.contract.shared_parameters import share_parameters
from api.edge.authentication import needs_token

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]

METHODS: Final = ("get", "post", "patch", "put", "delete")

#: Refusals of every route that reads or writes the store.
OF_ANY_ROUTE: Final[Responses] = refuses(TOO_MANY_REQUESTS, INTERNAL_ERROR, STORE_UNREACHABLE)
#: Headers of successful answers, by the request header that causes them.
_ASKED_FOR: Final = {"idempotency-key": "Idempotency-Replayed"}
_IN_INFO: Final = {"license_info": "license"}
_OF_FASTAPI: Final = ("HTTPValidationError", "ValidationError")


class SchemaNameTaken(Exception):
    """A schema of the gateways' operations has the name of a schema of the routes."""


def publish(app: FastAPI) -> None:
    """Makes the application serve the whole contract as `/openapi.json`."""

    def document() -> Document:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def operations_of(document: Document) -> Iterator[tuple[str, str, Document]]:
    """Each operation of a contract, with its path and method."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def derived(app: FastAPI, about: Mapping[str, Any]) -> Document:
    """The document that FastAPI derives from the routes, without repeating titles and without 422 responses."""
    # The contact is added later: FastAPI needs another library to validate its e-mail address.
    info = {
        _IN_INFO.get(name, name): about[name] for name in about if name not in ("openapi_tags", "servers", "contact")
    }
    members = {"openapi": app.openapi_version, "info": info, "servers": about["servers"], "tags": about["openapi_tags"]}
    document = well_named(document_of(app.routes, **members))
    document["info"]["contact"] = CONTACT
    for name in _OF_FASTAPI:
        document["components"]["schemas"].pop(name, None)
    for _, _, operation in operations_of(document):
        operation["responses"].pop("422", None)
    return document


def completed(document: Document, examples: Document) -> Document:
    """The document with examples and shared parameters; the responses of each operation are sorted by status."""
    for _, _, operation in operations_of(document):
        operation["responses"] = dict(sorted(operation["responses"].items()))
    share_parameters(document)
    add_examples(document, examples)
    return document


def _document(app: FastAPI) -> Document:
    document = derived(app, ABOUT)
    for path, method, operation in operations_of(document):
        _complete(method, operation, bearer=needs_token(path))
    for path, item in authzen.paths().items():
        document["paths"][path] = item
        _complete("post", item["post"], bearer=True)
    document["paths"].update(forward_auth.PATHS)
    _add_schemas(document, authzen.schemas() | forward_auth.SCHEMAS | {"Problem": PROBLEM})
    document["components"] |= {
        "headers": {header_name(name): header for name, header in HEADERS.items()},
        "responses": {refusal.name: refusal.document() for refusal in REFUSALS},
        "securitySchemes": SECURITY_SCHEMES,
    }
    return completed(document, EXAMPLES)


def _add_schemas(document: Document, added: Document) -> None:
    """Adds schemas. Raises `SchemaNameTaken` for a name in use: the second schema would replace the first."""
    schemas = document["components"]["schemas"]
    if taken := schemas.keys() & added.keys():
        raise SchemaNameTaken(f"Two schemas would be called {', '.join(sorted(taken))}: rename a class.")
    schemas.update(added)


def _complete(method: str, operation: Document, bearer: bool) -> None:
    """Adds the headers of every answer, refusals that its kind of operation may give unless declared, and security."""
    parameters = operation.get("parameters", [])
    sent = {parameter["name"] for parameter in parameters}
    secrets = {
        name: scheme["name"].lower()
        for name, scheme in SECURITY_SCHEMES.items()
        if scheme.get("in") == "header" and scheme["name"].lower() in sent
    }
    responses = operation["responses"]
    if "if-none-match" in sent:
        responses["304"] = {"description": "It is still what If-None-Match names.", "headers": headers(["ETag"])}
    for refusal in _refusals(method, parameters, sent, bearer, bool(secrets)):
        responses.setdefault(str(refusal.status), refusal.reference)
    for status, response in responses.items():
        if "$ref" in response:
            responses[status] = {"$ref": response["$ref"]}
            continue
        more = [_ASKED_FOR[name] for name in sorted(sent & _ASKED_FOR.keys())]
        response["headers"] = headers([*ALWAYS, *more]) | response.get("headers", {})
    if bearer or secrets:
        operation["security"] = [{"accessToken": []}] if bearer else [{name: []} for name in secrets]
    if secrets:
        operation["parameters"] = [each for each in parameters if each["name"] not in secrets.values()]


def _refusals(method: str, parameters: list[Document], sent: set[str], bearer: bool, secret: bool) -> Iterator[Refusal]:
    """Refusals that follow from the method, the parameters and the credentials of an operation."""
    for holds, refusal in (
        (True, BAD_REQUEST),
        (bearer, FORBIDDEN),
        (bearer or secret, UNAUTHENTICATED),
        (any(each["in"] == "path" for each in parameters), NOT_FOUND),
        (method != "get", TOO_LARGE),
        ("idempotency-key" in sent, CONFLICT),
        ("if-match" in sent, VERSION_MISMATCH),
    ):
        if holds:
            yield refusal
