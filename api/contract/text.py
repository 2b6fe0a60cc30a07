"""The contract as the file in `openapi/` holds it."""

import json
from typing import Any, Final

#: As wide as our code.
WIDTH: Final = 120


_encoded: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode


def as_text(document: dict[str, Any]) -> str:
    """JSON, sorted; what holds no other list or object stands on one line where it fits: a reference, a short list."""
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
