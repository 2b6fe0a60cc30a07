"""The states in the log's entries as types, one for each kind of object, for all readers of entries.

    GrantState.of(entry["state"])

A member added by a later version has a default: the meaning of entries of the first version, which lack it. Members
that are not named here are ignored.
"""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Annotated, Any, Self

from msgspec import Meta, Struct, ValidationError, convert

Instant = Annotated[datetime, Meta(tz=True)]


class StateInvalid(ValueError):
    """A state that no change of its kind can have written."""


class _State(Struct, frozen=True, rename="camel"):
    @classmethod
    def of(cls, state: object) -> Self:
        """Converts the state in an entry. Raises `StateInvalid` if a member is missing or of another type."""
        try:
            return convert(state, cls)
        except (ValidationError, OverflowError) as error:
            raise StateInvalid(str(error)) from None


class PartnerName(Struct, frozen=True, rename="camel"):
    name: str
    kvk_number: str


class ScopesAsked(Struct, frozen=True):
    required: tuple[str, ...]
    optional: tuple[str, ...]


class GrantState(_State, frozen=True):
    grant_id: str
    school: str
    location: str | None
    client_id: str
    partner: PartnerName
    scopes: tuple[str, ...]
    purposes: tuple[str, ...]
    status: str
    valid_from: Instant
    valid_until: Instant | None
    suspended_until: Instant | None
    version: int
    revision: int
    created_at: Instant
    changed_at: Instant
    agreement_id: str | None = None
    reconfirm_by: Instant | None = None


class PartnerState(_State, frozen=True):
    kvk_number: str
    name: str
    version: int
    revision: int
    created_at: Instant
    changed_at: Instant
    stopped_at: Instant | None = None


class ConnectionState(_State, frozen=True):
    client_id: str
    kvk_number: str
    name: str
    profile: str
    recipient_role: str
    scopes: ScopesAsked
    purposes: tuple[str, ...]
    request_version: int
    version: int
    revision: int
    created_at: Instant
    changed_at: Instant
    #: None in entries from before there were stages, when every registered connection could get permits.
    stage: str | None = None
    stopped_at: Instant | None = None


class RuleState(_State, frozen=True):
    """A check of a ground rule. Entries of the first version have no `checked_at`, only the instant of the record."""

    ground_rule_id: str
    client_id: str
    rule: str
    source: str
    valid_from: Instant
    valid_until: Instant | None
    revision: int
    created_at: Instant
    kept: bool = True
    checked_at: Instant | None = None
    check_again_on: date | None = None
    convenant_version: str | None = None
    convenant_status: str | None = None


class AgreementState(_State, frozen=True):
    """An agreement. Older entries lack `retention_days`, which is then None, and the members after it."""

    agreement_id: str
    client_id: str
    board_number: str | None
    agreement_version: str
    privacybijsluiter_version: str
    scopes: tuple[str, ...]
    purposes: tuple[str, ...]
    signed_on: date
    valid_from: Instant
    valid_until: Instant | None
    retention_days: int | None = None
    signatories: tuple[dict[str, Any], ...] = ()
    sub_processors: tuple[dict[str, str], ...] = ()
    categories: tuple[str, ...] = ()
    storage_countries: tuple[str, ...] = ()
    grace_until: Instant | None = None


class Listed(Struct, frozen=True):
    """Schools as (BRIN4, board, whether it is gone), locations as (BRIN6, whether it is gone)."""

    schools: tuple[tuple[str, str | None, bool], ...] = ()
    locations: tuple[tuple[str, bool], ...] = ()


class SchoolsState(_State, frozen=True):
    """The schools and locations of an import or a listing. Entries of the first imports name none: `listed` is None."""

    listed: Listed | None = None


class RequestState(_State, frozen=True):
    request_id: str
    client_id: str
    school: str
    location: str | None
    scopes: ScopesAsked
    purposes: tuple[str, ...]
    status: str
    grant_id: str | None
    request_version: int
    version: int


class DutyState(_State, frozen=True):
    """A deletion duty, identified by its grant."""

    deletion_of: str
    client_id: str
    school: str
    location: str | None
    scopes: tuple[str, ...]
    ended_at: Instant
    due_at: Instant
    confirmed_at: Instant | None


class ReferenceState(_State, frozen=True):
    reference_id: str
    client_id: str
    school: str
    party: str
    reference: str
    request_id: str | None
    grant_id: str | None
    confirmed_at: Instant | None


class WebhookState(_State, frozen=True):
    """A webhook subscription, without its URL."""

    subscription_id: str
    client_id: str
    url_version: int
    types: tuple[str, ...] | None
    state: str
    disabled_reason: str | None
    seed: str
    former_seed: str | None
    version: int
    disabled_at: Instant | None
    former_until: Instant | None


class SchoolKeyState(_State, frozen=True):
    schoolkey: str
    brin: str
    location: str | None
    revision: int
    created_at: Instant


class LetterState(_State, frozen=True):
    letter_id: str
    recipient: str
    week: date
    parts: list[dict[str, Any]]


class ErasedActorState(_State, frozen=True):
    commitment: str


class ErasedReasonState(_State, frozen=True):
    number: int
    commitment: str


class DigestState(_State, frozen=True):
    """The digest of a day of the decision log: how many lines it had, and their hash."""

    day: date
    lines: int
    sha256: str


def listed(
    schools: Iterable[tuple[str, str | None, datetime | None]], locations: Iterable[tuple[str, datetime | None]]
) -> dict[str, Any]:
    """`Listed` as an entry holds it, from each school's BRIN4, board and end, and each location's code and end."""
    return {
        "schools": sorted([brin, board_number, gone_at is not None] for brin, board_number, gone_at in schools),
        "locations": sorted([code, gone_at is not None] for code, gone_at in locations),
    }
