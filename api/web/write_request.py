"""A write request: its transaction, its Idempotency-Key and its If-Match.

    async def revoke(caller: SchoolAdmin, ..., writing: Writing) -> GrantView:
        ...
        return writing.answer(view, version)

The transaction commits before the answer is sent, or the answer is a refusal.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, TypeVar, cast

from fastapi import Depends, Request, Response
from pydantic import BaseModel

from api.security.sealing import Sealing
from api.security.strict_json import Malformed, strict_object
from api.snapshot.current import CurrentSnapshot
from api.store.store import Store, Write
from api.web.idempotency import IdempotencyKey, IdempotencyRecord, fingerprint_of, holder_of
from api.web.preconditions import etag, require_once
from api.web.services import provided
from models.vocabulary.refusals import InvalidInput

View = TypeVar("View", bound=BaseModel)


class WriteRequest:
    """The write transaction of a route, its response, and the body to store under an Idempotency-Key."""

    def __init__(self, write: Write, response: Response, status: int) -> None:
        self.write = write
        self.session = write.session
        self.now = write.now
        self._response = response
        self.status = status
        self.body = ""

    @property
    def etag(self) -> str | None:
        """The ETag of the answer."""
        return self._response.headers.get("ETag")

    def answer(self, view: View, version: int | str | None = None) -> View:
        """Sets the answer of this request, and its ETag if the object has versions. Returns the answer."""
        if version is not None:
            self._response.headers["ETag"] = etag(version)
        self.body = view.model_dump_json(by_alias=True)
        return view


async def _begin(
    request: Request, response: Response, idempotency_key: IdempotencyKey = None
) -> AsyncIterator[WriteRequest]:
    body = await request.body()
    _require_one_meaning(body)
    async with write_transaction(request, response, idempotency_key, body.hex()) as writing:
        yield writing


# `scope="function"`: FastAPI leaves the dependency, which commits, before it sends the answer, not after.
Writing = Annotated[WriteRequest, Depends(_begin, scope="function")]


@asynccontextmanager
async def write_transaction(
    request: Request, response: Response, key: str | None, content: str
) -> AsyncIterator[WriteRequest]:
    """The transaction of a write request whose body was received whole; `content` identifies that body."""
    store = provided(request, Store)
    require_once(request, "if-match", "idempotency-key")
    record = None
    if key is not None:
        record = IdempotencyRecord(
            cast(Sealing, store.sealing), holder_of(request), key, fingerprint_of(request, content)
        )
    async with store.writing() as write:
        provided(request, CurrentSnapshot).require_follows(write.revision)
        if record is not None:
            await record.require_first(write)
        writing = WriteRequest(write, response, request.scope["route"].status_code or 200)
        yield writing
        if record is not None:
            write.session.add(record.of(write, writing.status, writing.etag, writing.body))


def _require_one_meaning(body: bytes) -> None:
    """Raises `InvalidInput` for a body with a repeated member or another encoding: a proxy may read it differently."""
    try:
        if body.strip() not in (b"", b"null"):
            strict_object(body)
    except Malformed as malformed:
        raise InvalidInput(f"The body must be one JSON object in UTF-8: {malformed}.") from None
