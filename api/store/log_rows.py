"""How what a write appends to the log is stored: its events, the texts that were sealed, and the tree above them.

Beside them stands what the events have to tell: `outbox.py`.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from api.store import outbox
from api.store.json_rows import values
from models.log.events import Event, LogNode
from models.log.merkle import Node, Peaks
from models.log.sealed_texts import SealedText


class Appended(NamedTuple):
    """What goes to the store, and by which mark and peaks the log is then known."""

    events: Sequence[Event]
    texts: Sequence[SealedText]
    nodes: Sequence[Node]
    mark: str
    peaks: Peaks
    tells: bool = True


async def store(connection: AsyncConnection, appended: Appended) -> None:
    """Stores it, in the transaction of the connection. Raises what the store raises."""
    append = _append_on_postgresql if connection.dialect.name == "postgresql" else _append_on_sqlite
    await append(connection, appended)


_INSERT_EVENTS: Final = insert(Event)
_INSERT_TEXTS: Final = insert(SealedText)
_INSERT_NODES: Final = insert(LogNode)
_COUNT: Final = text("UPDATE consent_revision SET events = :events, mark = :mark, peaks = :peaks WHERE id = 1")


async def _append_on_sqlite(connection: AsyncConnection, appended: Appended) -> None:
    if appended.texts:
        await connection.execute(_INSERT_TEXTS, [each.model_dump() for each in appended.texts])
    await connection.execute(_INSERT_EVENTS, [event.model_dump() for event in appended.events])
    if appended.tells and outbox.are_told(appended.events):
        await outbox.note_on_sqlite(connection, appended.events)
    if appended.nodes:
        await connection.execute(_INSERT_NODES, [node._asdict() for node in appended.nodes])
    peaks = appended.peaks
    await connection.execute(_COUNT, {"events": peaks.size, "mark": appended.mark, "peaks": peaks.packed})


_TEXT_KINDS: Final = {"commitment": "text", "lookup": "text", "key": "bytea", "text": "bytea", "open": "boolean"}
_NODE_KINDS: Final = {"level": "integer", "position": "integer", "hash": "bytea"}
_EVENT_KINDS: Final = {
    **dict.fromkeys(Event.model_fields, "text"),
    "number": "integer",
    "revision": "integer",
    "at": "timestamptz",
    "state": "json",
    "leaf": "bytea",
}


def _inserted(table: str, kinds: Mapping[str, str], parameter: int) -> str:
    """Puts the lines of a parameter into a table."""
    into = f"INSERT INTO {table} ({', '.join(kinds)}) SELECT"
    return f"{into} {', '.join(values(kinds.values()))} FROM jsonb_array_elements(${parameter}::jsonb) AS line"


def _append(*more: str) -> str:
    """One statement for all of it: each one is a round trip for whoever waits, and for those who wait for the lock."""
    parts = (
        f"texts AS ({_inserted('sealed_texts', _TEXT_KINDS, 1)})",
        f"nodes AS ({_inserted('log_nodes', _NODE_KINDS, 2)})",
        f"events AS ({_inserted('events', _EVENT_KINDS, 3)} RETURNING *)",
        *more,
    )
    count = "UPDATE consent_revision SET events = $4::integer, mark = $5::text, peaks = $6::bytea WHERE id = 1"
    return f"WITH {', '.join(parts)} {count}"


_APPEND: Final = _append()
_APPEND_AND_NOTE: Final = _append(outbox.NOTED)


async def _append_on_postgresql(connection: AsyncConnection, appended: Appended) -> None:
    texts = [_line(text.model_dump(), _TEXT_KINDS) for text in appended.texts]
    nodes = [_line(node._asdict(), _NODE_KINDS) for node in appended.nodes]
    events = [_line(event.model_dump(), _EVENT_KINDS) for event in appended.events]
    lines = (json.dumps(each) for each in (texts, nodes, events))
    append = _APPEND_AND_NOTE if outbox.are_told(appended.events) else _APPEND
    await connection.exec_driver_sql(append, (*lines, appended.peaks.size, appended.mark, appended.peaks.packed))


def _line(row: Mapping[str, Any], kinds: Mapping[str, str]) -> list[Any]:
    """The row as the statement takes it."""
    return [_in_json(row[name]) for name in kinds]


def _in_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return value.isoformat()
    # As text of its own: JSONB has no place for every character that JSON can name.
    return json.dumps(value) if isinstance(value, dict) else value
