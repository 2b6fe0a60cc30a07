"""The evidence of a world of these tests: its keys, its entries, and a witness that has seen them."""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken
from sqlalchemy import text
from sqlmodel import col, select

from api.evidence.proofs import checkpoint
from api.evidence.witness import Witness
from api.security import evidence_keys
from api.security.evidence_keys import EvidenceKeys
from models.log.events import Event, RememberedAnswer
from models.log.log_entries import canonical, entry_of
from models.log.merkle import Plan, leaf_hash
from tests.worlds.world import World

KEYS_FILE: Final = "evidence-keys.json"


def keys_in(folder: Path) -> EvidenceKeys:
    """The keys of the installation that lives there."""
    return evidence_keys.read(folder / KEYS_FILE)


def keys_of(world: World) -> EvidenceKeys:
    return keys_in(world.folder)


async def entries_of(world: World) -> list[dict[str, Any]]:
    """Every entry of the log, as the store has it."""
    async with world.store.reading() as session:
        return [entry_of(event) for event in await session.exec(select(Event).order_by(col(Event.number)))]


async def note_of(world: World) -> bytes:
    """The log's checkpoint now."""
    async with world.store.reading() as session:
        return (await checkpoint(session, keys_of(world))).encode()


def consistency(entries: Sequence[dict[str, Any]], first: int) -> list[bytes]:
    """The proof that these entries begin with the `first` of them; none where there is nothing to prove."""
    leaves = [leaf_hash(canonical(entry)) for entry in entries]
    if not 0 < first <= len(entries):
        return []
    return Plan.of_consistency(first, len(leaves)).proof({0: dict(enumerate(leaves))})


def witness_of(world: World, folder: Path) -> Witness:
    """A witness in this folder that knows whose log it follows."""
    return Witness(folder, keys_of(world).verifiers)


async def take(world: World, witness: Witness) -> None:
    """The witness takes in what the log has become."""
    entries = await entries_of(world)
    seen = witness.last.size if witness.last is not None else 0
    witness.accept(await note_of(world), consistency(entries, seen), entries[seen:])


async def files_of(world: World) -> Iterator[Path]:
    """Every file in which the store may have left something: its tables, and what it logs ahead of writing them."""
    if world.store.is_sqlite:
        return iter(sorted(Path(str(world.store.url.database)).parent.glob("privacy-manager.db*")))
    async with world.store.engine.connect() as connection:
        connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("CHECKPOINT"))
        shown = "SELECT current_setting('data_directory'), oid FROM pg_database WHERE datname = current_database()"
        folder, oid = (await connection.execute(text(shown))).one()
    found = [*(Path(folder) / "base" / str(oid)).iterdir(), *(Path(folder) / "pg_wal").iterdir()]
    return (path for path in found if path.is_file())


async def where_it_is(world: World, wanted: bytes) -> list[str]:
    """In which of those files these bytes stand."""
    return [path.name for path in await files_of(world) if wanted in path.read_bytes()]


def seal_of_older_versions(caller: str, key: str) -> Fernet:
    """What sealed remembered answers before the key outside the store did so too: anyone can make it of a guess."""
    digest = hashlib.sha256(f"sealed answer\0{caller}\0{key}".encode()).digest()
    return Fernet(base64.urlsafe_b64encode(digest))


def opened_by_a_guess(kept: RememberedAnswer, key: str) -> str | None:
    """The remembered answer, for one who has the store and guesses the Idempotency-Key; None where it stays shut."""
    try:
        return seal_of_older_versions(kept.caller, key).decrypt(kept.body).decode()
    except InvalidToken:
        return None
