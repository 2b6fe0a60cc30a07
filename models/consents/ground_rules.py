"""The facts on record that show that a connection keeps its four ground rules."""

from datetime import date, datetime
from importlib import resources
from typing import Final

from pydantic import BaseModel, ConfigDict
from sqlmodel import Field, SQLModel

from models.columns import Instant
from models.decision.kept_rules import GroundRuleName
from models.vocabulary.refusals import InvalidInput


class GroundRule(SQLModel, table=True):
    """A dated fact: this connection keeps this rule from `valid_from` (inclusive) until `valid_until` (exclusive).

    Several facts of one rule add up. A withdrawn fact ends at that instant and stays on record. The finding that a rule
    is *not* kept is a fact too (`kept` is false), which is valid at no instant.
    """

    __tablename__ = "ground_rules"

    ground_rule_id: str = Field(primary_key=True, max_length=36)
    client_id: str = Field(foreign_key="connections.client_id", index=True, max_length=64)
    rule: str = Field(max_length=24)
    kept: bool = True
    #: The check: what, against which source, by whom, when; and when to check again, if known.
    evidence: str = Field(max_length=1000)
    source: str = Field(max_length=200)
    checked_at: datetime = Field(sa_type=Instant)
    check_again_on: date | None = None
    convenant_version: str | None = Field(default=None, max_length=8)
    convenant_status: str | None = Field(default=None, max_length=16)
    valid_from: datetime = Field(sa_type=Instant)
    valid_until: datetime | None = Field(default=None, sa_type=Instant)
    checked_by: str = Field(max_length=255)
    #: Withdrawn by an operator: valid at no instant, whatever the clock says.
    ended: bool = False
    revision: int = Field(index=True)
    created_at: datetime = Field(sa_type=Instant)


class Convenant(BaseModel):
    """One version of the privacyconvenant; `statuses` says of each status in its register whether it keeps the rule."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    title: str
    statuses: dict[str, bool]


class _Convenants(BaseModel):
    source: str
    versions: list[Convenant]


def require_convenant(rule: str, version: str | None, status: str | None, *, kept: bool) -> None:
    """Raises `InvalidInput` unless a check of the privacyconvenant names what it found in the register.

    It must name a known version and status, and its outcome must be that of the status. Other rules name neither.
    """
    if rule != GroundRuleName.CONVENANT:
        if version is not None or status is not None:
            raise InvalidInput("Only the privacyconvenant has a version and a status.")
        return
    if kept is not require_convenant_known(version, status):
        raise InvalidInput(f"A partner that is {status!r} {'does not keep' if kept else 'keeps'} this rule.")


def require_convenant_known(version: str | None, status: str | None) -> bool:
    """Whether this status under this version keeps the rule. Raises `InvalidInput` when either is unknown."""
    convenant = CONVENANTS.get(version or "")
    if convenant is None:
        raise InvalidInput(f"Name the version of the privacyconvenant: {' or '.join(CONVENANTS)}.")
    if status is None or status not in convenant.statuses:
        raise InvalidInput(f"Name the status in its register: {', '.join(convenant.statuses)}.")
    return convenant.statuses[status]


CONVENANTS: Final = {
    convenant.version: convenant
    for convenant in _Convenants.model_validate_json(
        (resources.files("models") / "catalogue" / "convenants.json").read_bytes()
    ).versions
}
