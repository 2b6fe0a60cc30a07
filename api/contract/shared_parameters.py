"""Moves parameters that several operations have to the contract's components."""

import json
from collections import Counter
from typing import Final

from pydantic import JsonValue

from api.contract.components import Document

#: Extension in a parameter's schema: its component name, for parameters whose own name has several meanings.
COMPONENT: Final = "x-component"


def shared_as(component: str) -> dict[str, JsonValue]:
    """For `json_schema_extra=` of a parameter: its component name, used when several operations share it."""
    return {COMPONENT: component}


class ParameterNameTaken(Exception):
    """Two different shared parameters would have the same component name: give one of them another."""


def share_parameters(document: Document) -> None:
    """Moves each parameter that more than one operation has to the components. Raises `ParameterNameTaken`."""
    operations = [each for item in document["paths"].values() for each in item.values() if "parameters" in each]
    count = Counter(_key(parameter) for operation in operations for parameter in operation["parameters"])
    shared: dict[str, Document] = {}
    for operation in operations:
        operation["parameters"] = [
            _reference(parameter, shared) if count[_key(parameter)] > 1 else _unmarked(parameter)
            for parameter in operation["parameters"]
        ]
    document["components"]["parameters"] = shared


def _reference(parameter: Document, shared: dict[str, Document]) -> Document:
    name = _component(parameter)
    kept = shared.setdefault(name, _unmarked(parameter))
    if kept != _unmarked(parameter):
        raise ParameterNameTaken(f"{name} means several things: mark {parameter['name']!r} with {COMPONENT!r}.")
    return {"$ref": f"#/components/parameters/{name}"}


def _component(parameter: Document) -> str:
    """The marked component name; else the name of the one schema that it refers to, as a status; else its own."""
    schema = parameter["schema"]
    if COMPONENT in schema:
        return str(schema[COMPONENT])
    referred = [each["$ref"].rpartition("/")[2] for each in schema.get("anyOf", [schema]) if "$ref" in each]
    return str(referred[0]) if len(referred) == 1 else component_name(parameter["name"])


def component_name(name: str) -> str:
    """A parameter's name in upper camel case: `clientId` and `client_id` are `ClientId`, `if-match` is `IfMatch`."""
    return "".join(word[:1].upper() + word[1:] for word in name.replace("_", "-").split("-"))


def _unmarked(parameter: Document) -> Document:
    schema = {name: value for name, value in parameter["schema"].items() if name != COMPONENT}
    return {**parameter, "schema": schema}


def _key(parameter: Document) -> str:
    return json.dumps(_unmarked(parameter), sort_keys=True)
