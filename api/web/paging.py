"""Lists in parts: `limit` and an opaque `cursor`, which holds the key of the last item that was shown."""

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
    """The key that a cursor holds; the empty string, which comes before every key, without one.

    Raises `InvalidInput` for a cursor that was not given out here.
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
    """The number that a cursor holds; 0 without one. Raises `InvalidInput`."""
    key = after_key(cursor)
    if not key:
        return 0
    if not (key.isascii() and key.isdigit() and len(key) <= 9):
        raise InvalidInput("The cursor is not one of ours.")
    return int(key)


def part(rows: Sequence[Row], limit: int, key: Callable[[Row], str | int]) -> tuple[Sequence[Row], str | None]:
    """The first `limit` of rows that were read with one to spare, and the cursor of what follows."""
    if len(rows) <= limit:
        return rows, None
    shown = rows[:limit]
    return shown, base64.urlsafe_b64encode(str(key(shown[-1])).encode()).decode().rstrip("=")
