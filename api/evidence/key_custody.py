"""The custody of a store's evidence keys: the keys of the first process that served the store are its keys for good."""

import contextlib
from pathlib import Path

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.security import evidence_keys
from api.security.evidence_keys import EvidenceKeys
from api.store.events import SYSTEM, record
from api.store.store import Store, Write
from models.consents.schools import Location, School
from models.log.entry_states import listed
from models.log.events import Event, Revision
from models.log.sealed_texts import SealedText
from models.vocabulary.event_kinds import EventKind


class StoreRefused(Exception):
    """A store that this process may not serve; the text says why."""


async def keys_of_store(store: Store, path: Path) -> EvidenceKeys:
    """The keys of the store, from the file at `path`; a store without keys adopts those of the file.

    Raises `StoreRefused` for a missing file or another store's, `KeysInvalid`, and `StoreUnreachable`.
    """
    keys = await _keys_in_file(store, path)
    origin, sealed_with = await store.adopt(keys.origin, keys.sealed_with)
    if (origin, sealed_with) != (keys.origin, keys.sealed_with):
        raise StoreRefused(
            f"The evidence of this store is kept with the keys of {origin}; {path} has those of {keys.origin}."
        )
    return keys


async def _keys_in_file(store: Store, path: Path) -> EvidenceKeys:
    with contextlib.suppress(FileNotFoundError):
        return evidence_keys.read(path)
    async with store.reading() as session:
        origin = (await session.get_one(Revision, 1)).origin
    if not origin:
        return evidence_keys.make(path)
    with contextlib.suppress(FileNotFoundError):
        # Another process that started at the same moment may have made the file since.
        return evidence_keys.read(path)
    raise StoreRefused(f"The evidence of this store is kept with the keys of {origin}: put their file at {path}.")


async def seal_open_texts(store: Store) -> None:
    """Seals the texts that a migration moved unsealed, since it had no key."""
    open_texts = select(SealedText).where(col(SealedText.open))
    async with store.reading() as session:
        if store.sealing is None or (await session.exec(open_texts.limit(1))).first() is None:
            return
    async with store.writing() as write:
        found = (await write.session.exec(open_texts)).all()
        for row in found:
            if row.lookup is not None:
                row.lookup = store.sealing.lookup(row.text.decode())
            write.session.add(store.sealing.closed(row))
        if found:
            record(write, EventKind.TEXTS_SEALED, SYSTEM, {"texts": len(found)})


async def record_schools_once(store: Store) -> None:
    """Records all schools in the log, where they were imported before imports recorded them."""
    async with store.reading() as session:
        if await _are_schools_recorded(session):
            return
    async with store.writing() as write:
        if not await _are_schools_recorded(write.session):
            await record_schools(write)


async def record_schools(write: Write) -> None:
    """Records all schools and locations of the store in the log."""
    schools = await write.session.exec(select(School.brin, School.board_number, School.gone_at))
    locations = await write.session.exec(select(Location.code, Location.gone_at))
    record(write, EventKind.SCHOOLS_LISTED, SYSTEM, {"listed": listed(schools, locations)})


async def _are_schools_recorded(session: AsyncSession) -> bool:
    """Whether the log lacks no school: the store has none, or they were listed, or the first import recorded them."""
    if (await session.exec(select(School.brin).limit(1))).first() is None:
        return True
    if (await session.exec(select(Event.number).where(Event.kind == EventKind.SCHOOLS_LISTED).limit(1))).first():
        return True
    first = select(Event.state).where(Event.kind == EventKind.SCHOOLS_IMPORTED).order_by(col(Event.number)).limit(1)
    return "listed" in ((await session.exec(first)).first() or {})
