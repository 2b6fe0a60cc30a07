"""A write request: its transaction, its Idempotency-Key and its If-Match.

    async def revoke(caller: SchoolAdmin, ..., writing: Writing) -> GrantView:
        ...
        return writing.answer(view, version)

The transaction commits before the answer is sent, or the answer is a refusal.
"""

import base64
import hashlib
import json
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Final, TypeVar, cast

from cryptography.fernet import Fernet
from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel, StringConstraints
from pydantic_core import to_json
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.security import sealing
from api.security.sealing import Sealing
from api.security.strict_json import Malformed, strict_object
from api.snapshot.current import CurrentSnapshot
from api.store.store import Store, Write
from api.web.callers import claims_if_any
from models.log.events import RememberedAnswer
from models.vocabulary.refusals import IdempotencyKeyReused, InvalidInput, VersionMismatch, VersionRequired

LEAST_KEY_WITHOUT_TOKEN: Final = 20
#: Stands in a line of its own before a body in which persons stand, and before each of them: nobody could foresee it.
_MARK: Final = re.compile(r"[0-9a-f]{32}")

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

    def __init__(self, status: int, etag: str | None, body: str) -> None:
        super().__init__(status)
        self.status, self.etag, self.body = status, etag, body

    def response(self) -> Response:
        headers = {"Idempotency-Replayed": "true"}
        if self.etag is not None:
            headers["ETag"] = self.etag
        return Response(self.body, self.status, headers, "application/json")


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
        self.status = status
        self.body = ""

    @property
    def etag(self) -> str | None:
        """The ETag that goes with the answer."""
        return self._response.headers.get("ETag")

    def answer(self, view: View, version: int | str | None = None) -> View:
        """Notes the answer of this request, with its ETag where the object has versions."""
        if version is not None:
            self._response.headers["ETag"] = etag(version)
        self.body = _without_names(view, sealing.told(self.session))
        return view


class Memory:
    """What is remembered of one caller's write under its Idempotency-Key.

    Neither the key nor the answer can be read in the store: an answer may hold a secret, and is sealed with the key.
    Names of persons are not in it at all, but what stands for them; who is erased meanwhile is not told again. Caller
    and request are digests that nobody can hold a guess against without the key that is kept outside the store.

    Who sends no token is known by nothing but the Idempotency-Key, which must then be hard to guess.
    """

    def __init__(self, sealing: Sealing, caller: str | None, key: str, fingerprint: str) -> None:
        if caller is None and len(key) < LEAST_KEY_WITHOUT_TOKEN:
            raise InvalidInput(f"Without a token an Idempotency-Key has at least {LEAST_KEY_WITHOUT_TOKEN} characters.")
        self._without_key = caller or _digest("anyone"), fingerprint
        self._caller, self._fingerprint = map(sealing.keyed, self._without_key)
        self._key = key

    async def replay(self, write: Write) -> None:
        """Raises `Replayed` when the same write was done before, `IdempotencyKeyReused` when it was another one."""
        known = await self._known(write.session)
        if known is None:
            return
        if not known.fingerprint:
            raise IdempotencyKeyReused(
                "What the request with this Idempotency-Key said or was answered was erased; it was done then."
            )
        if (known.caller, known.fingerprint) not in ((self._caller, self._fingerprint), self._without_key):
            raise IdempotencyKeyReused("This Idempotency-Key was used for another request.")
        # With its key as it is: as they were remembered before they were sealed.
        body = known.body if known.key == self._key else unsealed(known, self._key)
        raise Replayed(known.status, known.etag, await _with_names(write.session, body))

    async def _known(self, session: AsyncSession) -> RememberedAnswer | None:
        """What is remembered, as older versions did it too: with digests made with no key, and the key as it is."""
        found = select(RememberedAnswer).where(
            col(RememberedAnswer.caller).in_((self._caller, self._without_key[0])),
            col(RememberedAnswer.key).in_((digest_of_key(self._key), self._key)),
        )
        return min(
            await session.exec(found),
            key=lambda each: (each.key == self._key, each.caller != self._caller),
            default=None,
        )

    def of(self, writing: WriteRequest) -> RememberedAnswer:
        """The answer as a replay will get it."""
        return RememberedAnswer(
            caller=self._caller,
            key=digest_of_key(self._key),
            fingerprint=self._fingerprint,
            status=writing.status,
            etag=writing.etag,
            body=_seal(self._caller, self._key).encrypt(writing.body.encode()).decode(),
            revision=writing.write.revision,
            created_at=writing.now,
        )


