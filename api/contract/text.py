"""The text of a contract as in the files in `openapi/`."""

import json
from typing import Any, Final

#: Line length, as of the code.
WIDTH: Final = 120


_encoded: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode


def as_text(document: dict[str, Any]) -> str:
    """Sorted JSON. An object or list without nested ones, such as a reference, is written on one line if it fits."""
    lines: list[str] = []
    _add(document, "", "", lines)
    return "\n".join([*lines, ""])


def _add(node: Any, before: str, after: str, lines: list[str], depth: int = 0) -> None:
    """Adds the lines of a part of the document, with what stands before and after it on its first and last line."""
    indent = "  " * depth
    if _is_flat(node):
        on_one = f"{indent}{before}{_encoded(node)}"
        if not isinstance(node, dict | list) or not node or len(on_one) < WIDTH:
            lines.append(on_one + after)
            return
    opening, closing = "{}" if isinstance(node, dict) else "[]"
    parts = (
        [(f"{_encoded(name)}: ", node[name]) for name in sorted(node)]
        if isinstance(node, dict)
        else [("", each) for each in node]
    )
    lines.append(f"{indent}{before}{opening}")
    for number, (name, part) in enumerate(parts, 1):
        _add(part, name, "," if number < len(parts) else "", lines, depth + 1)
    lines.append(f"{indent}{closing}{after}")


def _is_flat(node: Any) -> bool:
    if isinstance(node, dict):
        node = node.values()
    elif not isinstance(node, list):
        return True
    return not any(isinstance(each, dict | list) for each in node)
