"""The register of partners and their connections, to which schools can grant access."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel

from models.columns import Instant
from models.vocabulary import scopes
from models.vocabulary.refusals import InvalidInput


class RecipientRole(StrEnum):
    """What the partner is under the AVG when it receives the data (art. 4(8) or 4(7))."""

    PROCESSOR = "processor"
    CONTROLLER = "controller"


class Stage(StrEnum):
    """How far a connection is on its road. Schools see it once it is placed; data flows only while it is live."""

    BUILDING = "building"
    PLACED = "placed"
    LIVE = "live"
    WITHDRAWN = "withdrawn"


#: Stages in which schools see a connection, and can grant it access.
VISIBLE: Final = frozenset({Stage.PLACED, Stage.LIVE})


class Partner(SQLModel, table=True):
    """A company, by its KvK number. A takeover is another KvK number, hence another partner."""

    __tablename__ = "partners"

    kvk_number: str = Field(primary_key=True, max_length=8)
    name: str = Field(max_length=200)
    #: Start of an emergency stop, since which everything of this partner is denied.
    stopped_at: datetime | None = Field(default=None, sa_type=Instant)
    version: int = 1
    revision: int
    created_at: datetime = Field(sa_type=Instant)
    changed_at: datetime = Field(sa_type=Instant)


class Connection(SQLModel, table=True):
    """One application or leermiddel of a partner, for which schools grant access.

    `request_version` counts how often the request was widened; a grant stores the one that it was given for.
    """

    __tablename__ = "connections"

    client_id: str = Field(primary_key=True, max_length=64)
    kvk_number: str = Field(foreign_key="partners.kvk_number", index=True, max_length=8)
    name: str = Field(max_length=200)
    profile: str = Field(max_length=40)
    recipient_role: str = Field(max_length=12)
    required_scopes: list[str] = Field(sa_column=Column(JSON, nullable=False))
    optional_scopes: list[str] = Field(sa_column=Column(JSON, nullable=False))
    purposes: list[str] = Field(sa_column=Column(JSON, nullable=False))
    stage: str = Field(default=Stage.BUILDING, max_length=12)
    #: Start of an emergency stop of this connection, which is denied everywhere since; its partner's stop counts too.
    stopped_at: datetime | None = Field(default=None, sa_type=Instant)
    request_version: int = 1
    version: int = 1
    revision: int = Field(index=True)
    created_at: datetime = Field(sa_type=Instant)
    changed_at: datetime = Field(sa_type=Instant)

    @property
    def visible(self) -> bool:
        """Whether schools see it."""
        return self.stage in VISIBLE

    @property
    def requested_scopes(self) -> frozenset[str]:
        return frozenset(self.required_scopes) | frozenset(self.optional_scopes)


def is_stopped(connection: Connection, partner: Partner) -> bool:
    """Whether an emergency stop, of the connection or of its partner, denies it everywhere."""
    return connection.stopped_at is not None or partner.stopped_at is not None


def is_live(connection: Connection, partner: Partner) -> bool:
    """Whether data may be released to it, as far as its stage and emergency stops go."""
    return connection.stage == Stage.LIVE and not is_stopped(connection, partner)


def require_sound_request(profile: str, required: Iterable[str], optional: Iterable[str]) -> None:
    """Raises `InvalidInput` when a connection's request could never be granted as it stands.

    Scopes must be known, part of the profile, and not both required and optional; the required scopes must be
    complete on their own, the optional ones together with them.
    """
    needed, extra = frozenset(required), frozenset(optional)
    if not needed | extra:
        raise InvalidInput("A connection asks for at least one scope.")
    scopes.require_known([*needed, *extra])
    within = scopes.CATALOGUE.profiles.get(profile)
    if within is None:
        known = ", ".join(sorted(scopes.CATALOGUE.profiles))
        raise InvalidInput(f"The profile {profile!r} is not known; there are {known}.")
    if outside := sorted((needed | extra) - within):
        raise InvalidInput(f"Not part of the profile {profile}: {', '.join(outside)}.")
    if both := sorted(needed & extra):
        raise InvalidInput(f"Required and optional at once: {', '.join(both)}.")
    scopes.require_dependencies(needed)
    scopes.require_dependencies(needed | extra)


def is_widened(
    before: Connection, required: frozenset[str], optional: frozenset[str], for_purposes: frozenset[str]
) -> bool:
    """Whether a new request asks for more than the one before, or requires what was optional."""
    return bool(
        (required | optional) - before.requested_scopes
        or required - frozenset(before.required_scopes)
        or for_purposes - frozenset(before.purposes)
    )
