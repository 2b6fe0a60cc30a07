"""Paging of lists by `limit` and an opaque `cursor`, which holds the key of the last item of the page before."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Query
from pydantic import StringConstraints

from models.vocabulary.refusals import InvalidInput

Limit = Annotated[int, Query(ge=1, le=500, description="At most so many items.")]
Cursor = Annotated[
    str | None,
    StringConstraints(pattern=r"^[A-Za-z0-9_-]*$", max_length=200),
    Query(description="The `next` of the part before."),
]

Row = TypeVar("Row")


def after_key(cursor: str | None) -> str:
    """The key in a cursor; without a cursor the empty string, which sorts before every key.

    Raises `InvalidInput` for a cursor that `part` did not make.
    """
    if cursor is None:
        return ""
    try:
        key = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise InvalidInput("The cursor is not one of ours.") from None
    if not key.isprintable():
        raise InvalidInput("The cursor is not one of ours.")
    return key


def after_number(cursor: str | None) -> int:
    """The number in a cursor, of at most 9 digits; 0 without a cursor. Raises `InvalidInput`."""
    key = after_key(cursor)
    if not key:
        return 0
    if not (key.isascii() and key.isdigit() and len(key) <= 9):
        raise InvalidInput("The cursor is not one of ours.")
    return int(key)


def part(rows: Sequence[Row], limit: int, key: Callable[[Row], str | int]) -> tuple[Sequence[Row], str | None]:
    """One page of `rows`, of which the caller read `limit + 1`: the first `limit`, and the next cursor or None."""
    if len(rows) <= limit:
        return rows, None
    shown = rows[:limit]
    return shown, base64.urlsafe_b64encode(str(key(shown[-1])).encode()).decode().rstrip("=")
