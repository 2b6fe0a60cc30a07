"""Validity periods of facts, in the store's time."""

from datetime import datetime
from typing import Protocol

from models.vocabulary.refusals import InvalidPeriod, TransitionNotAllowed


class Dated(Protocol):
    """A fact that is valid from an instant (inclusive) until another (exclusive), unless it was ended earlier."""

    @property
    def ended(self) -> bool: ...
    @property
    def valid_from(self) -> datetime: ...
    @property
    def valid_until(self) -> datetime | None: ...


def holds(fact: Dated, now: datetime) -> bool:
    """Whether `now` lies within the fact's period."""
    return not fact.ended and fact.valid_from <= now and (fact.valid_until is None or now < fact.valid_until)


def require_period(valid_from: datetime, valid_until: datetime | None) -> None:
    """Raises `InvalidPeriod` when a period would end before it begins."""
    if valid_until is not None and valid_until <= valid_from:
        raise InvalidPeriod("validUntil must be later than validFrom.")


class Endable(Protocol):
    """A row with a period that an operator can end."""

    ended: bool
    valid_from: datetime
    valid_until: datetime | None


def has_ended(fact: Dated, now: datetime) -> bool:
    """Whether the fact will never hold again."""
    return fact.ended or (fact.valid_until is not None and fact.valid_until <= now)


def end_now(fact: Endable, now: datetime) -> None:
    """Ends the fact's period at `now`, or before its start. Raises `TransitionNotAllowed` if it has ended already."""
    if has_ended(fact, now):
        raise TransitionNotAllowed("It has ended already.")
    fact.ended = True
    fact.valid_until = max(now, fact.valid_from)
