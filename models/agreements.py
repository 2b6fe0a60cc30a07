"""Signed agreements: a verwerkersovereenkomst with its privacybijsluiter, in versions."""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Protocol, TypeVar

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel

from models import purposes, scopes
from models.columns import Instant
from models.periods import Dated, holds


class Agreement(SQLModel, table=True):
    """A signed verwerkersovereenkomst with its privacybijsluiter, in one version.

    `board_number` names the board that signed it for its schools; without one it holds for every school that
    has none of its own. Of those in force, the one that was registered last counts.
    """

    __tablename__ = "agreements"

    agreement_id: str = Field(primary_key=True, max_length=36)
    client_id: str = Field(foreign_key="connections.client_id", index=True, max_length=64)
    board_number: str | None = Field(default=None, foreign_key="boards.number", max_length=5)
    agreement_version: str = Field(max_length=40)
    privacybijsluiter_version: str = Field(max_length=40)
    scopes: list[str] = Field(sa_column=Column(JSON, nullable=False))
    purposes: list[str] = Field(sa_column=Column(JSON, nullable=False))
    signed_on: date
    valid_from: datetime = Field(sa_type=Instant)
    valid_until: datetime | None = Field(default=None, sa_type=Instant)
    registered_at_revision: int
    #: Ended by an operator: holds at no instant any more, wherever the clock goes.
    ended: bool = False
    revision: int = Field(index=True)
    created_at: datetime = Field(sa_type=Instant)


def require_sound_agreement(scope_names: Iterable[str], purpose_codes: Iterable[str]) -> None:
    """Raises `InvalidInput` when an agreement names what the catalogue or the list of purposes doesn't know."""
    scopes.require_known(scope_names)
    purposes.require_known(purpose_codes)


class Signed(Dated, Protocol):
    @property
    def board_number(self) -> str | None: ...
    @property
    def registered_at_revision(self) -> int: ...


SomeAgreement = TypeVar("SomeAgreement", bound=Signed)


def agreement_in_force(
    agreements: Iterable[SomeAgreement], board_number: str | None, now: datetime
) -> SomeAgreement | None:
    """The agreement that counts at `now` for a board's schools: its own before the general one, then the latest."""
    best: SomeAgreement | None = None
    for agreement in agreements:
        if agreement.board_number not in (None, board_number) or not holds(agreement, now):
            continue
        if best is None or _precedence(agreement) > _precedence(best):
            best = agreement
    return best


def _precedence(agreement: Signed) -> tuple[bool, int]:
    return agreement.board_number is not None, agreement.registered_at_revision
