"""The base of all wire schemas: camelCase on the wire, unknown members refused, times in UTC."""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, Generic, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
)
from pydantic.alias_generators import to_camel

# Control characters are refused: PostgreSQL cannot store NUL, and readers do not expect the others.
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"
UUID_PATTERN = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_RFC3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}", re.ASCII)
PROSE = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*$"

Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=PRINTABLE, strip_whitespace=True)]
Reason = Annotated[
    str,
    StringConstraints(min_length=1, max_length=500, pattern=PROSE, strip_whitespace=True),
    Field(description="Why."),
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=4000, pattern=PROSE, strip_whitespace=True)]
Evidence = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1000, pattern=PROSE, strip_whitespace=True),
    Field(description="What shows it: what was seen or said, when, and where it is kept."),
]
ScopeName = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=PRINTABLE)]
PurposeCode = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=PRINTABLE)]
ScopeNames = Annotated[list[ScopeName], Field(max_length=64)]
PurposeCodes = Annotated[list[PurposeCode], Field(max_length=64)]
RecordId = Annotated[str, StringConstraints(pattern=UUID_PATTERN, max_length=36), Field(description="A UUID.")]
GrantId = RecordId
#: A number as text, matched by a pattern so that a path with a newline after the number is refused.
EntryNumber = Annotated[
    str, StringConstraints(pattern=r"^[1-9][0-9]{0,14}$", max_length=15), Field(description="A number in the log.")
]

#: The range of every moment that is accepted or sent.
FIRST_MOMENT: Final = datetime(2000, 1, 1, tzinfo=UTC)
LAST_MOMENT: Final = datetime(2999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _require_rfc3339(value: object) -> object:
    """Refuses seconds since 1970, as a number or as text: they are not RFC 3339, and could be meant as milliseconds."""
    if not isinstance(value, datetime) and not (isinstance(value, str) and _RFC3339.match(value)):
        raise ValueError("a moment as in RFC 3339, such as 2026-09-01T08:00:00Z")
    return value


def _utc_in_range(moment: datetime) -> datetime:
    # The year is checked before the conversion to UTC, which fails at the ends of datetime's range, and after it.
    if FIRST_MOMENT.year <= moment.year <= LAST_MOMENT.year:
        moment = moment.astimezone(UTC)
    if not FIRST_MOMENT.year <= moment.year <= LAST_MOMENT.year:
        raise ValueError("a moment between the years 2000 and 2999, in UTC")
    return moment


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


#: An instant: RFC 3339 with an offset in requests, UTC with `Z` in responses.
Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_require_rfc3339),
    AfterValidator(_utc_in_range),
    PlainSerializer(
        _rfc3339, when_used="json", return_type=Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    ),
]


def _require_day_text(value: Any) -> Any:
    if not isinstance(value, date) and not (isinstance(value, str) and _DAY.fullmatch(value)):
        raise ValueError("a day as YYYY-MM-DD")
    return value


def _day_in_range(day: date) -> date:
    if not 2000 <= day.year <= 2999:
        raise ValueError("a day between the years 2000 and 2999")
    return day


#: A calendar day in RFC 3339 format.
Day = Annotated[date, BeforeValidator(_require_day_text), AfterValidator(_day_in_range)]


def distinct(names: Iterable[str]) -> list[str]:
    """The names as the store keeps a set: each once, sorted."""
    return sorted(set(names))


class Wire(BaseModel):
    """The base of response bodies."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, from_attributes=True, frozen=True)


class WireIn(BaseModel):
    """The base of request bodies. Unknown members are refused: a misspelt limit must not become no limit.

    Each member has one name: `valid_until` beside `validUntil` would be a second value for it.
    """

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


Item = TypeVar("Item")


class Page(Wire, Generic[Item]):
    """A part of a list. `next` is the cursor of the following part, null at the end."""

    items: list[Item]
    next: str | None
