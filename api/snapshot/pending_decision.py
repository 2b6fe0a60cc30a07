"""A request for a decision, from its arrival until it is answered: what is decided for it, and with which lines."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, NamedTuple, TypeVar

from api.snapshot.source import Drafted
from models.decision.decision_log import Line
from models.decision.snapshot import Snapshot

Answer = TypeVar("Answer")

#: Lines that are stored by one statement, unless one request has more: it must not hold up others for long.
MOST_LINES: Final = 2_000


class Logged(NamedTuple, Generic[Answer]):
    """What was decided, and the lines that must be stored before anybody is told.

    `until` is the first instant at which it may be otherwise though no fact changes; None where it holds for its
    instant alone.
    """

    answer: Answer
    lines: Sequence[Line]
    until: datetime | None = None


@dataclass(slots=True, eq=False)
class PendingDecision:
    """A request that waits for its answer."""

    answered: asyncio.Future[Any]
    decide: Callable[[Snapshot, datetime], Logged[Any]]
    #: Set once decided.
    logged: Logged[Any] | None = None

    @property
    def lines(self) -> Sequence[Line]:
        return self.logged.lines if self.logged is not None else ()

    @property
    def until(self) -> datetime | None:
        return self.logged.until if self.logged is not None else None

    def decide_on(self, snapshot: Snapshot, now: datetime) -> bool:
        """Decides, unless it is answered already. An exception of `decide` is the answer of this request alone."""
        if self.answered.done():
            return False
        try:
            self.logged = self.decide(snapshot, now)
        except Exception as error:
            self.answered.set_exception(error)
            return False
        return True

    def tell(self) -> None:
        """Answers what was decided, unless it is answered already."""
        if self.logged is not None and not self.answered.done():
            self.answered.set_result(self.logged.answer)


def lines_of(decided: Sequence[PendingDecision]) -> list[Line]:
    return [line for each in decided for line in each.lines]


def drafted(
    waiting: Sequence[PendingDecision], snapshot: Snapshot, seen_at: datetime
) -> tuple[list[PendingDecision], Drafted | None]:
    """The requests that are decided on the facts in memory, which may turn out to be current, and their lines."""
    found: list[PendingDecision] = []
    until: datetime | None = None
    lines = 0
    for each in waiting:
        if each.decide_on(snapshot, seen_at) and each.until is not None:
            lines += len(each.lines)
            if found and lines > MOST_LINES:
                break
            found.append(each)
            until = each.until if until is None else min(until, each.until)
    if until is None:
        return [], None
    return found, Drafted(lines_of(found), snapshot.revision, snapshot.mark, seen_at, until)
