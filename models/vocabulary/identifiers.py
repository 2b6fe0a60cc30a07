"""The field's identifiers as annotated types, validated once, at the edge."""

import re
from typing import Annotated

from pydantic import Field, StringConstraints

BRIN_PATTERN = r"^[0-9]{2}[A-Z]{2}$"
LOCATION_PATTERN = r"^[0-9]{2}[A-Z]{2}[0-9]{2}$"
PLACE_PATTERN = r"^[0-9]{2}[A-Z]{2}([0-9]{2})?$"
#: No slash and no leading dot, because a schoolkey is used as a path segment.
SCHOOLKEY_PATTERN = r"^[A-Za-z0-9{][!-.0-~]{0,63}$"

Brin = Annotated[
    str,
    StringConstraints(pattern=BRIN_PATTERN, max_length=4),
    Field(description="BRIN4 of a school: two digits, two capitals.", examples=["16SW"]),
]
LocationCode = Annotated[
    str,
    StringConstraints(pattern=LOCATION_PATTERN, max_length=6),
    Field(description="BRIN6 of a location: BRIN4 and two digits.", examples=["16SW00"]),
]
Place = Annotated[
    str,
    StringConstraints(pattern=PLACE_PATTERN, max_length=6),
    Field(description="A school (BRIN4) or one location (BRIN6).", examples=["16SW", "16SW00"]),
]
SchoolKeyName = Annotated[
    str,
    StringConstraints(pattern=SCHOOLKEY_PATTERN, max_length=64),
    Field(
        description="A school's key in UWLR, chosen by the LAS's supplier: no space and no slash.",
        examples=["las-0042"],
    ),
]
BoardNumber = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{5}$", max_length=5),
    Field(description="Number of a bevoegd gezag: 5 digits.", examples=["41785"]),
]
KvkNumber = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{8}$", max_length=8),
    Field(description="KvK number: 8 digits, as a string.", examples=["01234567"]),
]
ClientId = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,62}[a-z0-9])?$", max_length=64),
    Field(description="A connection's client id: lower case, digits, dots, hyphens.", examples=["rekenrijk-web"]),
]

_SCHOOLKEY = re.compile(r"[A-Za-z0-9{][!-.0-~]{0,63}", re.ASCII)
_CLIENT_ID = re.compile(r"(?![0-9]+$)[a-z0-9]([a-z0-9.-]{0,62}[a-z0-9])?", re.ASCII)
_BRIN = re.compile(r"[0-9]{2}[A-Z]{2}", re.ASCII)
_BOARD = re.compile(r"[0-9]{5}", re.ASCII)
_PLACE = re.compile(r"[0-9]{2}[A-Z]{2}([0-9]{2})?", re.ASCII)


def is_brin(value: str) -> bool:
    """Whether `value` is a BRIN4."""
    return _BRIN.fullmatch(value) is not None


def is_board_number(value: str) -> bool:
    """Whether `value` is the number of a board (bevoegd gezag)."""
    return _BOARD.fullmatch(value) is not None


def is_place(value: str) -> bool:
    """Whether `value` is a BRIN4 or a BRIN6."""
    return _PLACE.fullmatch(value) is not None


def is_client_id(value: str) -> bool:
    """Whether `value` has the form of a client id. Digits alone have not: they may be a person's number."""
    return _CLIENT_ID.fullmatch(value) is not None


def is_schoolkey(value: str) -> bool:
    """Whether `value` has the form of a schoolkey."""
    return _SCHOOLKEY.fullmatch(value) is not None
