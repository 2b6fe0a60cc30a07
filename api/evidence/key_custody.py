"""Whose keys a store's evidence is kept with: those of the first process that served it, from then on for good."""

import contextlib
from pathlib import Path

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.security import evidence_keys
from api.security.evidence_keys import EvidenceKeys
from api.store.events import SYSTEM, record
from api.store.store import Store, Write
from models.consents.schools import Location, School
from models.log.events import Event, Revision
from models.log.sealed_texts import SealedText
from models.past.replay import listed
from models.vocabulary.event_kinds import EventKind


class StoreRefused(Exception):
    """Why this process may not serve this store."""


async def evidence_of(store: Store, path: Path) -> EvidenceKeys:
    """The keys in the file, which are the store's; of a store that has none yet, they become its own.

    Raises `StoreRefused` for a file that is missing or is another one's, `KeysInvalid`, and `StoreUnreachable`.
    """
    keys = await _in_file(store, path)
    origin, sealed_with = await store.adopt(keys.origin, keys.sealed_with)
    if (origin, sealed_with) != (keys.origin, keys.sealed_with):
        raise StoreRefused(
            f"The evidence of this store is kept with the keys of {origin}; {path} has those of {keys.origin}."
        )
    return keys


async def _in_file(store: Store, path: Path) -> EvidenceKeys:
    with contextlib.suppress(FileNotFoundError):
        return evidence_keys.read(path)
    async with store.reading() as session:
        origin = (await session.get_one(Revision, 1)).origin
    if not origin:
        return evidence_keys.make(path)
    with contextlib.suppress(FileNotFoundError):
        # Another process, which started at the same moment, has made it since.
        return evidence_keys.read(path)
    raise StoreRefused(f"The evidence of this store is kept with the keys of {origin}: put their file at {path}.")


async def seal_what_is_open(store: Store) -> None:
    """Seals the texts that a migration moved, which had no key to seal them with."""
    are_open = select(SealedText).where(col(SealedText.open))
    async with store.reading() as session:
        if store.sealing is None or (await session.exec(are_open.limit(1))).first() is None:
            return
    async with store.writing() as write:
        found = (await write.session.exec(are_open)).all()
        for row in found:
            if row.lookup is not None:
                row.lookup = store.sealing.lookup(row.text.decode())
            write.session.add(store.sealing.closed(row))
        if found:
            record(write, EventKind.TEXTS_SEALED, SYSTEM, {"texts": len(found)})


async def tell_of_schools(store: Store) -> None:
    """Tells the log which schools there are, where they were imported before imports told it."""
    async with store.reading() as session:
        if await _are_told(session):
            return
    async with store.writing() as write:
        if not await _are_told(write.session):
            await tell_schools(write)


async def tell_schools(write: Write) -> None:
    """Tells the log all schools and locations that there are."""
    schools = await write.session.exec(select(School.brin, School.board_number, School.gone_at))
    locations = await write.session.exec(select(Location.code, Location.gone_at))
    record(write, EventKind.SCHOOLS_LISTED, SYSTEM, {"listed": listed(schools, locations)})


async def _are_told(session: AsyncSession) -> bool:
    """Whether no school is missing from the log: there is none, or all that there are were told."""
    if (await session.exec(select(School.brin).limit(1))).first() is None:
        return True
    if (await session.exec(select(Event.number).where(Event.kind == EventKind.SCHOOLS_LISTED).limit(1))).first():
        return True
    first = select(Event.state).where(Event.kind == EventKind.SCHOOLS_IMPORTED).order_by(col(Event.number)).limit(1)
    return "listed" in ((await session.exec(first)).first() or {})
