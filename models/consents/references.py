"""References: what the parties of a consent call it in their own books, as the Edu-V Consent API exchanges it.

They permit nothing. A reference is a UUID, as the standard's first versions said: any other text could name a person.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from models.columns import Instant
from models.vocabulary.refusals import Conflict

#: So many names of its own one side may give a grant.
MOST_NAMES: Final = 20


class Party(StrEnum):
    """Whose reference it is: the school's side, which has the data, or the connection, which gets them."""

    PROVIDER = "provider"
    CONSUMER = "consumer"


class ConsentReference(SQLModel, table=True):
    """What one party calls a request (`request_id`), what it led to, or a grant (`grant_id`).

    A connection's own is unique among all that it uses; a school's among those that it uses with one connection.
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
    #: When the connection confirmed that it has registered the grant, if it did.
    confirmed_at: datetime | None = Field(default=None, sa_type=Instant)
    revision: int = Field(index=True)
    created_at: datetime = Field(sa_type=Instant)


def require_room(names: int) -> None:
    """Raises `Conflict` where one side has given a grant as many names as it may."""
    if names >= MOST_NAMES:
        raise Conflict(f"The consent has {names} names of this side: no more than that.")
