"""Signed agreements: a verwerkersovereenkomst with its privacybijsluiter, in versions.

When a new version allows more than the one that a school accepted, the school must confirm again
(`next_wider_agreement`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel

from models.columns import Instant
from models.decision.agreement_in_force import agreement_in_force, precedence
from models.vocabulary import purposes, scopes
from models.vocabulary.refusals import InvalidInput, InvalidPeriod, SignatureMissing
from models.vocabulary.working_days import AMSTERDAM


class Agreement(SQLModel, table=True):
    """One version of a signed verwerkersovereenkomst with its privacybijsluiter.

    `board_number` is the board that signed it for its schools; without one it holds for every school whose board has
    none of its own. Of several in force, the one registered last counts.
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
    #: Signatories as {party, name, function, signedOn}; an agreement needs both parties.
    signatories: list[dict[str, Any]] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    #: Each as {name, country}: the country of processing, by its ISO 3166-1 code.
    sub_processors: list[dict[str, str]] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    #: Days that data is kept after the end of processing: the end of the grant, or of the agreement before that.
    retention_days: int = 0
    #: Categories of personal data, in the words of the privacybijsluiter.
    categories: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    #: Countries where data is stored, by ISO 3166-1 codes.
    storage_countries: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    #: Grants given for less stay valid until then; without it, until this agreement takes effect.
    grace_until: datetime | None = Field(default=None, sa_type=Instant)
    valid_from: datetime = Field(sa_type=Instant)
    valid_until: datetime | None = Field(default=None, sa_type=Instant)
    registered_at_revision: int
    #: Ended by an operator: not in force at any instant, whatever the clock says.
    ended: bool = False
    revision: int = Field(index=True)
    created_at: datetime = Field(sa_type=Instant)


class Party(StrEnum):
    """The two sides of an agreement."""

    PARTNER = "partner"
    BOARD = "board"


def require_signed(parties: Iterable[str]) -> None:
    """Raises `SignatureMissing` unless both parties have signed."""
    if missing := sorted(frozenset(Party) - frozenset(parties)):
        raise SignatureMissing(f"Not signed by: {', '.join(missing)}.")


def require_past(days: Iterable[date], now: datetime) -> None:
    """Raises `InvalidInput` when a day of signing lies in the future, by the calendar of Amsterdam."""
    if max(days) > now.astimezone(AMSTERDAM).date():
        raise InvalidInput("signedOn must not be in the future.")


def require_grace(valid_from: datetime, grace_until: datetime | None) -> None:
    """Raises `InvalidPeriod` when the grace period would end before the agreement begins."""
    if grace_until is not None and grace_until < valid_from:
        raise InvalidPeriod("graceUntil must not be earlier than validFrom.")


def require_sound_agreement(scope_names: Iterable[str], purpose_codes: Iterable[str]) -> None:
    """Raises `UnknownScope` or `UnknownPurpose` for names outside the catalogue or the list of purposes."""
    scopes.require_known(scope_names)
    purposes.require_known(purpose_codes)


def agreement_then(
    agreements: Iterable[Agreement], board_number: str | None, moment: datetime, revision: int | None = None
) -> Agreement | None:
    """The agreement in force for a board's schools at a past moment, of those registered up to `revision`.

    An agreement that was ended later counts as in force until then.
    """
    known = (each for each in agreements if revision is None or each.registered_at_revision <= revision)
    held = (
        each for each in known if each.valid_from <= moment and (each.valid_until is None or moment < each.valid_until)
    )
    return max((each for each in held if each.board_number in (None, board_number)), key=precedence, default=None)


@dataclass(frozen=True, slots=True)
class Extent:
    """The extent of an agreement, or the difference of one beyond another (see `beyond`).

    `outside_eea` names each country outside the European Economic Area where data is stored, and each sub-processor
    there. `retention_days` is None in a difference without longer retention.
    """

    scopes: frozenset[str]
    purposes: frozenset[str]
    categories: frozenset[str]
    sub_processors: frozenset[str]
    outside_eea: frozenset[str]
    retention_days: int | None

    @property
    def is_nothing(self) -> bool:
        return not any(getattr(self, each.name) is not None and getattr(self, each.name) for each in fields(self))

    def beyond(self, other: "Extent") -> "Extent":
        """The part of this extent that is not in the other."""
        longer = (self.retention_days or 0) > (other.retention_days or 0)
        return Extent(
            scopes=self.scopes - other.scopes,
            purposes=self.purposes - other.purposes,
            categories=self.categories - other.categories,
            sub_processors=self.sub_processors - other.sub_processors,
            outside_eea=self.outside_eea - other.outside_eea,
            retention_days=self.retention_days if longer else None,
        )


def extent(agreement: Agreement) -> Extent:
    """The extent of an agreement."""
    abroad = {country for country in agreement.storage_countries if country not in EEA}
    processed = {
        f"{each['name']} ({each['country']})" for each in agreement.sub_processors if each["country"] not in EEA
    }
    return Extent(
        scopes=frozenset(agreement.scopes),
        purposes=frozenset(agreement.purposes),
        categories=frozenset(agreement.categories),
        sub_processors=frozenset(each["name"] for each in agreement.sub_processors),
        outside_eea=frozenset(abroad | processed),
        retention_days=agreement.retention_days,
    )


def widened(before: Agreement, after: Agreement) -> Extent:
    """The difference that `after` allows beyond `before`. Swapped arguments give what is no longer allowed."""
    return extent(after).beyond(extent(before))


def next_wider_agreement(
    agreements: Iterable[Agreement], agreed_to: Agreement, board_number: str | None, since: datetime
) -> tuple[Agreement, datetime] | None:
    """The first agreement, from `since` on, that allows more than the one that a school of this board agreed to.

    With it comes the instant from which the grant must have been confirmed anew: when that agreement takes effect or,
    where it grants one, at the end of its grace. None when no agreement on record does.
    """
    for current, instant in successors(agreements, agreed_to, board_number, since):
        in_grace = current.grace_until is not None and instant < current.grace_until
        if not in_grace and not widened(agreed_to, current).is_nothing:
            return current, instant
    return None


def successors(
    agreements: Iterable[Agreement], agreed_to: Agreement, board_number: str | None, since: datetime
) -> Iterator[tuple[Agreement, datetime]]:
    """Other agreements that count for a board's schools, at `since` and at each later instant that may change it."""
    own = [each for each in agreements if each.board_number in (None, board_number)]
    turns = {instant for each in own for instant in (each.valid_from, each.valid_until, each.grace_until)}
    for instant in sorted({since, *(turn for turn in turns if turn is not None and turn > since)}):
        current = agreement_in_force(own, board_number, instant)
        if current is not None and current.agreement_id != agreed_to.agreement_id:
            yield current, instant


#: The European Economic Area: the European Union with Iceland, Liechtenstein and Norway.
EEA: Final = frozenset(
    (
        "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE",
        "IS", "IT", "LI", "LT", "LU", "LV", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK",
    )
)  # fmt: skip
