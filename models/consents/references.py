"""Consent references: the ids of a consent in its parties' own administrations, exchanged by the Edu-V Consent API.

References permit nothing. They are UUIDs, as in the standard's first versions: other text could name a person.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from models.columns import Instant
from models.vocabulary.refusals import Conflict

#: References that one party may give to one grant.
MOST_NAMES: Final = 20


class Party(StrEnum):
    """The party that a reference belongs to: the school's side, which provides the data, or the connection."""

    PROVIDER = "provider"
    CONSUMER = "consumer"


class ConsentReference(SQLModel, table=True):
    """One party's reference to a request (`request_id`), to what it led to, or to a grant (`grant_id`).

    A connection's reference is unique among all its own; a school's among those with the same connection.
    """

    __tablename__ = "consent_references"
    __table_args__ = (
        Index("ux_consent_references", "client_id", "party", "brin", "reference", unique=True),
        Index("ix_consent_references_brin", "brin"),
    )

    reference_id: str = Field(primary_key=True, max_length=36)
    client_id: str = Field(foreign_key="connections.client_id", max_length=64)
    brin: str = Field(foreign_key="schools.brin", max_length=4)
    party: str = Field(max_length=8)
    reference: str = Field(max_length=36)
    request_id: str | None = Field(default=None, foreign_key="access_requests.request_id", max_length=36)
    grant_id: str | None = Field(default=None, foreign_key="grants.grant_id", index=True, max_length=36)
    #: When the connection confirmed that it registered the grant.
    confirmed_at: datetime | None = Field(default=None, sa_type=Instant)
    revision: int = Field(index=True)
    created_at: datetime = Field(sa_type=Instant)


def require_room(names: int) -> None:
    """Raises `Conflict` when one party has given a grant as many references as it may."""
    if names >= MOST_NAMES:
        raise Conflict(f"The consent has {names} names of this side: no more than that.")
