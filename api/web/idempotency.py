"""`Idempotency-Key`: a repeated write gets the answer of the first one, and changes nothing."""

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from typing import Annotated, Final, cast

from cryptography.fernet import Fernet
from fastapi import Header, Request, Response
from pydantic import BaseModel, StringConstraints
from pydantic_core import to_json
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.security import sealing
from api.security.sealing import Sealing
from api.store.store import Write
from api.web.callers import claims_if_any
from models.log.events import RememberedAnswer
from models.vocabulary.refusals import IdempotencyKeyReused, InvalidInput

LEAST_KEY_WITHOUT_TOKEN: Final = 20


#: Stands in a line of its own before a body in which persons stand, and before each of them: nobody could foresee it.
_MARK: Final = re.compile(r"[0-9a-f]{32}")


IdempotencyKey = Annotated[
    str | None,
    Header(description="A string of your own. A replay gets the first answer again and changes nothing."),
    StringConstraints(min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$"),
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

    def of(self, write: Write, status: int, etag: str | None, body: str) -> RememberedAnswer:
        """The answer as a replay will get it."""
        return RememberedAnswer(
            caller=self._caller,
            key=digest_of_key(self._key),
            fingerprint=self._fingerprint,
            status=status,
            etag=etag,
            body=_seal(self._caller, self._key).encrypt(body.encode()).decode(),
            revision=write.revision,
            created_at=write.now,
        )


def without_names(view: BaseModel, told: Mapping[str, str]) -> str:
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


def holder_of(request: Request) -> str | None:
    """Whose keys are looked at: a token's holder, an application's secret's, or, with neither, anyone's."""
    claims = claims_if_any(request)
    if claims is None:
        secret = request.headers.getlist("x-application-secret")
        return _digest("applicant", *secret) if secret else None
    return _digest(claims.issuer, claims.subject, claims.client_id, claims.school or "")


def fingerprint_of(request: Request, content: str) -> str:
    return _digest(request.method, request.scope["path"], request.headers.get("if-match", ""), content)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _seal(caller: str, key: str) -> Fernet:
    digest = hashlib.sha256(f"sealed answer\0{caller}\0{key}".encode()).digest()
    return Fernet(base64.urlsafe_b64encode(digest))
