"""The agreement that counts for a board's schools at an instant, of several signed ones."""

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol, TypeVar

from models.vocabulary.periods import Dated, holds


class Signed(Dated, Protocol):
    @property
    def board_number(self) -> str | None: ...
    @property
    def registered_at_revision(self) -> int: ...


SomeAgreement = TypeVar("SomeAgreement", bound=Signed)


def agreement_in_force(
    agreements: Iterable[SomeAgreement], board_number: str | None, now: datetime
) -> SomeAgreement | None:
    """The agreement in force at `now` for a board's schools: its own before the general one, then the latest."""
    best: SomeAgreement | None = None
    for agreement in agreements:
        if agreement.board_number not in (None, board_number) or not holds(agreement, now):
            continue
        if best is None or precedence(agreement) > precedence(best):
            best = agreement
    return best


def precedence(agreement: Signed) -> tuple[bool, int]:
    return agreement.board_number is not None, agreement.registered_at_revision
