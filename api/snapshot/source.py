"""The source of facts for decisions: revision, clock and changed rows, read past the ORM.

The read of the revision can also store the lines of decisions. Each process has one dedicated connection. Methods may
raise anything; callers treat every exception as an unreachable store.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from models.decision.decision_log import Line
from models.decision.snapshot import (
    Changes,
)

EVERYTHING: Final = -1


class Reading(NamedTuple):
    """The result of one read: the store's revision, its time, the revision's mark, and whether lines were stored."""

    revision: int
    now: datetime
    mark: str = ""
    stored: bool = False


class DraftedLines(NamedTuple):
    """Lines of decisions made on this revision, valid from `since` (inclusive) until `until` (exclusive)."""

    lines: Sequence[Line]
    revision: int
    mark: str
    since: datetime
    until: datetime


class FactSource(Protocol):
    #: Whether `read` accepts a draft. Otherwise lines are stored beside the reads.
    reads_store_lines: bool

    async def connect(self) -> None:
        """Connects unless there is a working connection. May take longer than a decision can wait."""

    async def read(self, within: float, draft: DraftedLines | None = None) -> Reading:
        """Reads revision and time, starting now. Raises `TimeoutError` after about `within` seconds.

        A draft that is valid at this read is stored with its time; its lines are on disk on return.
        """

    async def store(self, lines: Sequence[Line], within: float) -> None:
        """Stores the lines, which are on disk on return. Raises after about `within` seconds."""

    async def changes(self, since: int) -> Changes:
        """All facts that changed after `since`, as of one instant; `EVERYTHING` reads all facts."""

    async def drop(self) -> None:
        """Discards the connection, whatever its state; the next call makes another."""
