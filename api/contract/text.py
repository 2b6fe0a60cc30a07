"""The text of a contract as in the files in `openapi/`."""

import json
from typing import Any, Final

#: Line length, as of the code.
WIDTH: Final = 120


def as_text(document: dict[str, Any]) -> str:
    """Sorted JSON. An object or list without nested ones, such as a reference, is written on one line if it fits."""
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
