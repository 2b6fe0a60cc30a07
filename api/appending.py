"""Appends the events of a write to the log, in the write's own transaction: sealed, and each a leaf of the tree."""

from typing import TYPE_CHECKING, Final

from sqlalchemy import insert, text

from api import sealing
from models.events import Event, LogNode
from models.log_entries import leaf_of
from models.merkle import STORED_LEVEL, Peaks
from models.sealed import SealedText

if TYPE_CHECKING:
    from api.store import Write

SYSTEM_ROLE: Final = "system"

_INSERT_EVENTS: Final = insert(Event)
_INSERT_TEXTS: Final = insert(SealedText)
_COUNT: Final = text("UPDATE consent_revision SET events = :events, mark = :mark, peaks = :peaks WHERE id = 1")


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
    connection = await write.session.connection()
    await connection.execute(_INSERT_EVENTS, [event.model_dump() for event in write.events])
    if texts:
        await connection.execute(_INSERT_TEXTS, [each.model_dump() for each in texts])
    if completed:
        await connection.execute(insert(LogNode), completed)
    await connection.execute(_COUNT, {"events": peaks.size, "mark": write.mark, "peaks": peaks.packed})


async def _seal(write: "Write", event: Event, texts: list[SealedText]) -> None:
    """Only the system's own name and words stay as they are."""
    if event.actor_role == SYSTEM_ROLE:
        return
    event.actor = await sealing.person(write.session, event.actor)
    if event.reason is not None:
        texts.append(sealing.reason(write.session, event.reason))
        event.reason = texts[-1].commitment