def _without_names(view: BaseModel, told: Mapping[str, str]) -> str:
    """The view as JSON, with what stands for each person in place of the name; `told` says what that is."""
    mark = secrets.token_hex(16)
    said = view.model_dump_json(by_alias=True, context={name: mark + value for name, value in told.items()})
    return f"{mark}\n{said}" if mark in said else said


async def _with_names(session: AsyncSession, kept: str) -> str:
    """The same as it is given again: with the names, and null for those that were erased."""
    mark, _, said = kept.partition("\n")
    # What an older version kept has no mark, as what names nobody.
    if not _MARK.fullmatch(mark):
        return kept
    person = re.compile(rf'"{mark}((?:[^"\\]|\\.)*)"')
    names = await sealing.named(session, [json.loads(f'"{value}"') for value in person.findall(said)])
    return person.sub(lambda found: to_json(names.get(json.loads(f'"{found[1]}"'))).decode(), said)


def digest_of_key(key: str) -> str:
    """How an Idempotency-Key is kept."""
    return _digest(key)


def unsealed(answer: RememberedAnswer, key: str) -> str:
    """The body of an answer that was remembered under `key`, as it is kept. Raises `InvalidToken` for another key."""
    return _seal(answer.caller, key).decrypt(answer.body).decode()


def etag(version: int | str) -> str:
    """The strong ETag of a version."""
    return f'"{version}"'


def require_version(if_match: str | None, version: int | str) -> None:
    """Raises `VersionRequired` or `VersionMismatch` unless `if_match` names the present version."""
    if if_match is None:
        raise VersionRequired("Send the ETag that you read as If-Match.")
    if if_match.strip() not in ("*", etag(version)):
        raise VersionMismatch("It has changed since you read it: read it again.")


async def _begin(
    request: Request, response: Response, idempotency_key: IdempotencyKey = None
) -> AsyncIterator[WriteRequest]:
    body = await request.body()
    _require_one_meaning(body)
    async with opened(request, response, idempotency_key, body.hex()) as writing:
        yield writing


# `scope="function"`: the commit comes before the answer, not after it.
Writing = Annotated[WriteRequest, Depends(_begin, scope="function")]


@asynccontextmanager
async def opened(request: Request, response: Response, key: str | None, content: str) -> AsyncIterator[WriteRequest]:
    """The transaction of a write request, whose body has been received: `content` stands for it, whole."""
    store = cast(Store, request.app.state.store)
    require_once(request, "if-match", "idempotency-key")
    memory = None
    if key is not None:
        memory = Memory(cast(Sealing, store.sealing), _who(request), key, _what(request, content))
    async with store.writing() as write:
        cast(CurrentSnapshot, request.app.state.current).require_follows(write.revision)
        if memory is not None:
            await memory.replay(write)
        writing = WriteRequest(write, response, request.scope["route"].status_code or 200)
        yield writing
        if memory is not None:
            write.session.add(memory.of(writing))


def require_once(request: Request, *names: str) -> None:
    """Raises `InvalidInput`: of a header that comes twice, one reader takes the first and another the last."""
    for name in names:
        if len(request.headers.getlist(name)) > 1:
            raise InvalidInput(f"Send {name} once.")


def _who(request: Request) -> str | None:
    """Whose keys are looked at: a token's holder, an application's secret's, or, with neither, anyone's."""
    claims = claims_if_any(request)
    if claims is None:
        secret = request.headers.getlist("x-application-secret")
        return _digest("applicant", *secret) if secret else None
    return _digest(claims.issuer, claims.subject, claims.client_id, claims.school or "")


def _what(request: Request, content: str) -> str:
    return _digest(request.method, request.scope["path"], request.headers.get("if-match", ""), content)


def _require_one_meaning(body: bytes) -> None:
    """A body with a member twice, or in another encoding, says one thing to us and another to who checked it before."""
    try:
        if body.strip() not in (b"", b"null"):
            strict_object(body)
    except Malformed as malformed:
        raise InvalidInput(f"The body must be one JSON object in UTF-8: {malformed}.") from None


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _seal(caller: str, key: str) -> Fernet:
    digest = hashlib.sha256(f"sealed answer\0{caller}\0{key}".encode()).digest()
    return Fernet(base64.urlsafe_b64encode(digest))
