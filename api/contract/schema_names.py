"""Schema names: those of generic types become upper camel case, and titles that only repeat a name are removed."""

import json
import re
from typing import Any, Final

from api.contract.components import Document

_GENERIC: Final = re.compile(r"([A-Z][A-Za-z0-9]*)_([A-Z][A-Za-z0-9]*)_")
_OF: Final = r"\1Of\2"

#: In these objects the members are names, not keywords of JSON Schema or OpenAPI.
_NAMED: Final = frozenset({"properties", "schemas", "paths", "responses", "headers", "$defs", "patternProperties"})
_UNCHANGED: Final = frozenset({"info", "example", "examples", "default", "enum", "const"})


def well_named(document: Document) -> Document:
    """The document as FastAPI made it, with `Page_GrantView_` as `PageOfGrantView`, and without titles."""
    schemas = {_GENERIC.sub(_OF, name): each for name, each in document["components"]["schemas"].items()}
    renamed = json.dumps({**document, "components": {**document["components"], "schemas": schemas}})
    found: Document = without_titles(json.loads(re.sub(rf'(?<=/schemas/){_GENERIC.pattern}(?=")', _OF, renamed)))
    return found


def without_titles(node: Any, named: bool = False) -> Any:
    """The node without the titles of schemas. A property named `title` stays, and so does the title in `info`."""
    if isinstance(node, list):
        return [without_titles(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        name: value if name in _UNCHANGED and not named else without_titles(value, name in _NAMED and not named)
        for name, value in node.items()
        if named or name != "title"
    }
