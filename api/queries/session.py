"""Rows for a caller, always scoped by tenant: one file a subject, and here what all of them share.

Every list is read with one row to spare, which tells whether more follows.
"""

from typing import TypeVar

from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from models.vocabulary.refusals import NotFound

Table = TypeVar("Table", bound=SQLModel)
Session = AsyncSession


def required(row: Table | None, otherwise: str) -> Table:
    """The row. Raises `NotFound` where there is none."""
    if row is None:
        raise NotFound(otherwise)
    return row
