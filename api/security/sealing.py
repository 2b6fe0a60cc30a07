"""Who acted and why: sealed apart from what is for ever, opened for who may see it, erased when that is due.

A session knows what seals by its `info`: `store.reading()` and `store.writing()` put it there.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.security.evidence_keys import EvidenceKeys
from models.log.sealed_texts import KEY_BYTES, SealedText, commitment, is_commitment

SEALING: Final = "sealing"
NONCE_BYTES: Final = 12
MOST_REMEMBERED: Final = 10_000
#: How a keyed digest begins, and by that is told from one of a version that made them with no key.
KEYED: Final = "hmac:"
#: How what stands for the secret of a webhook begins: its subscription and seed follow.
WEBHOOK: Final = "webhook:"


class Sealing:
    """Seals and opens with the key that is kept outside the store."""

    def __init__(self, keys: EvidenceKeys) -> None:
        self._key = keys.sealing
        #: Who is known by which commitment, as far as it was seen in the store, until somebody is erased.
        self.known: dict[str, str] = {}
        self._erasures = -1
        self._wrapping = AESGCM(hmac.digest(keys.sealing, b"wrapping", hashlib.sha256))

    def hold_until(self, erasures: int) -> None:
        """What is remembered holds as long as the store counts so many erasures."""
        if erasures != self._erasures or len(self.known) > MOST_REMEMBERED:
            self.known, self._erasures = {}, erasures

    def lookup(self, name: str) -> str:
        """By what the sealed name of a person is found, with this key only."""
        return hmac.digest(self._key, b"lookup\0" + name.encode(), hashlib.sha256).hex()

    def keyed(self, digest: str) -> str:
        """A digest that nobody can hold a guess against without this key. Known by how it begins; 48 characters."""
        made = hmac.digest(self._key, b"request\0" + digest.encode(), hashlib.sha256)
        return KEYED + base64.urlsafe_b64encode(made).decode().rstrip("=")

    def webhook_secret(self, standing_for: str) -> str:
        """The secret that `WEBHOOK` and a subscription and seed stand for. It is made, and kept nowhere."""
        made = hmac.digest(self._key, standing_for.encode(), hashlib.sha256)
        return "whsec_" + base64.b64encode(made).decode()

    def sealed(self, text: str, *, of_person: bool = False) -> SealedText:
        """A text under a new key of its own."""
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
        """The row, sealed: what a migration moved, or what is new."""
        key, bound = row.key, row.commitment.encode()
        row.text = _encrypted(_of_text(key), row.text, bound)
        row.key = _encrypted(self._wrapping, key, bound)
        row.open = False
        return row

    def opened(self, row: SealedText) -> str | None:
        """The text; None when it cannot be opened."""
        if row.open:
            return row.text.decode()
        bound = row.commitment.encode()
        try:
            key = _decrypted(self._wrapping, row.key, bound)
            return _decrypted(_of_text(key), row.text, bound).decode()
        except (InvalidTag, ValueError):
            return None


async def person(session: AsyncSession, name: str) -> str:
    """How someone is known in the store: by the commitment to their name, the same one each time."""
    sealing, own = _of(session)
    # First what this transaction itself has made of them: it may just have erased them.
    found = own.get(name) or sealing.known.get(name)
    if found is not None:
        return found
    stored = select(SealedText.commitment).where(SealedText.lookup == sealing.lookup(name))
    found = (await session.exec(stored)).first()
    if found is not None:
        # Only what was committed is remembered: this transaction may come to nothing.
        sealing.known[name] = found
        return found
    row = sealing.sealed(name, of_person=True)
    session.add(row)
    own[name] = row.commitment
    return row.commitment


def still(session: AsyncSession, name: str, commitment: str) -> None:
    """In this transaction they are known by `commitment` to its end, though what it commits to is destroyed in it.

    Else who erases their own name would be sealed anew, as who did that.
    """
    _, own = _of(session)
    own[name] = commitment


def keyed(session: AsyncSession, digests: Iterable[str]) -> dict[str, str]:
    """The digests, each with what is made of it with the key. None where a command has no key: it seals nothing."""
    sealing: Sealing | None = session.info[SEALING]
    return {digest: sealing.keyed(digest) for digest in digests} if sealing is not None else {}


def reason(session: AsyncSession, text: str) -> SealedText:
    """A text that somebody wrote, sealed."""
    sealing, _ = _of(session)
    return sealing.sealed(text)


def webhook_secret(session: AsyncSession, subscription_id: str, seed: str) -> str:
    """The secret that signs what is sent to a subscription. A remembered answer has what stands for it."""
    sealing, _ = _of(session)
    standing_for = f"{WEBHOOK}{subscription_id}:{seed}"
    secret = sealing.webhook_secret(standing_for)
    session.info.setdefault("told", {})[secret] = standing_for
    return secret


async def named(session: AsyncSession, values: Iterable[str | None]) -> dict[str, str]:
    """The texts behind commitments; what was erased is not among them. What is no commitment is its own text.

    What stands for the secret of a webhook becomes that secret.
    """
    wanted = {value for value in values if value is not None}
    found = {value: value for value in wanted if not is_commitment(value)}
    for value in [value for value in found if value.startswith(WEBHOOK)]:
        found[value] = _of(session)[0].webhook_secret(value)
    if len(found) < len(wanted):
        sealing, _ = _of(session)
        for row in await session.exec(select(SealedText).where(col(SealedText.commitment).in_(wanted - found.keys()))):
            text = sealing.opened(row)
            if text is not None:
                found[row.commitment] = text
    session.info.setdefault("told", {}).update({text: value for value, text in found.items()})
    return found


def told(session: AsyncSession) -> Mapping[str, str]:
    """What stands in the store for each name that this session was told by `named`."""
    found: dict[str, str] = session.info.setdefault("told", {})
    return found


def _of(session: AsyncSession) -> tuple[Sealing, dict[str, str]]:
    sealing: Sealing = session.info[SEALING]
    known: dict[str, str] = session.info.setdefault("persons", {})
    return sealing, known


def _of_text(key: bytes) -> AESGCM:
    return AESGCM(hmac.digest(key, b"seal", hashlib.sha256))


def _encrypted(cipher: AESGCM, data: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, data, bound)


def _decrypted(cipher: AESGCM, data: bytes, bound: bytes) -> bytes:
    return cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], bound)
