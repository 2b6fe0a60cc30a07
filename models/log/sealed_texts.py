"""What is personal about an event: its text is sealed apart, and the event holds a commitment to it.

A commitment is an HMAC under a random key of its own. Whoever is given key and text can check it; once the key is
destroyed, it tells nothing, and what was made of the event still holds.
"""

import hashlib
import hmac
from typing import Final

from sqlmodel import Field, SQLModel

#: How a commitment begins, and by that is told from a name that is nobody's, as the system's own.
COMMITMENT: Final = "hmac-sha256:"
KEY_BYTES: Final = 32


class SealedText(SQLModel, table=True):
    """A text that can be erased: who acted, or why. The row is all that there is of it.

    `key` and `text` are encrypted: the key with one that is kept outside the store, the text with the key. Where a
    migration moved them here, which has no key, they are `open` until a process seals them.
    """

    __tablename__ = "sealed_texts"

    commitment: str = Field(primary_key=True, max_length=76)
    #: Of who acted, not of why: by this, and the key outside the store, the same one is found again.
    lookup: str | None = Field(default=None, max_length=64, unique=True)
    key: bytes
    text: bytes
    open: bool = False


def commitment(key: bytes, text: str) -> str:
    """The commitment to a text under a key of 32 bytes."""
    return COMMITMENT + hmac.digest(key, b"commitment\0" + text.encode(), hashlib.sha256).hex()


def is_commitment(value: str) -> bool:
    return value.startswith(COMMITMENT)
