"""A write request: its transaction, its Idempotency-Key and its If-Match.

    async def revoke(caller: SchoolAdmin, ..., writing: Writing) -> GrantView:
        ...
        return writing.answer(view, version)

The transaction commits before the answer is sent, or the answer is a refusal.
"""

import hashlib
from collections.abc import AsyncIterator
from typing import Annotated, TypeVar, cast

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel, StringConstraints

from api.callers import claims_of
from api.current import CurrentSnapshot
from api.store import Store, Write
from api.strict_json import Malformed, strict_object
from models.events import RememberedAnswer
from models.refusals import IdempotencyKeyReused, InvalidInput, VersionMismatch, VersionRequired

View = TypeVar("View", bound=BaseModel)

IdempotencyKey = Annotated[
    str | None,
    Header(description="A string of your own. A replay gets the first answer again and changes nothing."),
    StringConstraints(min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$"),
]
IfMatch = Annotated[
    str | None,
    Header(description="The ETag that was read. Without it the answer is 428; when it is not the present one, 412."),
    StringConstraints(max_length=255),
]


class Replayed(Exception):
    """This write was done before, under the same key: its answer is given again."""

    def __init__(self, answer: RememberedAnswer) -> None:
        super().__init__(answer.key)
        self.answer = answer

    def response(self) -> Response:
        headers = {"Idempotency-Replayed": "true"}
        if self.answer.etag is not None:
            headers["ETag"] = self.answer.etag
        return Response(self.answer.body, self.answer.status, headers, "application/json")


async def give_again(_: Request, replayed: Exception) -> Response:
    """The handler of `Replayed`."""
    return cast(Replayed, replayed).response()


class WriteRequest:
    """What a route that writes works with: the transaction, and where its answer goes."""

    def __init__(self, write: Write, response: Response, status: int) -> None:
        self.write = write
        self.session = write.session
        self.now = write.now
        self._response = response
        self._status = status
        self.body: str | None = None

    def answer(self, view: View, version: int | None = None) -> View:
        """Notes the answer of this request, with its ETag where the object has versions."""
        if version is not None:
            self._response.headers["ETag"] = etag(version)
        self.body = view.model_dump_json(by_alias=True)
        return view

    def remembered(self, caller: str, key: str, fingerprint: str) -> RememberedAnswer:
        """The answer as a replay will get it."""
        return RememberedAnswer(
            caller=caller,
            key=key,
            fingerprint=fingerprint,
            status=self._status,
            etag=self._response.headers.get("ETag"),
            body=self.body or "",
            revision=self.write.revision,
            created_at=self.now,
        )


def etag(version: int) -> str:
    """The strong ETag of a version."""
    return f'"{version}"'


def require_version(if_match: str | None, version: int) -> None:
    """Raises `VersionRequired` or `VersionMismatch` unless `if_match` names the present version."""
    if if_match is None:
        raise VersionRequired("Send the ETag that you read as If-Match.")
    if if_match.strip() not in ("*", etag(version)):
        raise VersionMismatch("It has changed since you read it: read it again.")


async def _begin(
    request: Request, response: Response, idempotency_key: IdempotencyKey = None
) -> AsyncIterator[WriteRequest]:
    store = cast(Store, request.app.state.store)
    _require_once(request, "if-match", "idempotency-key")
    caller, fingerprint = _who(request), await _what(request)
    async with store.writing() as write:
        cast(CurrentSnapshot, request.app.state.current).require_follows(write.revision)
        if idempotency_key is not None:
            await _replay(write, caller, idempotency_key, fingerprint)
        writing = WriteRequest(write, response, request.scope["route"].status_code or 200)
        yield writing
        if idempotency_key is not None:
            write.session.add(writing.remembered(caller, idempotency_key, fingerprint))


# `scope="function"`: the commit comes before the answer, not after it.
Writing = Annotated[WriteRequest, Depends(_begin, scope="function")]


async def _replay(write: Write, caller: str, key: str, fingerprint: str) -> None:
    known = await write.session.get(RememberedAnswer, (caller, key))
    if known is None:
        return
    if known.fingerprint != fingerprint:
        raise IdempotencyKeyReused("This Idempotency-Key was used for another request.")
    raise Replayed(known)


def _require_once(request: Request, *names: str) -> None:
    """Of a header that comes twice, one reader takes the first and another the last."""
    for name in names:
        if len(request.headers.getlist(name)) > 1:
            raise InvalidInput(f"Send {name} once.")


def _who(request: Request) -> str:
    claims = claims_of(request)
    return _digest(claims.issuer, claims.subject, claims.client_id, claims.school or "")


async def _what(request: Request) -> str:
    body = await request.body()
    _require_one_meaning(body)
    return _digest(request.method, request.scope["path"], request.headers.get("if-match", ""), body.hex())


def _require_one_meaning(body: bytes) -> None:
    """A body with a member twice, or in another encoding, says one thing to us and another to who checked it before."""
    try:
        if body.strip() not in (b"", b"null"):
            strict_object(body)
    except Malformed as malformed:
        raise InvalidInput(f"The body must be one JSON object in UTF-8: {malformed}.") from None


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
