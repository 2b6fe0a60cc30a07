"""`Idempotency-Key`: a repeated write gets the answer of the first one, and changes nothing."""

import base64
import hashlib
from typing import Annotated, Final, cast

from cryptography.fernet import Fernet
from fastapi import Header, Request, Response
from pydantic import StringConstraints
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.security.sealing import Sealing, opened
from api.store.store import Write
from api.web.callers import claims_if_any
from models.log.events import RememberedAnswer
from models.vocabulary.refusals import IdempotencyKeyReused, InvalidInput

LEAST_KEY_WITHOUT_TOKEN: Final = 20

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

    The answer may hold names and a secret. It is sealed with the Idempotency-Key and the key that is kept outside the
    store: nobody can read it with one of them. Caller and request are digests by that second key, so that a guess of
    either cannot be checked in the store. The answer's row says which commitments it names: when one of them is erased
    the answer is destroyed and its key stays used. A retry then is refused, and the write is not done twice.

    A caller without a token is known by nothing but the Idempotency-Key, which must then be hard to guess.
    """

    def __init__(self, sealing: Sealing, caller: str | None, key: str, fingerprint: str) -> None:
        if caller is None and len(key) < LEAST_KEY_WITHOUT_TOKEN:
            raise InvalidInput(f"Without a token an Idempotency-Key has at least {LEAST_KEY_WITHOUT_TOKEN} characters.")
        self._without_key = caller or _digest("anyone"), fingerprint
        self._caller, self._fingerprint = map(sealing.keyed, self._without_key)
        self._sealing, self._key = sealing, key

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
        raise Replayed(known.status, known.etag, self._body(known))

    def _body(self, known: RememberedAnswer) -> str:
        """The answer as it was given. Raises `IdempotencyKeyReused` for one in which an older version marked names."""
        if known.key == self._key:
            # Remembered before answers were sealed, with the Idempotency-Key as it is.
            return known.body
        if known.names is not None:
            return unsealed(self._sealing, known, self._key)
        body = _sealed_with_key_alone(known.caller, self._key).decrypt(known.body).decode()
        # A line of its own before a body in which commitments stand for names. They are not put in any more.
        if "\n" in body:
            raise IdempotencyKeyReused(
                "The answer to the request with this Idempotency-Key was kept by an older version, and named persons in"
                " a form that is not read any more; the request was done then."
            )
        return body

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
            body=_seal(self._sealing, self._caller, self._key).encrypt(body.encode()).decode(),
            revision=write.revision,
            created_at=write.now,
            names=opened(write.session),
        )


def digest_of_key(key: str) -> str:
    """How an Idempotency-Key is kept."""
    return _digest(key)


def unsealed(sealing: Sealing, answer: RememberedAnswer, key: str) -> str:
    """The body of an answer that was remembered under `key`. Raises `InvalidToken` for another key, of either kind."""
    return _seal(sealing, answer.caller, key).decrypt(answer.body).decode()


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


def _seal(sealing: Sealing, caller: str, key: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(sealing.answer_key(caller, key)))


def _sealed_with_key_alone(caller: str, key: str) -> Fernet:
    """As older versions sealed: whoever guessed the Idempotency-Key could open it."""
    digest = hashlib.sha256(f"sealed answer\0{caller}\0{key}".encode()).digest()
    return Fernet(base64.urlsafe_b64encode(digest))
