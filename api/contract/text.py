"""The contract as the file in `openapi/` holds it."""

import json
from typing import Any, Final

#: As wide as our code.
WIDTH: Final = 120


def as_text(document: dict[str, Any]) -> str:
    """JSON, sorted; what holds no other list or object stands on one line where it fits: a reference, a short list."""
    return "".join(_lines(document, "", 0)) + "\n"


def _lines(node: Any, before: str, depth: int) -> list[str]:
    indent = "  " * depth
    on_one = before + json.dumps(node, ensure_ascii=False, sort_keys=True)
    if not isinstance(node, dict | list) or not node or (_is_flat(node) and len(indent + on_one) < WIDTH):
        return [indent + on_one]
    if isinstance(node, dict):
        opening, closing = "{", "}"
        parts = [_lines(node[name], f"{json.dumps(name, ensure_ascii=False)}: ", depth + 1) for name in sorted(node)]
    else:
        opening, closing = "[", "]"
        parts = [_lines(each, "", depth + 1) for each in node]
    lines = [f"{indent}{before}{opening}\n"]
    for number, part in enumerate(parts):
        lines += part
        lines.append(",\n" if number + 1 < len(parts) else "\n")
    return [*lines, f"{indent}{closing}"]


def _is_flat(node: dict[str, Any] | list[Any]) -> bool:
    return not any(isinstance(each, dict | list) for each in (node.values() if isinstance(node, dict) else node))
