"""The events of the log: one for each change, appended in the transaction of the change."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import JSON, Column, Index
from sqlmodel import Field, SQLModel

from models.columns import Instant


class Event(SQLModel, table=True):
    """One change. `number` is gapless; several events of one write share one `revision`.

    `actor` and `reason` are commitments (`models/log/sealed_texts.py`), but for the system's own name, which stands
    as it is.
    """

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_client_id_number", "client_id", "number"),
        Index("ix_events_grant_id_number", "grant_id", "number"),
        Index("ix_events_brin_number", "brin", "number"),
        Index("ix_events_kind_number", "kind", "number"),
    )

    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    revision: int = Field(index=True)
    #: Random, equal for all events of one revision: distinguishes it from the same number in another history.
    mark: str = Field(max_length=32)
    at: datetime = Field(sa_type=Instant)
    kind: str = Field(max_length=40)
    actor: str = Field(max_length=255)
    actor_role: str = Field(max_length=16)
    reason: str | None = Field(default=None, max_length=500)
    brin: str | None = Field(default=None, max_length=4)
    client_id: str | None = Field(default=None, max_length=64)
    grant_id: str | None = Field(default=None, max_length=36)
    #: The object after the change, with the contract's member names. It names no person.
    state: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    #: The hash of its entry in the log: `models/log/log_entries.py`.
    leaf: bytes = Field(default=b"", max_length=32)


class PastEvent(NamedTuple):
    """An event as a plain value, for reads of many events."""

    number: int
    revision: int
    mark: str
    at: datetime
    kind: str
    actor: str
    actor_role: str
    reason: str | None
    brin: str | None
    client_id: str | None
    grant_id: str | None
    state: dict[str, Any]


class Revision(SQLModel, table=True):
    """The single row that every write locks first: counts revisions and events."""

    __tablename__ = "consent_revision"

    id: int = Field(default=1, primary_key=True, sa_column_kwargs={"autoincrement": False})
    revision: int = 0
    events: int = 0
    #: The mark of the last revision.
    mark: str = Field(default="", max_length=32)
    #: Roots of the complete subtrees of the log's tree, 32 bytes each: `models/log/merkle.py`.
    peaks: bytes = b""
    #: The log's name, and a digest of the sealing key: both set by the first process that served this store.
    origin: str = Field(default="", max_length=200)
    sealed_with: str = Field(default="", max_length=64)
    #: Number of erasures. Processes keep their caches of names only while it stays the same.
    erasures: int = 0


class LogNode(SQLModel, table=True):
    """The root of a complete subtree of the log's tree: of 256 leaves, of 256 such subtrees, and so on."""

    __tablename__ = "log_nodes"

    level: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    position: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    hash: bytes = Field(max_length=32)


class RememberedAnswer(SQLModel, table=True):
    """The answer to a write with an Idempotency-Key: a retry gets it again and changes nothing.

    An erasure drops the answers that name what it erases: fingerprint and body become empty, and the key stays used.
    """

    __tablename__ = "remembered_answers"

    #: A keyed digest of the caller: issuer, subject and tenant. Rows of older versions have an unkeyed one.
    caller: str = Field(primary_key=True, max_length=64)
    key: str = Field(primary_key=True, max_length=255)
    #: The same of the request; emptied once the answer was dropped, so that no request matches.
    fingerprint: str = Field(max_length=64)
    status: int
    etag: str | None = Field(default=None, max_length=80)
    #: Sealed with the Idempotency-Key and the key outside the store: it may name persons and hold a secret.
    body: str
    revision: int
    created_at: datetime = Field(sa_type=Instant)
    #: The commitments to the names and reasons that the answer may show; None in rows of versions that noted none.
    names: list[str] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
