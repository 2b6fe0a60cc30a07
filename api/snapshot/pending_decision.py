"""A request for a decision, from its arrival to its answer, with its decision and lines."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, NamedTuple, TypeVar

from api.snapshot.source import DraftedLines
from models.decision.decision_log import Line
from models.decision.snapshot import Snapshot

Answer = TypeVar("Answer")

#: Most lines per statement, unless a single request has more: longer statements would delay others.
MOST_LINES: Final = 2_000


class Logged(NamedTuple, Generic[Answer]):
    """A decision, and the lines that must be stored before it is answered.

    `until` is the first instant at which the decision may change though no fact does; None when it holds for its own
    instant only.
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
        """Decides, unless already answered. An exception of `decide` becomes the answer of this request alone."""
        if self.answered.done():
            return False
        try:
            self.logged = self.decide(snapshot, now)
        except Exception as error:
            self.answered.set_exception(error)
            return False
        return True

    def answer(self) -> None:
        """Answers with the decision, unless already answered."""
        if self.logged is not None and not self.answered.done():
            self.answered.set_result(self.logged.answer)


def lines_of(decided: Sequence[PendingDecision]) -> list[Line]:
    return [line for each in decided for line in each.lines]


def draft_decisions(
    waiting: Sequence[PendingDecision], snapshot: Snapshot, seen_at: datetime
) -> tuple[list[PendingDecision], DraftedLines | None]:
    """Decides requests on the snapshot in memory, which may still be current. Returns them with their lines."""
    batch: list[PendingDecision] = []
    until: datetime | None = None
    lines = 0
    for each in waiting:
        if each.decide_on(snapshot, seen_at) and each.until is not None:
            lines += len(each.lines)
            if batch and lines > MOST_LINES:
                break
            batch.append(each)
            until = each.until if until is None else min(until, each.until)
    if until is None:
        return [], None
    return batch, DraftedLines(lines_of(batch), snapshot.revision, snapshot.mark, seen_at, until)
