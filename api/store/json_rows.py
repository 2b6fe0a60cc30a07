"""Rows sent to PostgreSQL as one JSON text, an array each. The driver takes many times as long to encode single
values, and this way one statement inserts rows of several tables.
"""

from collections.abc import Iterable


def values(kinds: Iterable[str]) -> list[str]:
    """SQL expressions for the members of a JSON array named `line`, by type and in order; bytes are hexadecimal."""
    return [_value(number, kind) for number, kind in enumerate(kinds)]


def _value(number: int, kind: str) -> str:
    if kind == "bytea":
        return f"decode(line ->> {number}, 'hex')"
    return f"(line ->> {number})::{kind}"
