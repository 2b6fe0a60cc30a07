"""JSON of long lists, serialized item by item in a thread, so that the event loop serves decisions in between.

FastAPI would serialize the whole answer at once, on the event loop.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from fastapi import Response
from pydantic import BaseModel


def json_of(whole: BaseModel, **lists: Iterable[BaseModel]) -> bytes:
    """The JSON of `whole` with `lists` in the place of its members of these names. Call it in a thread."""
    members: dict[str, Any] = whole.model_dump(mode="json", by_alias=True)
    for name, items in lists.items():
        members[name] = [msgspec.Raw(item.model_dump_json(by_alias=True).encode()) for item in items]
    return msgspec.json.encode(members)


def json_answer(content: bytes) -> Response:
    return Response(content, media_type="application/json")
