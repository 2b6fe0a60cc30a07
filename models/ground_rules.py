"""The four ground rules that a connection must keep, each shown by dated facts on record."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from sqlmodel import Field, SQLModel

from models.columns import Instant
from models.periods import Dated, holds


class GroundRuleName(StrEnum):
    """The four ground rules that a connection must keep."""

    CONVENANT = "privacyconvenant"
    AGREEMENT = "verwerkersovereenkomst"
    PURPOSE = "doelbinding"
    KVK = "kvk"


ALL_RULES: Final = frozenset(GroundRuleName)


class GroundRule(SQLModel, table=True):
    """A dated fact: this connection keeps this rule from `valid_from` (inclusive) until `valid_until` (exclusive).

    Facts of one rule add up; a rule that is withdrawn ends at that instant and stays on record.
    """

    __tablename__ = "ground_rules"

    ground_rule_id: str = Field(primary_key=True, max_length=36)
    client_id: str = Field(foreign_key="connections.client_id", index=True, max_length=64)
    rule: str = Field(max_length=24)
    evidence: str = Field(max_length=500)
    source: str = Field(max_length=200)
    valid_from: datetime = Field(sa_type=Instant)
    valid_until: datetime | None = Field(default=None, sa_type=Instant)
    checked_by: str = Field(max_length=255)
    #: Withdrawn by an operator: holds at no instant any more, wherever the clock goes.
    ended: bool = False
    revision: int = Field(index=True)
    created_at: datetime = Field(sa_type=Instant)


class RuleKept(Dated, Protocol):
    @property
    def rule(self) -> str: ...


def rules_kept(facts: Iterable[RuleKept], now: datetime) -> frozenset[str]:
    """The ground rules that at least one of `facts` shows to be kept at `now`."""
    return frozenset(fact.rule for fact in facts if holds(fact, now))
