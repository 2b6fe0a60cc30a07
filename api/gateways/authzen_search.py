"""OpenID AuthZEN 1.0 search messages (section 8): requests as incomplete questions, and pages of results.

A search gives two of subject, action and resource completely, and of the third only the type. If that one has an `id`,
it is ignored (8.4.1, 8.5.1), and so are members unknown to AuthZEN; a malformed request raises `Refused` (400).
"""

import base64
import hashlib
import json
from typing import Annotated, Any, ClassVar, Final, NamedTuple, cast

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from api.edge.problems import INVALID_INPUT, Refused
from api.gateways.authzen import (
    Action,
    Context,
    Properties,
    Resource,
    ResourceProperties,
    Subject,
    decoded,
    question_about,
    read_whole,
)
from api.security.strict_json import Malformed, base64url
from models.decision.decision import Decision, Question

#: Results per page when the request has no limit, and at most.
USUAL_LIMIT: Final = 100
MOST_RESULTS: Final = 1000

Limit = Annotated[int, Meta(ge=0, le=2**53)]


class SearchedSubject(Struct, frozen=True):
    """Who might receive: any connection, where the type is `partner`."""

    type: str
    properties: Properties | UnsetType = UNSET


class SearchedResource(Struct, frozen=True):
    """What might be released: this type, of any school and location; narrowed as in an evaluation."""

    type: str
    properties: ResourceProperties | UnsetType = UNSET


class PageRequest(Struct, frozen=True):
    """How many results at most, and the `next_token` of the page before (8.2.1)."""

    token: str | UnsetType = UNSET
    limit: Limit | UnsetType = UNSET
    properties: Properties | UnsetType = UNSET


class SubjectSearchRequest(Struct, frozen=True):
    """Which subjects of this type may receive the resource? (AuthZEN 1.0, 8.4.1)"""

    searched: ClassVar = "subject"

    subject: SearchedSubject
    action: Action
    resource: Resource
    context: Context | UnsetType = UNSET
    page: PageRequest | UnsetType = UNSET

    def question(self) -> Question:
        return question_about(Subject(self.subject.type, ""), self.action, self.resource, self.context)

    @staticmethod
    def complete(question: Question, client_id: str) -> Question:
        return question._replace(client_id=client_id)

    @staticmethod
    def result(question: Question, _: Decision) -> "Entity":
        return Entity(question.subject_type, question.client_id)


class ResourceSearchRequest(Struct, frozen=True):
    """Of which schools and locations may the subject receive this type? (AuthZEN 1.0, 8.5.1)"""

    searched: ClassVar = "resource"

    subject: Subject
    action: Action
    resource: SearchedResource
    context: Context | UnsetType = UNSET
    page: PageRequest | UnsetType = UNSET

    def question(self) -> Question:
        any_place = Resource(self.resource.type, "", self.resource.properties)
        return question_about(self.subject, self.action, any_place, self.context)

    @staticmethod
    def complete(question: Question, place: str) -> Question:
        return question._replace(place=place)

    @staticmethod
    def result(question: Question, _: Decision) -> "Entity":
        return Entity(question.resource_type, question.place)


class ActionSearchRequest(Struct, frozen=True):
    """What may be done? Without an action, which is what is searched. (AuthZEN 1.0, 8.6.1)"""

    searched: ClassVar = "action"

    subject: Subject
    resource: Resource
    context: Context | UnsetType = UNSET
    page: PageRequest | UnsetType = UNSET

    def question(self) -> Question:
        return question_about(self.subject, Action(""), self.resource, self.context)

    @staticmethod
    def complete(question: Question, action: str) -> Question:
        return question._replace(action=action)

    @staticmethod
    def result(question: Question, decision: Decision) -> "PermittedAction":
        return PermittedAction(question.action, Releasable(decision.scopes, decision.fields))


SearchRequest = SubjectSearchRequest | ResourceSearchRequest | ActionSearchRequest


class Entity(Struct, frozen=True):
    """A subject or a resource that was found."""

    type: str
    id: str


class Releasable(Struct, frozen=True):
    """What may be released."""

    scopes: tuple[str, ...]
    fields: tuple[str, ...]


