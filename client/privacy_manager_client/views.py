"""Objects that the service returns to partners, as in the published contract.

Unknown members are ignored, since later versions may add some.
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
    """The state of the connection's consent at a school or location. Release data only while `reason` is None."""

    school: School
    location: str | None
    client_id: str
    #: `granted`, `suspended`, `needs_reconfirmation`, `revoked`, `expired`, or `none` if nothing was ever granted.
    status: str
    reason: str | None
    scopes: list[str]
    purposes: list[str]
    valid_from: datetime | None
    valid_until: datetime | None
    grant_id: str | None
    revision: int


class Change(Consent):
    """A consent after one change. Reading resumes after its `bookmark`."""

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
    """A request of the connection to a school, with its status.

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
    """A place for which no request was made; the slug of the problem says why."""

    place: str
    problem: str
    detail: str


class Asked(View):
    """The requests that were made, and the places for which none was."""

    items: list[Request]
    not_asked: list[NotAsked]
    revision: int
