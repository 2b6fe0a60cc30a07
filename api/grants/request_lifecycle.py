"""The view of an access request, its state in the log, and the steps of its life cycle with their events."""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import Field

from api.grants.grant_lifecycle import PartnerName
from api.grants.offers import Difference, RequestedScopes
from api.queries import event_rows, grant_rows, registry_rows, request_rows, school_rows
from api.queries.session import Session
from api.security import sealing
from api.store.events import Actor, record
from api.store.store import Write
from api.web.schemas import Moment, Wire
from api.web.write_request import WriteRequest
from models.consents.grants import Grant
from models.consents.partners import Connection, Partner
from models.consents.requests import (
    AccessRequest,
    RequestStatus,
    RequestStep,
    Wish,
    acceptance,
    after,
    require_may_ask,
    wish_after_change,
)
from models.consents.schools import School
from models.log.entry_states import RequestState
from models.log.events import Event
from models.vocabulary.event_kinds import EventKind
from models.vocabulary.refusals import ConsentError, NotFound


class AskedSchool(Wire):
    brin: str
    name: str | None


class RequestView(Wire):
    """What a connection asks of a school, and how that stands."""

    request_id: str
    school: AskedSchool
    location: str | None
    client_id: str
    connection_name: str
    partner: PartnerName
    scopes: RequestedScopes
    purposes: list[str]
    message: Annotated[str | None, Field(description="The partner's own words; null once they were erased.")]
    status: RequestStatus
    answer: Annotated[str | None, Field(description="Why it was declined or withdrawn.")]
    grant_id: Annotated[str | None, Field(description="What it led to.")]
    difference: Annotated[
        Difference | None, Field(description="What the present grant for this place does not permit; null without one.")
    ]
    added: Annotated[
        Difference | None, Field(description="What came in since it was first sent, when the connection changed.")
    ]
    version: int
    created_at: Moment
    changed_at: Moment
    revision: int


EVENTS: Final[Mapping[RequestStep, EventKind]] = {
    RequestStep.CHANGE: EventKind.REQUEST_CHANGED,
    RequestStep.ACCEPT: EventKind.REQUEST_ACCEPTED,
    RequestStep.ACCEPT_IN_PART: EventKind.REQUEST_ACCEPTED,
    RequestStep.DECLINE: EventKind.REQUEST_DECLINED,
    RequestStep.WITHDRAW: EventKind.REQUEST_WITHDRAWN,
}


async def ask(
    writing: WriteRequest, connection: Connection, wish: Wish, places: Collection[str], actor: Actor, text: str | None
) -> tuple[list[AccessRequest], dict[str, ConsentError]]:
    """Makes a request to each place; returns the requests, and by place the refusals of those that cannot be asked.

    Raises the first refusal where no place can be asked.
    """
    facts = await _place_facts(writing, connection, places)
    made: list[AccessRequest] = []
    refusals: dict[str, ConsentError] = {}
    for place in places:
        try:
            facts.require_may_ask(place, wish)
        except ConsentError as refusal:
            refusals[place] = refusal
        else:
            made.append(_new_request(writing, connection, place, wish))
            append_event(writing.write, made[-1], EventKind.REQUEST_MADE, actor, text)
    if not made:
        raise next(iter(refusals.values()))
    writing.session.add_all(made)
    return made, refusals


def append_event(write: Write, request: AccessRequest, kind: EventKind, actor: Actor, text: str | None = None) -> int:
    """Appends the event of a change of the request, with `text` as its reason; returns the number of its entry."""
    request.revision, request.changed_at = write.revision, write.now
    state = _log_state(request)
    record(write, kind, actor, state, brin=request.brin, client_id=request.client_id, reason=text)
    return write.events[-1].number


def take_step(write: Write, request: AccessRequest, step: RequestStep, actor: Actor, text: str | None = None) -> None:
    """Takes one step of a request's life cycle, and appends its event. Raises `TransitionNotAllowed`."""
    request.status = after(request.status, step)
    request.version += 1
    number = append_event(write, request, EVENTS[step], actor, text)
    if request.status != RequestStatus.OPEN:
        request.answered_in_entry = number


async def accept_open_request(write: Write, grant: Grant, actor: Actor) -> None:
    """Accepts the open request of the grant's place, if any, whether or not the grant was given in answer to it."""
    request = (await request_rows.latest_requests(write.session, grant.client_id, [grant.brin])).get(grant.place)
    if request is None or request.status != RequestStatus.OPEN:
        return
    request.grant_id = grant.grant_id
    write.session.add(request)
    take_step(write, request, acceptance(request, frozenset(grant.scopes), frozenset(grant.purposes)), actor)


async def update_open_requests(write: Write, connection: Connection, before: Wish, actor: Actor) -> None:
    """Changes every open request of a connection to what the connection asks for now; `before` is its former wish."""
    for request in await request_rows.requests_open(write.session, connection.client_id):
        wish = wish_after_change(request, before, connection)
        request.request_version = connection.request_version
        write.session.add(request)
        if wish != wish_of_request(request):
            request.required_scopes, request.optional_scopes = sorted(wish.required), sorted(wish.optional)
            request.purposes = sorted(wish.purposes)
            take_step(write, request, RequestStep.CHANGE, actor)


def wish_of_request(request: AccessRequest) -> Wish:
    """The scopes and purposes that the request asks for."""
    return Wish(*map(frozenset, (request.required_scopes, request.optional_scopes, request.purposes)))


