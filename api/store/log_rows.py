"""Stores what a write appends to the log: events, sealed texts and nodes of the tree.

Messages to subscriptions are stored by the same statement: `outbox.py`.
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


class LogRows(NamedTuple):
    """Rows to store, and the log's mark and peaks after them."""

    events: Sequence[Event]
    texts: Sequence[SealedText]
    nodes: Sequence[Node]
    mark: str
    peaks: Peaks
    has_subscriptions: bool


async def store(connection: AsyncConnection, rows: LogRows) -> None:
    """Stores the rows in the transaction of the connection. Raises whatever the store raises."""
    append = _append_on_postgresql if connection.dialect.name == "postgresql" else _append_on_sqlite
    await append(connection, rows)


_INSERT_EVENTS: Final = insert(Event)
_INSERT_TEXTS: Final = insert(SealedText)
_INSERT_NODES: Final = insert(LogNode)
_COUNT: Final = text("UPDATE consent_revision SET events = :events, mark = :mark, peaks = :peaks WHERE id = 1")


async def _append_on_sqlite(connection: AsyncConnection, rows: LogRows) -> None:
    if rows.texts:
        await connection.execute(_INSERT_TEXTS, [each.model_dump() for each in rows.texts])
    await connection.execute(_INSERT_EVENTS, [event.model_dump() for event in rows.events])
    if rows.has_subscriptions and outbox.has_messages(rows.events):
        await outbox.write_messages_on_sqlite(connection, rows.events)
    if rows.nodes:
        await connection.execute(_INSERT_NODES, [node._asdict() for node in rows.nodes])
    peaks = rows.peaks
    await connection.execute(_COUNT, {"events": peaks.size, "mark": rows.mark, "peaks": peaks.packed})


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


def _insert_sql(table: str, kinds: Mapping[str, str], parameter: int) -> str:
    """SQL that inserts the lines of a parameter into a table."""
    into = f"INSERT INTO {table} ({', '.join(kinds)}) SELECT"
    return f"{into} {', '.join(values(kinds.values()))} FROM jsonb_array_elements(${parameter}::jsonb) AS line"


def _append_sql(*more: str) -> str:
    """One statement for all tables: each statement is a round trip, during which others wait for the lock."""
    parts = (
        f"texts AS ({_insert_sql('sealed_texts', _TEXT_KINDS, 1)})",
        f"nodes AS ({_insert_sql('log_nodes', _NODE_KINDS, 2)})",
        f"events AS ({_insert_sql('events', _EVENT_KINDS, 3)} RETURNING *)",
        *more,
    )
    count = "UPDATE consent_revision SET events = $4::integer, mark = $5::text, peaks = $6::bytea WHERE id = 1"
    return f"WITH {', '.join(parts)} {count}"


_APPEND: Final = _append_sql()
_APPEND_WITH_MESSAGES: Final = _append_sql(outbox.MESSAGE_INSERTS)


async def _append_on_postgresql(connection: AsyncConnection, rows: LogRows) -> None:
    texts = [_line(text.model_dump(), _TEXT_KINDS) for text in rows.texts]
    nodes = [_line(node._asdict(), _NODE_KINDS) for node in rows.nodes]
    events = [_line(event.model_dump(), _EVENT_KINDS) for event in rows.events]
    lines = (json.dumps(each) for each in (texts, nodes, events))
    append = _APPEND_WITH_MESSAGES if outbox.has_messages(rows.events) else _APPEND
    await connection.exec_driver_sql(append, (*lines, rows.peaks.size, rows.mark, rows.peaks.packed))


def _line(row: Mapping[str, Any], kinds: Mapping[str, str]) -> list[Any]:
    """The row's values in the statement's order."""
    return [_in_json(row[name]) for name in kinds]


def _in_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return value.isoformat()
    # As a string: JSONB does not accept every character that JSON can hold.
    return json.dumps(value) if isinstance(value, dict) else value
