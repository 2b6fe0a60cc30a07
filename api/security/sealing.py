"""Seals actors and reasons of events, opens them for authorised readers, and supports their erasure.

`store.reading()` and `store.writing()` put the sealing keys into the `info` of each session.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Iterable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.security.evidence_keys import EvidenceKeys
from models.log.sealed_texts import KEY_BYTES, SealedText, commitment, is_commitment

SEALING: Final = "sealing"
OPENED: Final = "opened"
NONCE_BYTES: Final = 12
MOST_CACHED: Final = 10_000
#: Prefix of a keyed digest, which distinguishes it from the unkeyed ones of older versions.
KEYED: Final = "hmac:"


class Sealing:
    """Seals and opens texts with the key outside the store."""

    def __init__(self, keys: EvidenceKeys) -> None:
        self._key = keys.sealing
        #: Cache: commitment by name, as committed to the store. Cleared at each erasure.
        self.known: dict[str, str] = {}
        self._erasures = -1
        self._wrapping = AESGCM(hmac.digest(keys.sealing, b"wrapping", hashlib.sha256))

    def hold_until(self, erasures: int) -> None:
        """Clears the cache unless the store still counts as many erasures."""
        if erasures != self._erasures or len(self.known) > MOST_CACHED:
            self.known, self._erasures = {}, erasures

    def lookup(self, name: str) -> str:
        """The lookup value of a sealed name, which needs this key."""
        return hmac.digest(self._key, b"lookup\0" + name.encode(), hashlib.sha256).hex()

    def keyed(self, digest: str) -> str:
        """A keyed digest, against which no guess can be checked without this key. `KEYED` and 43 characters."""
        mac = hmac.digest(self._key, b"request\0" + digest.encode(), hashlib.sha256)
        return KEYED + base64.urlsafe_b64encode(mac).decode().rstrip("=")

    def answer_key(self, caller: str, idempotency_key: str) -> bytes:
        """The key, of 32 bytes, that seals the remembered answer to a caller's write: opening it takes both keys."""
        return hmac.digest(self._key, f"answer\0{caller}\0{idempotency_key}".encode(), hashlib.sha256)

    def webhook_secret(self, subscription_id: str, seed: str) -> str:
        """Derives the secret that signs messages to a subscription. It is not stored."""
        mac = hmac.digest(self._key, f"webhook:{subscription_id}:{seed}".encode(), hashlib.sha256)
        return "whsec_" + base64.b64encode(mac).decode()

    def sealed(self, text: str, *, of_person: bool = False) -> SealedText:
        """Seals a text with a new key of its own."""
        key = os.urandom(KEY_BYTES)
        return self.closed(
            SealedText(
                commitment=commitment(key, text),
                lookup=self.lookup(text) if of_person else None,
                key=key,
                text=text.encode(),
                open=True,
            )
        )

    def closed(self, row: SealedText) -> SealedText:
        """Seals a row that is new, or that a migration left open."""
        key, bound = row.key, row.commitment.encode()
        row.text = _encrypted(_text_cipher(key), row.text, bound)
        row.key = _encrypted(self._wrapping, key, bound)
        row.open = False
        return row

    def opened(self, row: SealedText) -> str | None:
        """The text; None when it cannot be decrypted."""
        if row.open:
            return row.text.decode()
        bound = row.commitment.encode()
        try:
            key = _decrypted(self._wrapping, row.key, bound)
            return _decrypted(_text_cipher(key), row.text, bound).decode()
        except (InvalidTag, ValueError):
            return None


async def person(session: AsyncSession, name: str) -> str:
    """The commitment to a person's name, the same one each time. Seals the name if the store has none yet."""
    sealing, own = _sealing_of(session)
    # This transaction's own come first: it may just have erased the cached one.
    found = own.get(name) or sealing.known.get(name)
    if found is not None:
        return found
    stored = select(SealedText.commitment).where(SealedText.lookup == sealing.lookup(name))
    found = (await session.exec(stored)).first()
    if found is not None:
        # Only committed values are cached: this transaction may be rolled back.
        sealing.known[name] = found
        return found
    row = sealing.sealed(name, of_person=True)
    session.add(row)
    own[name] = row.commitment
    return row.commitment


def keep_commitment(session: AsyncSession, name: str, commitment: str) -> None:
    """Keeps `commitment` for this person until the end of the transaction, though its text is destroyed in it.

    Otherwise persons who erase their own name would be sealed anew, as the actor of the erasure.
    """
    _, own = _sealing_of(session)
    own[name] = commitment


def keyed(session: AsyncSession, digests: Iterable[str]) -> dict[str, str]:
    """The keyed digest of each digest. Empty in a command without keys, which seals nothing."""
    sealing: Sealing | None = session.info[SEALING]
    return {digest: sealing.keyed(digest) for digest in digests} if sealing is not None else {}


def reason(session: AsyncSession, text: str) -> SealedText:
    """Seals a written reason."""
    sealing, _ = _sealing_of(session)
    return sealing.sealed(text)


def webhook_secret(session: AsyncSession, subscription_id: str, seed: str) -> str:
    """The secret that signs messages to a subscription."""
    sealing, _ = _sealing_of(session)
    return sealing.webhook_secret(subscription_id, seed)


async def named(session: AsyncSession, values: Iterable[str | None]) -> dict[str, str]:
    """The texts of commitments, by commitment; erased ones are missing. Other values are their own text.

    An event that is not appended yet holds no commitment, whatever its text looks like: never pass its values here.
    """
    wanted = {value for value in values if value is not None}
    found = {value: value for value in wanted if not is_commitment(value)}
    if len(found) < len(wanted):
        sealing, _ = _sealing_of(session)
        for row in await session.exec(select(SealedText).where(col(SealedText.commitment).in_(wanted - found.keys()))):
            text = sealing.opened(row)
            if text is not None:
                found[row.commitment] = text
                session.info.setdefault(OPENED, set()).add(row.commitment)
    return found


def opened(session: AsyncSession) -> list[str]:
    """The commitments whose texts this session got from `named`."""
    return sorted(session.info.get(OPENED, ()))


def _sealing_of(session: AsyncSession) -> tuple[Sealing, dict[str, str]]:
    sealing: Sealing = session.info[SEALING]
    known: dict[str, str] = session.info.setdefault("persons", {})
    return sealing, known


def _text_cipher(key: bytes) -> AESGCM:
    return AESGCM(hmac.digest(key, b"seal", hashlib.sha256))


def _encrypted(cipher: AESGCM, data: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, data, bound)


def _decrypted(cipher: AESGCM, data: bytes, bound: bytes) -> bytes:
    return cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], bound)
