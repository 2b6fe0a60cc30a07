"""Reminders: a weekly letter to each school, connection or operator with something due.

A letter lists what ends, what must be confirmed, and what is overdue, by ids. It never names a person.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple

from sqlalchemy import JSON, Column, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from models.columns import Instant

#: Period that a letter looks ahead.
AHEAD: Final = timedelta(days=30)
#: The same for deletions.
DELETE_AHEAD: Final = timedelta(days=14)
#: Items of one subject that a letter lists; of the others it gives the number.
MOST_NAMED: Final = 50
#: Start of a school year (month, day). Confirmation is asked only from `ASKED_FROM`, when schools are open again.
YEAR_BEGINS: Final = (8, 1)
ASKED_FROM: Final = (9, 1)
ASKED_FOR: Final = timedelta(days=28)


class Recipient(StrEnum):
    SCHOOL = "school"
    CONNECTION = "connection"
    OPERATOR = "operator"


class LetterSubject(StrEnum):
    """What a part of a letter is about."""

    GRANT_ENDS = "grant_ends"
    NEEDS_RECONFIRMATION = "needs_reconfirmation"
    SCHOOL_YEAR = "school_year"
    DELETION_DUE = "deletion_due"
    DELETION_OVERDUE = "deletion_overdue"
    GROUND_RULE_CHECK = "ground_rule_check"
    GROUND_RULE_END = "ground_rule_end"


class Mail(StrEnum):
    """What became of the e-mail. `none`: nobody gave an address, or this installation sends no e-mail."""

    NONE = "none"
    WAITING = "waiting"
    SENT = "sent"
    GIVEN_UP = "given_up"


class Named(NamedTuple):
    """An item of a letter: a grant, the deletion duty of a grant, or a ground rule."""

    id: str
    client_id: str | None
    place: str | None
    at: datetime | None


class Letter(SQLModel, table=True):
    """The letter of one week. `parts` is a list of {subject, count, items}."""

    __tablename__ = "reminders"
    __table_args__ = (
        UniqueConstraint("kind", "recipient", "week", name="ux_reminders_kind_recipient_week"),
        Index(
            "ix_reminders_mail_waiting",
            "next_at",
            postgresql_where=text("mail = 'waiting'"),
            sqlite_where=text("mail = 'waiting'"),
        ),
    )

    letter_id: str = Field(primary_key=True, max_length=36)
    kind: str = Field(max_length=16)
    #: A BRIN4, a client id, or empty for operators.
    recipient: str = Field(max_length=64)
    #: The Monday of its week.
    week: date
    parts: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False))
    made_at: datetime = Field(sa_type=Instant)
    mail: str = Field(max_length=16)
    attempts: int = 0
    #: Time of the next attempt to send its e-mail.
    next_at: datetime | None = Field(default=None, sa_type=Instant)
    sent_at: datetime | None = Field(default=None, sa_type=Instant)


class Contact(SQLModel, table=True):
    """The e-mail address for letters of a school or a connection. It is in no log, and deleted when withdrawn."""

    __tablename__ = "contacts"

    kind: str = Field(primary_key=True, max_length=16)
    recipient: str = Field(primary_key=True, max_length=64)
    email: str = Field(max_length=254)
    changed_at: datetime = Field(sa_type=Instant)


class Part(NamedTuple):
    """One subject of a letter: the number of items, and the first `MOST_NAMED` of them."""

    subject: LetterSubject
    number: int
    things: Sequence[Named]


def week_of(now: datetime) -> date:
    """The Monday of the week of `now`, in UTC."""
    return now.date() - timedelta(days=now.weekday())


def year_to_confirm(now: datetime) -> datetime | None:
    """Start of the school year for which grants are to be confirmed at `now`; None outside that period."""
    asked_from = now.replace(month=ASKED_FROM[0], day=ASKED_FROM[1], hour=0, minute=0, second=0, microsecond=0)
    if not asked_from <= now < asked_from + ASKED_FOR:
        return None
    return asked_from.replace(month=YEAR_BEGINS[0], day=YEAR_BEGINS[1])


def written(parts: Iterable[Part]) -> list[dict[str, Any]]:
    """The parts of a letter as stored and published, without empty ones."""
    return [
        {"subject": part.subject, "count": part.number, "items": [_item(thing) for thing in part.things]}
        for part in parts
        if part.number
    ]


def _item(thing: Named) -> dict[str, Any]:
    at = thing.at.isoformat().replace("+00:00", "Z") if thing.at is not None else None
    return {"id": thing.id, "clientId": thing.client_id, "place": thing.place, "at": at}
