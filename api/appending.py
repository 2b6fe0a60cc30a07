"""Appends the events of a write to the log, in the write's own transaction: sealed, and each a leaf of the tree."""

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, insert, update

from api import sealing
from models.events import Event, LogNode, Revision
from models.log_entries import leaf_of
from models.merkle import STORED_LEVEL, Peaks
from models.sealed import SealedText

if TYPE_CHECKING:
    from api.store import Write

SYSTEM_ROLE: Final = "system"


async def append(write: "Write") -> None:
    """The write's events, behind all that are there. Who holds the revision's row is alone here."""
    peaks, completed = Peaks.of(write.events_before, write.peaks), []
    texts: list[SealedText] = []
    for event in write.events:
        await _seal(write, event, texts)
        event.leaf = leaf_of(event)
        peaks, nodes = peaks.appended(event.leaf)
        completed += [node._asdict() for node in nodes if node.level % STORED_LEVEL == 0]
    await write.session.flush()
    rows = {
        Event: [event.model_dump() for event in write.events],
        SealedText: [text.model_dump() for text in texts],
        LogNode: completed,
    }
    counted = update(Revision).values(events=peaks.size, mark=write.mark, peaks=peaks.packed)
    connection = await write.session.connection()
    await connection.run_sync(_write, {table: made for table, made in rows.items() if made}, counted)


def _write(connection: Connection, rows: dict[Any, list[dict[str, Any]]], counted: Any) -> None:
    """Puts all of it into the store: in PostgreSQL by one statement, whose answer is waited for once."""
    if connection.dialect.name == "sqlite":
        for table, made in rows.items():
            connection.execute(insert(table), made)
    else:
        for number, (table, made) in enumerate(rows.items()):
            counted = counted.add_cte(insert(table).values(made).cte(f"made_{number}"))
    connection.execute(counted)


async def _seal(write: "Write", event: Event, texts: list[SealedText]) -> None:
    """Only the system's own name and words stay as they are."""
    if event.actor_role == SYSTEM_ROLE:
        return
    event.actor = await sealing.person(write.session, event.actor)
    if event.reason is not None:
        text = sealing.reason(write.session, event.reason)
        texts.append(text)
        event.reason = text.commitment
