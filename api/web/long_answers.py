"""Answers with many items, made in a thread and item by item: between two of them decisions have their turn.

One that FastAPI makes is made at once, on the event loop.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from fastapi import Response
from pydantic import BaseModel


def json_of(whole: BaseModel, **lists: Iterable[BaseModel]) -> bytes:
    """The JSON of `whole` with these in the place of its own lists; to be called where nothing waits."""
    members: dict[str, Any] = whole.model_dump(mode="json", by_alias=True)
    for name, items in lists.items():
        members[name] = [msgspec.Raw(item.model_dump_json(by_alias=True).encode()) for item in items]
    return msgspec.json.encode(members)


def json_answer(content: bytes) -> Response:
    return Response(content, media_type="application/json")
