"""Destroys what was sealed apart, with all that was made of it: when it is erased, and when an erasure is replayed."""

from sqlalchemy import update
from sqlmodel import col

from api.appending import Write
from models.events import Event, RememberedAnswer
from models.sealed import SealedText


async def forget_text(write: Write, commitment: str) -> bool:
    """Destroys the text and the key that this is a commitment to; whether they were there."""
    row = await write.session.get(SealedText, commitment)
    if row is None:
        return False
    await write.forget(row)
    return True


async def forget_reason(write: Write, event: Event) -> bool:
    """Destroys why an event came about, as somebody wrote it; whether that was there.

    By what digest a repeated request is known goes with it: that was made of the text, with no key, and would tell
    whoever guesses the text that the guess is right.
    """
    if event.reason is None or not await forget_text(write, event.reason):
        return False
    made_with = update(RememberedAnswer).where(col(RememberedAnswer.revision) == event.revision)
    await write.session.exec(made_with.values(fingerprint=""))
    return True
