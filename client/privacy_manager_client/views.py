"""What the service shows a partner, as the published contract has it.

A member that is not known here is ignored: the service may come to tell more.
"""

from datetime import datetime
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class View(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


Item = TypeVar("Item", bound=View)


class Page(View, Generic[Item]):
    """A part of a list; `next` is None at its end."""

    items: list[Item]
    next: str | None


class School(View):
    brin: str
    name: str | None


class Consent(View):
    """Where the connection stands with a school or location. Data may be released only while `reason` is None."""

    school: School
    location: str | None
    client_id: str
    #: `granted`, `suspended`, `needs_reconfirmation`, `revoked`, `expired`, or `none` where nothing was ever granted.
    status: str
    reason: str | None
    scopes: list[str]
    purposes: list[str]
    valid_from: datetime | None
    valid_until: datetime | None
    grant_id: str | None
    revision: int


class Change(Consent):
    """A consent as one change left it. Who keeps its `bookmark` goes on behind it."""

    event: str
    at: datetime
    bookmark: str


class Name(View):
    name: str
    kvk_number: str


class Scopes(View):
    required: list[str]
    optional: list[str]


class Difference(View):
    scopes: list[str]
    purposes: list[str]


class Request(View):
    """What the connection asks of a school, and how that stands.

    `status` is `open`, `accepted`, `accepted_in_part`, `declined` or `withdrawn`.
    """

    request_id: str
    school: School
    location: str | None
    client_id: str
    connection_name: str
    partner: Name
    scopes: Scopes
    purposes: list[str]
    message: str | None
    status: str
    answer: str | None
    grant_id: str | None
    difference: Difference | None
    added: Difference | None
    version: int
    created_at: datetime
    changed_at: datetime
    revision: int


class NotAsked(View):
    """A place that was not asked, and why, by the name of the problem."""

    place: str
    problem: str
    detail: str


class Asked(View):
    """The requests that were made, and the places where there was nothing to make."""

    items: list[Request]
    not_asked: list[NotAsked]
    revision: int
