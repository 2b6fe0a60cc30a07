"""`Idempotency-Key`: a repeated write changes nothing and gets the answer of the first one."""

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


class RepeatedWrite(Exception):
    """This write was done before under the same key; the exception carries the answer of the first one."""

    def __init__(self, status: int, etag: str | None, body: str) -> None:
        super().__init__(status)
        self.status, self.etag, self.body = status, etag, body

    def response(self) -> Response:
        headers = {"Idempotency-Replayed": "true"}
        if self.etag is not None:
            headers["ETag"] = self.etag
        return Response(self.body, self.status, headers, "application/json")


async def replay_answer(_: Request, replayed: Exception) -> Response:
    """The exception handler of `RepeatedWrite`: sends the first answer again."""
    return cast(RepeatedWrite, replayed).response()


class IdempotencyRecord:
    """The stored record of one caller's write under its Idempotency-Key.

    The answer may contain names and a secret. It is sealed with the Idempotency-Key and with a key that is kept outside
    the store; both are needed to read it. Caller and request are stored as digests keyed with that second key, so that
    a guess of either cannot be checked in the store. The row names the commitments in the answer: when one of them is
    erased, the answer is destroyed and its Idempotency-Key stays used. A retry is then refused and does not write
    twice.

    A caller without a token is identified by the Idempotency-Key alone, which must then be hard to guess.
    """

    def __init__(self, sealing: Sealing, caller: str | None, key: str, fingerprint: str) -> None:
        if caller is None and len(key) < LEAST_KEY_WITHOUT_TOKEN:
            raise InvalidInput(f"Without a token an Idempotency-Key has at least {LEAST_KEY_WITHOUT_TOKEN} characters.")
        self._without_key = caller or _digest("anyone"), fingerprint
        self._caller, self._fingerprint = map(sealing.keyed, self._without_key)
        self._sealing, self._key = sealing, key

    async def require_first(self, write: Write) -> None:
        """Raises `RepeatedWrite` if this write was done before, `IdempotencyKeyReused` if another one had its key."""
        known = await self._known(write.session)
        if known is None:
            return
        if not known.fingerprint:
            raise IdempotencyKeyReused(
                "What the request with this Idempotency-Key said or was answered was erased; it was done then."
            )
        if (known.caller, known.fingerprint) not in ((self._caller, self._fingerprint), self._without_key):
            raise IdempotencyKeyReused("This Idempotency-Key was used for another request.")
        raise RepeatedWrite(known.status, known.etag, self._body(known))

    def _body(self, known: RememberedAnswer) -> str:
        """The body of the first answer. Raises `IdempotencyKeyReused` if an older version marked names in it."""
        if known.key == self._key:
            # Stored before answers were sealed, with the Idempotency-Key itself.
            return known.body
        if known.names is not None:
            return unsealed(self._sealing, known, self._key)
        body = _sealed_with_key_alone(known.caller, self._key).decrypt(known.body).decode()
        # A first line marks a body with commitments in place of names. The names are no longer put back.
        if "\n" in body:
            raise IdempotencyKeyReused(
                "The answer to the request with this Idempotency-Key was kept by an older version, and named persons in"
                " a form that is not read any more; the request was done then."
            )
        return body

    async def _known(self, session: AsyncSession) -> RememberedAnswer | None:
        """The stored answer, if any; rows of older versions have unkeyed digests, or the Idempotency-Key itself."""
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
        """The row to store: the answer that a retry will get."""
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
    """The form in which an Idempotency-Key is stored."""
    return _digest(key)


def unsealed(sealing: Sealing, answer: RememberedAnswer, key: str) -> str:
    """The body of a stored answer. Raises `InvalidToken` if `key` or the key outside the store is not the one it was
    sealed with."""
    return _seal(sealing, answer.caller, key).decrypt(answer.body).decode()


def holder_of(request: Request) -> str | None:
    """A digest that identifies the caller among the owners of Idempotency-Keys: of the token's holder, or of an
    application's secret. None with neither: such callers share one set of keys."""
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
    """The seal of older versions, made from the Idempotency-Key alone: guessing that key opens it."""
    digest = hashlib.sha256(f"sealed answer\0{caller}\0{key}".encode()).digest()
    return Fernet(base64.urlsafe_b64encode(digest))
