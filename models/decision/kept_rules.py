"""The four ground rules, and which of them dated facts show to be kept at an instant."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from models.vocabulary.periods import Dated, holds


class GroundRuleName(StrEnum):
    """The four ground rules that a connection must keep."""

    CONVENANT = "privacyconvenant"
    AGREEMENT = "verwerkersovereenkomst"
    PURPOSE = "doelbinding"
    KVK = "kvk"


ALL_RULES: Final = frozenset(GroundRuleName)


class RuleKept(Dated, Protocol):
    @property
    def rule(self) -> str: ...


def rules_kept(facts: Iterable[RuleKept], now: datetime) -> frozenset[str]:
    """The ground rules that at least one of `facts` shows to be kept at `now`."""
    return frozenset(fact.rule for fact in facts if holds(fact, now))
