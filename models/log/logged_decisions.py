"""The table of the decision log, and the digest of a day of its lines."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import BigInteger, Index
from sqlmodel import Field, SQLModel

from models.columns import Instant
from models.decision.decision import Question
from models.decision.decision_log import LONGEST, LONGEST_NAMES, Digest


class LoggedDecision(SQLModel, table=True):
    """One line. It has no foreign keys, so that it stays the same when other rows change or are deleted."""

    __tablename__ = "decision_log"
    __table_args__ = (Index("ix_decision_log_school_at", "school", "at"),)

    #: The store's time of the decision.
    at: datetime = Field(sa_type=Instant, primary_key=True)
    #: Distinguishes lines of one instant; fits a JSON number. Each process counts on from a random number.
    id: int = Field(sa_type=BigInteger, primary_key=True, sa_column_kwargs={"autoincrement": False})
    revision: int
    #: Issuer and subject of the caller's token: a machine's.
    issuer: str = Field(max_length=LONGEST)
    subject: str = Field(max_length=LONGEST)
    door: str = Field(max_length=16)
    client_id: str = Field(max_length=64)
    #: The BRIN4 of `place`, empty where that is no place.
    school: str = Field(max_length=4)
    place: str = Field(max_length=16)
    resource_type: str = Field(max_length=16)
    #: Requested names, separated by spaces.
    scopes: str = Field(max_length=LONGEST_NAMES)
    fields_: str = Field(sa_column_kwargs={"name": "fields"}, max_length=LONGEST_NAMES)
    purpose: str | None = Field(default=None, max_length=64)
    permit: bool
    reason: str = Field(max_length=32)
    grant_id: str | None = Field(default=None, max_length=36)
    request_id: str = Field(max_length=128)
    trace_id: str | None = Field(default=None, max_length=32)

    @property
    def question(self) -> Question:
        """The question as far as it was stored; it can be decided again on the facts of then."""
        return Question(
            subject_type="partner",
            client_id=self.client_id,
            action="release",
            resource_type=self.resource_type,
            place=self.place,
            scopes=tuple(self.scopes.split()),
            fields=tuple(self.fields_.split()),
            purpose=self.purpose,
        )


def digest_of(lines: Iterable[LoggedDecision]) -> tuple[int, str]:
    """The number of lines, and the SHA-256 of their canonical bytes, each followed by a line feed."""
    digest = Digest()
    digest.add(line.model_dump(exclude={"fields_"}) | {"fields": line.fields_} for line in lines)
    return digest.lines, digest.sha256
