"""Personal texts of events, sealed apart from the event, which holds a commitment to the text.

A commitment is an HMAC under a random key of its own. Given key and text, anybody can check it; once the key is
destroyed, it reveals nothing, and hashes made of the event stay valid.
"""

import hashlib
import hmac
from typing import Final

from sqlmodel import Field, SQLModel

#: Prefix of a commitment, which distinguishes it from a name that is no person's, such as the system's own.
COMMITMENT: Final = "hmac-sha256:"
KEY_BYTES: Final = 32


class SealedText(SQLModel, table=True):
    """A text that can be erased: an actor or a reason. No copy of it is stored elsewhere.

    `key` and `text` are encrypted: the key with a key outside the store, the text with the key. Rows that a migration
    moved here, without access to that key, are `open` (not encrypted) until a process seals them.
    """

    __tablename__ = "sealed_texts"

    commitment: str = Field(primary_key=True, max_length=76)
    #: Set for actors only: with the key outside the store, it finds the row of the same actor again.
    lookup: str | None = Field(default=None, max_length=64, unique=True)
    key: bytes
    text: bytes
    open: bool = False


def commitment(key: bytes, text: str) -> str:
    """The commitment to a text under a key of 32 bytes."""
    return COMMITMENT + hmac.digest(key, b"commitment\0" + text.encode(), hashlib.sha256).hex()


def is_commitment(value: str) -> bool:
    return value.startswith(COMMITMENT)
