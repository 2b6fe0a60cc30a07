"""Instants as SQLite keeps them: fixed-width text, whose order is the order of time."""

from datetime import datetime

SQLITE_INSTANT = "%Y-%m-%dT%H:%M:%S.%fZ"


def instant_of(text: str) -> datetime:
    """The moment that SQLite keeps as fixed-width text."""
    return datetime.fromisoformat(text)
