"""Instants as SQLite stores them: fixed-width text, so that text order is time order."""

from datetime import datetime

SQLITE_INSTANT = "%Y-%m-%dT%H:%M:%S.%fZ"


def instant_of(text: str) -> datetime:
    """Parses an instant stored by SQLite as fixed-width text."""
    return datetime.fromisoformat(text)
