"""Destroys sealed texts and all digests made of them, on an erasure and when an erasure is replayed."""

from typing import Any

from sqlalchemy import Text, cast, delete, update
from sqlmodel import col, select

from api.security import sealing
from api.store.unit_of_work import Write
from models.log.events import Event, RememberedAnswer
from models.log.sealed_texts import SealedText


async def forget_person(write: Write, commitment: str) -> bool:
    """Destroys the name of an actor, and every remembered answer that names them. Returns whether the name existed.

    Remembered answers of versions without keyed digests are emptied too, for all callers: their bodies may contain the
    name but cannot be searched without each Idempotency-Key, and their digests confirm a guessed name. The keys stay
    known as used, so that no retry writes twice.
    """
    if not await _forget_text(write, commitment):
        return False
    answers, caller = RememberedAnswer, col(RememberedAnswer.caller)
    unkeyed = ~caller.startswith(sealing.KEYED)
    await _drop_answers(write, unkeyed)
    digests = (await write.session.exec(select(answers.caller).where(unkeyed).distinct())).all()
    for digest, keyed in sealing.keyed(write.session, digests).items():
        # An older version may have served beside this one, so that both stored an answer under the same key.
        duplicate = col(answers.key).in_(select(answers.key).where(caller == keyed))
        await write.session.exec(delete(answers).where(caller == digest, duplicate))
        await write.session.exec(update(answers).where(caller == digest).values(caller=keyed))
    return True


async def forget_reason(write: Write, event: Event) -> bool:
    """Destroys the written reason of an event. Returns whether it existed.

    The digest and answer of the remembered request go too: the digest is made of the text, so that repeating the
    request with a guessed text would confirm the guess; the answer may contain the text.
    """
    if event.reason is None or not await _forget_text(write, event.reason):
        return False
    await _drop_answers(write, col(RememberedAnswer.revision) == event.revision)
    return True


async def _forget_text(write: Write, commitment: str) -> bool:
    """Destroys the text and key of this commitment, and the remembered answers that name it. Returns whether the text
    existed.

    The answers are found by a scan of all remembered answers.
    """
    row = await write.session.get(SealedText, commitment)
    if row is None:
        return False
    await write.destroy(row)
    await _drop_answers(write, cast(RememberedAnswer.names, Text).contains(commitment, autoescape=True))
    return True


async def _drop_answers(write: Write, which: Any) -> None:
    """Empties these remembered answers. Their keys stay known as used, so that no retry writes twice."""
    dropped = update(RememberedAnswer).where(which)
    await write.session.exec(dropped.values(fingerprint="", body="", names=[]))