class PermittedAction(Struct, frozen=True):
    """An action that was found, with what it may release."""

    name: str
    properties: Releasable


class Page(Struct, frozen=True):
    """`next_token` asks for what follows, and is empty behind the last result (8.2.2)."""

    next_token: str
    count: int


class SearchContext(Struct, frozen=True):
    """The revision that the results are as of."""

    revision: int


class EntitiesFound(Struct, frozen=True):
    """The subjects or resources that were found, in the order of their ids. (AuthZEN 1.0, 8.3)"""

    # The page comes first, so that a streaming reader knows how many results follow.

    page: Page
    context: SearchContext
    results: list[Entity]


class ActionsFound(Struct, frozen=True):
    """The actions that were found. (AuthZEN 1.0, 8.3)"""

    page: Page
    context: SearchContext
    results: list[PermittedAction]


class Search(NamedTuple):
    """A search: a question to be completed by each candidate after `after`, in order, up to `limit` permits.

    `named` identifies the request; all its pages have it in common.
    """

    request: SearchRequest
    question: Question
    named: str
    requested_limit: int | None
    after: str

    @property
    def limit(self) -> int:
        return USUAL_LIMIT if self.requested_limit is None else min(self.requested_limit, MOST_RESULTS)

    def token_behind(self, last: str) -> str:
        """The token of the page after the result `last`. It stays valid whatever changes meanwhile."""
        return _token_of(_position(self.named, self.requested_limit, last))


def search_of(decoder: "msgspec.json.Decoder[Any]", body: bytes) -> Search:
    """The search of a request. Raises `Refused` (400), also for a token of another request."""
    request = cast(SearchRequest, decoded(decoder, body))
    page = PageRequest() if request.page is UNSET else request.page
    named = _named(request, read_whole(body))
    limit = None if page.limit is UNSET else page.limit
    after = ""
    if page.token is not UNSET:
        limit, after = _position_after(named, limit, page.token)
    return Search(request, request.question(), named, limit, after)


#: Members of each entity that must not change between pages (8.2.1).
_NAMED: Final = {
    "subject": ("type", "id", "properties"),
    "action": ("name", "properties"),
    "resource": ("type", "id", "properties"),
}


def _named(request: SearchRequest, document: dict[str, Any]) -> str:
    """The request without its page's token and limit, as canonical JSON of AuthZEN's members. Raises `Refused`."""
    entities = {
        entity: {name: document[entity][name] for name in names if name in document[entity]}
        for entity, names in _NAMED.items()
        if entity in document and not (entity == "action" and request.searched == "action")
    }
    if request.searched != "action":
        entities[request.searched].pop("id", None)
    rest = [request.searched, document.get("context"), document.get("page", {}).get("properties")]
    try:
        return json.dumps([entities, *rest], sort_keys=True)
    except RecursionError:
        raise Refused(INVALID_INPUT, "Not an AuthZEN request: nested too deep.") from None


class _Position(NamedTuple):
    """The content of a token."""

    #: Digest of request, limit and last result: a token is valid for the request that it was issued for.
    digest: str
    #: The limit of the first request: later ones may omit it, as in the standard's own example (8.2.3).
    limit: Limit | None
    last: str


def _position(named: str, limit: int | None, last: str) -> _Position:
    # Not keyed: a forged token gives nothing that the same request does not give from its first page on.
    digest = hashlib.sha256(json.dumps([named, limit, last]).encode()).hexdigest()[:32]
    return _Position(digest, limit, last)


_token_decoder = msgspec.json.Decoder(_Position)


def _token_of(position: _Position) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def _position_after(named: str, limit: int | None, token: str) -> tuple[int | None, str]:
    """The limit of the first page, and the last result of the page before.

    Raises `Refused` (400) for an invalid token, and for one of another request (8.2).
    """
    try:
        position = _token_decoder.decode(base64url(token))
    except (Malformed, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Refused(INVALID_INPUT, "The token is not one of ours.") from None
    if limit not in (None, position.limit) or position != _position(named, position.limit, position.last):
        raise Refused(INVALID_INPUT, "The token belongs to another request: only the token may differ between pages.")
    return position.limit, position.last
