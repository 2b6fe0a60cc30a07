"""Where the facts for decisions come from: the revision, the clock and the changed rows, read past the ORM.

The lines of what was decided ride along with the read of the revision. One connection per process, on which nothing
else is done. Every method may raise anything; whoever calls it takes any exception for an unreachable store.
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
    """What one read of the store says: its revision, its time, and the revision's mark; whether it stored the lines."""

    revision: int
    now: datetime
    mark: str = ""
    stored: bool = False


class Drafted(NamedTuple):
    """Lines of what was decided on this revision, and what it holds from (inclusive) and until (exclusive)."""

    lines: Sequence[Line]
    revision: int
    mark: str
    since: datetime
    until: datetime


class FactSource(Protocol):
    #: Whether a draft may come with a read. Otherwise lines are stored beside the reads.
    lines_ride_along: bool

    async def connect(self) -> None:
        """Makes the connection, where there is none that works. That may take longer than a decision can wait."""

    async def read(self, within: float, draft: Drafted | None = None) -> Reading:
        """The revision and the time, by a read that starts now. Raises `TimeoutError` after about `within` seconds.

        A draft that holds as of this read is stored, with its time; its lines are on the disk when this returns.
        """

    async def store(self, lines: Sequence[Line], within: float) -> None:
        """Stores the lines; they are on the disk when it returns. Raises after about `within` seconds."""

    async def changes(self, since: int) -> Changes:
        """Every fact that changed after `since`, all seen at one instant; `EVERYTHING` for all there is."""

    async def drop(self) -> None:
        """Lets go of the connection, whatever state it is in; the next call makes another."""
