"""Names of schemas: generic ones in upper camel case, and no title that only repeats a name."""

import json
import re
from typing import Any, Final

from api.contract.components import Document

_GENERIC: Final = re.compile(r"([A-Z][A-Za-z0-9]*)_([A-Z][A-Za-z0-9]*)_")
_OF: Final = r"\1Of\2"

#: Members of these are names, and no keywords of JSON Schema or OpenAPI.
_NAMED: Final = frozenset({"properties", "schemas", "paths", "responses", "headers", "$defs", "patternProperties"})
_AS_IT_IS: Final = frozenset({"info", "example", "examples", "default", "enum", "const"})


def well_named(document: Document) -> Document:
    """The document as FastAPI made it, with `Page_GrantView_` as `PageOfGrantView`, and without titles."""
    schemas = {_GENERIC.sub(_OF, name): each for name, each in document["components"]["schemas"].items()}
    renamed = json.dumps({**document, "components": {**document["components"], "schemas": schemas}})
    found: Document = without_titles(json.loads(re.sub(rf'(?<=/schemas/){_GENERIC.pattern}(?=")', _OF, renamed)))
    return found


def without_titles(node: Any, named: bool = False) -> Any:
    """Without the `title` of any schema; a member that is called so stays, and so does that of `info`."""
    if isinstance(node, list):
        return [without_titles(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        name: value if name in _AS_IT_IS and not named else without_titles(value, name in _NAMED and not named)
        for name, value in node.items()
        if named or name != "title"
    }
