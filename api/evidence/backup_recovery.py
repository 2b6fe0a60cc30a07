"""After a backup was put back: what it lacks is known by a checkpoint that is kept outside the store.

A store that is behind such a checkpoint, or has another history, is not served: a grant that was revoked since would
hold again. An operator replays the entries that are missing, from a witness or an export, or confirms their loss.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from sqlmodel.ext.asyncio.session import AsyncSession

from api.evidence.apply_entries import Restoring
from api.evidence.key_custody import StoreRefused
from api.evidence.proofs import checkpoint, root_of, size_of
from api.security import private_files
from api.security.evidence_keys import EvidenceKeys
from api.store.events import SYSTEM, event_of, record
from api.store.jobs import every, repeat
from api.store.store import Store
from models.log.events import Event
from models.log.merkle import Peaks
from models.log.signed_notes import Checkpoint, NoteInvalid, checkpoint_in
from models.vocabulary.event_kinds import EventKind

log = logging.getLogger("privacy_manager.restore")

#: Between two looks whether there is a newer checkpoint to keep.
SECONDS: Final = 1.0


class ReplayRefused(Exception):
    """Why these entries cannot be replayed. Nothing was changed."""


async def require_not_behind(store: Store, path: Path, keys: EvidenceKeys) -> None:
    """Raises `StoreRefused` when the store lacks what the checkpoint at `path` has, or has another history.

    Raises `NoteInvalid` for a checkpoint that was not signed with these keys.
    """
    async with store.reading() as session:
        known = _known(await _place(session, path), keys)
        if known is None:
            return
        events = await size_of(session)
        same = events >= known.size and (not known.size or await root_of(session, known.size) == known.root)
    if events < known.size:
        raise StoreRefused(
            f"The store has {events} entries in its log, and had {known.size}: an older backup was put back, in which"
            " what was revoked since would hold. Replay what is missing (`privacy-manager restore --from`), or confirm"
            " that it is lost (`privacy-manager restore --confirm`)."
        )
    if not same:
        raise StoreRefused(
            f"The first {known.size} entries of the log are not those that it had. See `privacy-manager verify`."
            " To take the store as it is all the same, confirm (`privacy-manager restore --confirm`)."
        )


async def keep_checkpoints(store: Store, path: Path, keys: EvidenceKeys) -> None:
    """Keeps the newest checkpoint outside the store, for as long as the process runs."""
    known = -1

    async def turn() -> None:
        nonlocal known
        try:
            known = await keep_checkpoint(store, path, keys, known)
        except (OSError, NoteInvalid) as error:
            log.error("the newest checkpoint could not be kept: %s", error)

    # Once a second: an outage of the store is told by whatever else asks it.
    failed = "the newest checkpoint could not be kept"
    await repeat(turn, every(SECONDS), log, failed, at_once=True, outage=logging.DEBUG)


async def keep_checkpoint(store: Store, path: Path, keys: EvidenceKeys, known: int = -1) -> int:
    """Keeps the store's checkpoint, unless it is the one of size `known`; its size. An older one never replaces it."""
    async with store.reading() as session:
        size = await size_of(session)
        if size == known:
            return known
        note, place = await checkpoint(session, keys), await _place(session, path)
    kept = _known(place, keys)
    if place is not None and (kept is None or kept.size < size):
        await asyncio.to_thread(private_files.replace, place, note.encode())
    return size


async def replay(store: Store, entries: Iterable[Mapping[str, Any]], until: Checkpoint) -> Counter[str]:
    """Brings the store to the checkpoint `until` by the entries that it lacks; how many of which kind there were.

    Everything that decisions rest on is as the log tells. What the log never held (names, texts, files) is not there.
    Raises `ReplayRefused`, and `StoreUnreachable`.
    """
    async with store.writing() as write:
        missing = [entry for entry in entries if write.events_before < entry["number"] <= until.size]
        if not missing:
            raise ReplayRefused("The store lacks none of these entries.")
        events = [_following(entry, write.events_before + at) for at, entry in enumerate(missing, start=1)]
        restoring = Restoring(write)
        for entry in missing:
            await restoring.apply(entry)
            await write.session.flush()
        await write.put_back(events)
        if (write.events_before, Peaks.of(write.events_before, write.peaks).root) != (until.size, until.root):
            raise ReplayRefused("With these entries the log is not that of the checkpoint: they are others.")
        state = {"from": events[0].number, "until": until.size}
        record(write, EventKind.STORE_REPLAYED, SYSTEM, state)
    return Counter(event.kind for event in events)


async def confirm(store: Store, path: Path, keys: EvidenceKeys) -> None:
    """An operator takes the store as it is: what the kept checkpoint had besides is lost."""
    async with store.reading() as session:
        place = await _place(session, path)
    known = _known(place, keys)
    async with store.writing() as write:
        state = {"known": known.size if known is not None else None, "found": write.events_before}
        record(write, EventKind.STORE_CONFIRMED, SYSTEM, state)
    if place is not None:
        await asyncio.to_thread(place.unlink, missing_ok=True)
    await keep_checkpoint(store, path, keys)


async def _place(session: AsyncSession, path: Path) -> Path | None:
    """Where the checkpoint of this log is kept: by the mark of its first entry, which every backup of it has too.

    Another store of the same installation has a file of its own. None for a log that has not begun.
    """
    first = await session.get(Event, 1)
    return path.with_name(f"{path.name}-{first.mark[:16]}") if first is not None else None


def _known(path: Path | None, keys: EvidenceKeys) -> Checkpoint | None:
    if path is None:
        return None
    try:
        return checkpoint_in(path.read_bytes(), keys.verifiers)
    except FileNotFoundError:
        return None
    except NoteInvalid as invalid:
        raise NoteInvalid(f"{path}: {invalid}") from None


def _following(entry: Mapping[str, Any], number: int) -> Event:
    """The event that the entry is of. Raises `ReplayRefused` when it is not the one that follows."""
    try:
        event = event_of(entry)
    except (KeyError, ValueError, TypeError):
        raise ReplayRefused(f"Entry {number} is not one of a log.") from None
    if event.number != number:
        raise ReplayRefused(f"Entry {number} is missing.")
    return event
