"""A contract with every `$ref` replaced by what it stands for, so that two ways of writing the same one are equal."""

import json
import lzma
from pathlib import Path
from typing import Any

Document = dict[str, Any]


def recorded(path: Path) -> Document:
    """A contract that was kept as a compressed file."""
    document: Document = json.loads(lzma.decompress(path.read_bytes()))
    return document


def dereferenced(document: Document) -> Document:
    """The document without a single `$ref`. Raises `RecursionError` where one leads back to itself."""
    resolved: Document = _resolve(document, document, ())
    return resolved


def resolve(document: Document, reference: str) -> Any:
    """What a `$ref` of the document stands for. Raises `KeyError` where it stands for nothing."""
    target: Any = document
    for part in reference.removeprefix("#/").split("/"):
        target = target[part.replace("~1", "/").replace("~0", "~")]
    return target


def _resolve(document: Document, node: Any, under: tuple[str, ...]) -> Any:
    if isinstance(node, list):
        return [_resolve(document, each, under) for each in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if not isinstance(reference, str):
        return {name: _resolve(document, value, under) for name, value in node.items()}
    if reference in under:
        raise RecursionError(f"{reference} leads back to itself")
    target = _resolve(document, resolve(document, reference), (*under, reference))
    beside = {name: value for name, value in node.items() if name != "$ref"}
    return {**target, **_resolve(document, beside, under)} if beside else target
