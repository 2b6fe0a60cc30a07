"""Boards (bevoegd gezag), schools (BRIN4) and locations (BRIN6), as listed in DUO's open data.

A school may also have schoolkeys, chosen by the supplier of its LAS; operators maintain these.
"""

from datetime import datetime

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel

from models.columns import Instant


class Board(SQLModel, table=True):
    """A bevoegd gezag: the legal owner of one or more schools."""

    __tablename__ = "boards"

    number: str = Field(primary_key=True, max_length=5)
    name: str | None = Field(default=None, max_length=200)


class School(SQLModel, table=True):
    """A school (BRIN4). `gone_at` is set when none of its locations is listed any more."""

    __tablename__ = "schools"

    brin: str = Field(primary_key=True, max_length=4)
    name: str = Field(max_length=200)
    board_number: str | None = Field(default=None, foreign_key="boards.number", index=True)
    gone_at: datetime | None = Field(default=None, sa_type=Instant)
    revision: int = Field(index=True)


class Location(SQLModel, table=True):
    """A vestiging (BRIN6). A location that is no longer listed is marked as gone, never deleted."""

    __tablename__ = "locations"

    code: str = Field(primary_key=True, max_length=6)
    brin: str = Field(foreign_key="schools.brin", index=True)
    name: str = Field(max_length=200)
    street: str | None = Field(default=None, max_length=200)
    house_number: str | None = Field(default=None, max_length=40)
    postcode: str | None = Field(default=None, max_length=10)
    city: str | None = Field(default=None, max_length=100)
    municipality: str | None = Field(default=None, max_length=100)
    province: str | None = Field(default=None, max_length=60)
    denomination: str | None = Field(default=None, max_length=100)
    website: str | None = Field(default=None, max_length=300)
    #: Kinds of the DUO files that list it ("bo", "so", "vo"); it is gone when none does.
    kinds: list[str] = Field(sa_column=Column(JSON, nullable=False))
    gone_at: datetime | None = Field(default=None, sa_type=Instant)
    revision: int = Field(index=True)


class SchoolKey(SQLModel, table=True):
    """A schoolkey: another name, in UWLR requests only, for a school or one of its locations."""

    __tablename__ = "school_keys"

    schoolkey: str = Field(primary_key=True, max_length=64)
    brin: str = Field(foreign_key="schools.brin", index=True, max_length=4)
    location: str | None = Field(default=None, foreign_key="locations.code", max_length=6)
    revision: int
    created_at: datetime = Field(sa_type=Instant)