async def views(
    session: Session, requests: Sequence[AccessRequest], appended: Iterable[Event] = ()
) -> list[RequestView]:
    """The views of the requests. `appended` are events of this write, which the store does not hold yet."""
    brins, client_ids = {each.brin for each in requests}, {each.client_id for each in requests}
    connections = await registry_rows.connections_named(session, client_ids)
    entries = await event_rows.entries(session, {number for each in requests for number in _entries_of(each)})
    texts = await sealing.named(session, [event.reason for event in entries.values()])
    reasons = {number: texts.get(event.reason or "") for number, event in entries.items()}
    # As typed: the text becomes a commitment when it is appended, and may only look like one until then.
    reasons |= {event.number: event.reason for event in appended}
    facts = _ViewFacts(
        connections=connections,
        partners=await registry_rows.partners_of(session, connections.values()),
        schools=await school_rows.schools_named(session, brins),
        grants=await grant_rows.open_grants_by_place(session, client_ids, brins),
        entries=entries | {event.number: event for event in appended},
        reasons=reasons,
    )
    return [_view(each, facts) for each in requests]


def _entries_of(request: AccessRequest) -> list[int]:
    return [number for number in (request.asked_in_entry, request.answered_in_entry) if number is not None]


@dataclass(frozen=True, slots=True)
class _PlaceFacts:
    """The facts by which `require_may_ask` admits or refuses a place."""

    schools: Mapping[str, School]
    locations: Collection[str]
    grants: Mapping[tuple[str, str], Grant]
    latest: Mapping[str, AccessRequest]
    waiting: Mapping[str, int]
    connection: Connection
    now: datetime

    def require_may_ask(self, place: str, wish: Wish) -> None:
        """Raises the refusal of a request to `place`, if one applies."""
        school = self.schools.get(place[:4])
        if school is None or school.gone_at is not None or (len(place) > 4 and place not in self.locations):
            raise NotFound(f"There is no school or location {place}, or it is no longer listed.")
        require_may_ask(
            wish,
            self.grants.get((self.connection.client_id, place)),
            self.latest.get(place),
            self.connection.request_version,
            self.waiting.get(place[:4], 0),
            self.now,
        )


async def _place_facts(writing: WriteRequest, connection: Connection, places: Collection[str]) -> _PlaceFacts:
    session, brins = writing.session, {place[:4] for place in places}
    return _PlaceFacts(
        schools=await school_rows.schools_named(session, brins),
        locations=await school_rows.locations_listed(session, [place for place in places if len(place) > 4]),
        grants=await grant_rows.open_grants_by_place(session, [connection.client_id], brins),
        latest=await request_rows.latest_requests(session, connection.client_id, brins),
        waiting=await request_rows.requests_waiting(session, connection.kvk_number, brins),
        connection=connection,
        now=writing.now,
    )


def _new_request(writing: WriteRequest, connection: Connection, place: str, wish: Wish) -> AccessRequest:
    return AccessRequest(
        request_id=str(uuid.uuid4()),
        client_id=connection.client_id,
        brin=place[:4],
        location=place if len(place) > 4 else None,
        required_scopes=sorted(wish.required),
        optional_scopes=sorted(wish.optional),
        purposes=sorted(wish.purposes),
        status=RequestStatus.OPEN,
        request_version=connection.request_version,
        asked_in_entry=writing.write.next_number,
        revision=writing.write.revision,
        created_at=writing.now,
        changed_at=writing.now,
    )


@dataclass(frozen=True, slots=True)
class _ViewFacts:
    """Rows and texts that the views of requests need beside the requests' own rows."""

    connections: Mapping[str, Connection]
    partners: Mapping[str, Partner]
    schools: Mapping[str, School]
    grants: Mapping[tuple[str, str], Grant]
    entries: Mapping[int, Event]
    #: The reason text of each entry; None without one, or once it was erased.
    reasons: Mapping[int, str | None]


def _view(request: AccessRequest, facts: _ViewFacts) -> RequestView:
    connection, school = facts.connections[request.client_id], facts.schools.get(request.brin)
    grant = facts.grants.get((request.client_id, request.place))
    wish, first = wish_of_request(request), RequestState.of(facts.entries[request.asked_in_entry].state)
    added = _not_covered(wish, [*first.scopes.required, *first.scopes.optional], first.purposes)
    return RequestView(
        school=AskedSchool(brin=request.brin, name=school.name if school is not None else None),
        connection_name=connection.name,
        partner=PartnerName.model_validate(facts.partners[connection.kvk_number]),
        scopes=RequestedScopes(required=request.required_scopes, optional=request.optional_scopes),
        message=facts.reasons[request.asked_in_entry],
        answer=facts.reasons[request.answered_in_entry] if request.answered_in_entry is not None else None,
        difference=grant and _not_covered(wish, grant.scopes, grant.purposes),
        added=added if added.scopes or added.purposes else None,
        **request.model_dump(exclude={"required_scopes", "optional_scopes", "brin", "scopes"}),
    )


def _not_covered(wish: Wish, known_scopes: Iterable[str], known_purposes: Iterable[str]) -> Difference:
    return Difference(
        scopes=sorted(wish.scopes - frozenset(known_scopes)), purposes=sorted(wish.purposes - frozenset(known_purposes))
    )


def _log_state(request: AccessRequest) -> dict[str, Any]:
    """The request's state for the log, without free text, which could be personal data."""
    return {
        "requestId": request.request_id,
        "clientId": request.client_id,
        "school": request.brin,
        "location": request.location,
        "scopes": {"required": request.required_scopes, "optional": request.optional_scopes},
        "purposes": request.purposes,
        "status": request.status,
        "grantId": request.grant_id,
        "requestVersion": request.request_version,
        "version": request.version,
    }
