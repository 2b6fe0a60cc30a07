"""Rows that go to PostgreSQL in one text of JSON, an array each: the driver takes many times as long to encode their
values one by one, and rows of several tables go in one statement.
"""

from collections.abc import Iterable


def values(kinds: Iterable[str]) -> list[str]:
    """The expressions for the values of an array named `line`, of these types in their order; bytes are hexadecimal."""
    return [_value(number, kind) for number, kind in enumerate(kinds)]


def _value(number: int, kind: str) -> str:
    if kind == "bytea":
        return f"decode(line ->> {number}, 'hex')"
    return f"(line ->> {number})::{kind}"
