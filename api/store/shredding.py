"""Destroys what was sealed apart, with all that was made of it: when it is erased, and when an erasure is replayed."""

from sqlalchemy import delete, update
from sqlmodel import col, select

from api.security import sealing
from api.store.unit_of_work import Write
from models.log.events import Event, RememberedAnswer
from models.log.sealed_texts import SealedText


async def forget_text(write: Write, commitment: str) -> bool:
    """Destroys the text and the key that this is a commitment to; whether they were there."""
    row = await write.session.get(SealedText, commitment)
    if row is None:
        return False
    await write.forget(row)
    return True


async def forget_person(write: Write, commitment: str) -> bool:
    """Destroys the name of who acted; whether that was there.

    What versions without keyed digests remembered of requests goes with it, whosever it was: its answers may name them,
    which nobody can look for without each Idempotency-Key, and its digests tell whoever guesses a name that the guess
    is right. That something was done under a key is kept, so that it is not done again.
    """
    if not await forget_text(write, commitment):
        return False
    kept, caller = RememberedAnswer, col(RememberedAnswer.caller)
    older = ~caller.startswith(sealing.KEYED)
    await write.session.exec(update(kept).where(older).values(fingerprint="", body=""))
    digests = (await write.session.exec(select(kept.caller).where(older).distinct())).all()
    for digest, keyed in sealing.keyed(write.session, digests).items():
        # Where an older version served beside this one, both may have remembered something under one key.
        twice = col(kept.key).in_(select(kept.key).where(caller == keyed))
        await write.session.exec(delete(kept).where(caller == digest, twice))
        await write.session.exec(update(kept).where(caller == digest).values(caller=keyed))
    return True


async def forget_reason(write: Write, event: Event) -> bool:
    """Destroys why an event came about, as somebody wrote it; whether that was there.

    By what digest a repeated request is known goes with it, and its answer: the one was made of the text, and whoever
    guesses the text and repeats the request would be told that the guess is right; the other may hold the text.
    """
    if event.reason is None or not await forget_text(write, event.reason):
        return False
    made_with = update(RememberedAnswer).where(col(RememberedAnswer.revision) == event.revision)
    await write.session.exec(made_with.values(fingerprint="", body=""))
    return True
