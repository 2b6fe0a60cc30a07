"""Examples of request and response bodies, one for each schema, recorded from answers of a running service."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from api.contract.components import Document

#: Examples by name of the schema, or for texts by operation. `tests/contract/record_examples.py` records missing ones.
EXAMPLES: Final[Document] = json.loads((Path(__file__).parent / "examples.json").read_text(encoding="utf-8"))


def add_examples(document: Document, examples: Document) -> None:
    """Adds the example of its schema to each request body and each successful response body."""
    shown: Document = {}
    for item in document["paths"].values():
        for operation in item.values():
            for media_type, content in _bodies(operation):
                if media_type == "application/json":
                    _add(content, examples, shown)
                elif operation["operationId"] in examples:
                    content["example"] = examples[operation["operationId"]]
    document["components"]["examples"] = dict(sorted(shown.items()))


def _add(content: Document, examples: Document, shown: Document) -> None:
    schema = content["schema"]
    listed = schema.get("type") == "array"
    options = schema["items"] if listed else schema
    name = next(each["$ref"].rpartition("/")[2] for each in options.get("anyOf", [options]) if "$ref" in each)
    if name not in examples:
        return
    called = f"ListOf{name}" if listed else name
    shown[called] = {"value": [examples[name]] if listed else examples[name]}
    content["examples"] = {called: {"$ref": f"#/components/examples/{called}"}}


def _bodies(operation: Document) -> Iterator[tuple[str, Any]]:
    yield from operation.get("requestBody", {}).get("content", {}).items()
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            yield from response.get("content", {}).items()
