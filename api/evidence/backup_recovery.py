"""Recovery after the restore of a backup: a checkpoint outside the store shows which entries the backup lacks.

A store that is behind this checkpoint, or has another history, is not served: a grant that was revoked since would hold
again. An operator replays the missing entries from a witness or an export, or confirms their loss.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from sqlmodel.ext.asyncio.session import AsyncSession

from api.evidence.apply_entries import EntryReplay
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

#: Seconds between two reads of the log's size by the checkpoint job.
SECONDS: Final = 1.0


class ReplayRefused(Exception):
    """A replay that changed nothing; the text says why."""


async def require_not_behind(store: Store, path: Path, keys: EvidenceKeys) -> None:
    """Raises `StoreRefused` when the store lacks entries of the checkpoint at `path`, or has another history.

    Raises `NoteInvalid` for a checkpoint that was not signed with these keys.
    """
    async with store.reading() as session:
        known = _read_checkpoint(await _checkpoint_file(session, path), keys)
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


async def run_checkpoint_job(store: Store, path: Path, keys: EvidenceKeys) -> None:
    """Writes the newest checkpoint to its file every `SECONDS`, for as long as the process runs."""
    known = -1

    async def turn() -> None:
        nonlocal known
        try:
            known = await keep_checkpoint(store, path, keys, known)
        except (OSError, NoteInvalid) as error:
            log.error("the newest checkpoint could not be kept: %s", error)

    # An outage is logged at DEBUG, since this runs once a second and other callers of the store report it too.
    failed = "the newest checkpoint could not be kept"
    await repeat(turn, every(SECONDS), log, failed, at_once=True, outage=logging.DEBUG)


async def keep_checkpoint(store: Store, path: Path, keys: EvidenceKeys, known: int = -1) -> int:
    """Writes the store's checkpoint to its file, unless it has the size `known`; returns its size.

    An older checkpoint never replaces a newer one.
    """
    async with store.reading() as session:
        size = await size_of(session)
        if size == known:
            return known
        note, file = await checkpoint(session, keys), await _checkpoint_file(session, path)
    kept = _read_checkpoint(file, keys)
    if file is not None and (kept is None or kept.size < size):
        await asyncio.to_thread(private_files.replace, file, note.encode())
    return size


async def replay(store: Store, entries: Iterable[Mapping[str, Any]], until: Checkpoint) -> Counter[str]:
    """Replays the entries that the store lacks, up to the checkpoint `until`; returns their number by kind.

    All facts of decisions are restored from the log. Names, texts and files, which the log never held, are not.
    Raises `ReplayRefused`, and `StoreUnreachable`.
    """
    async with store.writing() as write:
        missing = [entry for entry in entries if write.events_before < entry["number"] <= until.size]
        if not missing:
            raise ReplayRefused("The store lacks none of these entries.")
        events = [_event_numbered(entry, write.events_before + at) for at, entry in enumerate(missing, start=1)]
        entry_replay = EntryReplay(write)
        for event in events:
            await entry_replay.apply(event)
            await write.session.flush()
        await write.append_restored(events)
        if (write.events_before, Peaks.of(write.events_before, write.peaks).root) != (until.size, until.root):
            raise ReplayRefused("With these entries the log is not that of the checkpoint: they are others.")
        state = {"from": events[0].number, "until": until.size}
        record(write, EventKind.STORE_REPLAYED, SYSTEM, state)
    return Counter(event.kind for event in events)


async def confirm(store: Store, path: Path, keys: EvidenceKeys) -> None:
    """Accepts the store as it is, by an operator's decision: the entries that only the checkpoint had are lost."""
    async with store.reading() as session:
        file = await _checkpoint_file(session, path)
    known = _read_checkpoint(file, keys)
    async with store.writing() as write:
        state = {"known": known.size if known is not None else None, "found": write.events_before}
        record(write, EventKind.STORE_CONFIRMED, SYSTEM, state)
    if file is not None:
        await asyncio.to_thread(file.unlink, missing_ok=True)
    await keep_checkpoint(store, path, keys)


async def _checkpoint_file(session: AsyncSession, path: Path) -> Path | None:
    """The file of this log's checkpoint, named by the mark of its first entry, which every backup of the log has too.

    Another store of the same installation has a file of its own. None for an empty log.
    """
    first = await session.get(Event, 1)
    return path.with_name(f"{path.name}-{first.mark[:16]}") if first is not None else None


def _read_checkpoint(path: Path | None, keys: EvidenceKeys) -> Checkpoint | None:
    if path is None:
        return None
    try:
        return checkpoint_in(path.read_bytes(), keys.verifiers)
    except FileNotFoundError:
        return None
    except NoteInvalid as invalid:
        raise NoteInvalid(f"{path}: {invalid}") from None


def _event_numbered(entry: Mapping[str, Any], number: int) -> Event:
    """The event of an entry. Raises `ReplayRefused` when it is no entry, or its number is not `number`."""
    try:
        event = event_of(entry)
    except (KeyError, ValueError, TypeError):
        raise ReplayRefused(f"Entry {number} is not one of a log.") from None
    if event.number != number:
        raise ReplayRefused(f"Entry {number} is missing.")
    return event
