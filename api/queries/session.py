"""The base of all queries for a caller, which are always scoped by tenant, one file a subject.

A list is read with one row more than its limit, which shows whether more follow.
"""

from typing import TypeVar

from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from models.vocabulary.refusals import NotFound

Table = TypeVar("Table", bound=SQLModel)
Session = AsyncSession


def required(row: Table | None, otherwise: str) -> Table:
    """The row. Raises `NotFound` with the text `otherwise` when there is none."""
    if row is None:
        raise NotFound(otherwise)
    return row
