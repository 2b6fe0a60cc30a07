"""Requests: a partner asks schools for what its connection needs; the school accepts, accepts in part, or declines."""

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field, model_validator

from api import asking, giving, rows
from api.asking import RequestView, views
from api.callers import PartnerClient, SchoolAdmin
from api.giving import GrantPlace
from api.grants import settle
from api.paging import Cursor, Limit, after_key, part
from api.problems import REFUSALS
from api.reads import Reading
from api.wire import Moment, Page, PurposeCodes, Reason, RecordId, ScopeNames, Wire, WireIn, distinct
from api.writes import IfMatch, WriteRequest, Writing, etag, require_version
from models.events import EventKind
from models.grants import OPEN, Choice, Grant
from models.identifiers import BoardNumber, Brin, Place
from models.partners import Connection
from models.refusals import ConsentError, NotFound
from models.requests import AccessRequest, RequestStatus, RequestStep, Wish, after, require_may_ask, wish_of
from models.schools import School

router = APIRouter(tags=["requests"])

OwnRequestId = Annotated[RecordId, Path()]
MOST_SCHOOLS = 500


class NewRequests(WireIn):
    """Whom the connection asks, and for what: without `scopes` for all that it is registered for, without `purposes`
    for all of these. What the connection requires is always asked for."""

    schools: Annotated[
        list[Place] | None, Field(min_length=1, max_length=MOST_SCHOOLS, description="BRIN4, or BRIN6 for a location.")
    ] = None
    board_number: Annotated[BoardNumber | None, Field(description="All listed schools of this board.")] = None
    scopes: ScopeNames | None = None
    purposes: PurposeCodes | None = None
    message: Annotated[Reason | None, Field(description="For the schools to read.")] = None

    @model_validator(mode="after")
    def _one_way(self) -> "NewRequests":
        if (self.schools is None) is (self.board_number is None):
            raise ValueError("name either schools or boardNumber")
        return self


class NotAsked(Wire):
    """A place that was not asked, and why: the slug of the problem that it would be alone."""

    place: str
    problem: str
    detail: str


class Asked(Wire):
    """The requests that were made, and the places where there was nothing to make."""

    items: list[RequestView]
    not_asked: list[NotAsked]
    revision: int


class Acceptance(WireIn):
    """What the school permits of it. What is left out is as it was asked."""

    scopes: ScopeNames | None = None
    purposes: PurposeCodes | None = None
    valid_from: Moment | None = None
    valid_until: Moment | None = None
    agreement_id: Annotated[
        RecordId | None, Field(description="The agreement that was read; refused when another one counts by now.")
    ] = None


class Refusal(WireIn):
    reason: Reason


class Withdrawal(WireIn):
    reason: Reason | None = None


# -- the partner ------------------------------------------------------------------------------------------------------


@router.post("/v1/consents/requests", status_code=201, operation_id="askSchools")
async def ask(caller: PartnerClient, wish: NewRequests, writing: Writing) -> Asked:
    """Asks one or many schools, or all of a board, for what the caller's connection needs. It permits nothing yet.

    Where one of several places cannot be asked, the others are all the same. Where none can, that is refused.
    """
    connection = await rows.connection_placed(writing.session, caller.claims.client_id)
    asked_for = wish_of(connection, wish.scopes, wish.purposes)
    places = await _places(writing, wish)
    known = await _known(writing, connection, places)
    made: list[AccessRequest] = []
    refusals: dict[str, ConsentError] = {}
    for place in places:
        try:
            known.require_may_ask(place, asked_for)
        except ConsentError as refusal:
            refusals[place] = refusal
        else:
            made.append(_made(writing, connection, place, asked_for))
            asking.note(writing.write, made[-1], EventKind.REQUEST_MADE, caller.actor, wish.message)
    if not made:
        raise next(iter(refusals.values()))
    writing.session.add_all(made)
    return writing.answer(
        Asked(
            items=await views(writing.session, made, writing.write.events),
            not_asked=[
                NotAsked(place=place, problem=REFUSALS[type(refusal)].slug, detail=refusal.detail)
                for place, refusal in refusals.items()
            ],
            revision=writing.write.revision,
        )
    )


@router.get("/v1/consents/requests", operation_id="listRequests")
async def list_requests(
    caller: PartnerClient,
    reading: Reading,
    status: Annotated[RequestStatus | None, Query()] = None,
    school: Annotated[Brin | None, Query(description="Only those to this school.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[RequestView]:
    """What the caller's connection asked, of whom, and how it stands."""
    found = await rows.requests_of_client(
        reading.session, caller.claims.client_id, status, school, after_key(cursor), limit
    )
    shown, following = part(found, limit, lambda request: request.request_id)
    return Page(items=await views(reading.session, shown), next=following)


@router.get("/v1/consents/requests/{request_id}", operation_id="getRequest")
async def get_request(caller: PartnerClient, request_id: OwnRequestId, reading: Reading) -> RequestView:
    """One request of the caller's connection."""
    found = await rows.request_of_client(reading.session, caller.claims.client_id, request_id)
    return (await views(reading.session, [found]))[0]


@router.post("/v1/consents/requests/{request_id}/_withdraw", operation_id="withdrawRequest")
async def withdraw(
    caller: PartnerClient, request_id: OwnRequestId, writing: Writing, wish: Withdrawal | None = None
) -> RequestView:
    """Takes a request back that the school has not answered. What was granted stays granted."""
    found = await rows.request_of_client(writing.session, caller.claims.client_id, request_id)
    reason = wish.reason if wish is not None else None
    asking.take(writing.write, found, RequestStep.WITHDRAW, caller.actor, reason)
    return await _answered(writing, found)


# -- the school -------------------------------------------------------------------------------------------------------


@router.get("/v1/schools/{brin}/requests", operation_id="listRequestsToSchool")
async def list_requests_to_school(
    caller: SchoolAdmin,
    brin: Brin,
    reading: Reading,
    status: Annotated[RequestStatus | None, Query()] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[RequestView]:
    """What partners ask of this school, answered requests too."""
    await rows.school(reading.session, brin)
    found = await rows.requests_of_school(reading.session, brin, status, after_key(cursor), limit)
    shown, following = part(found, limit, lambda request: request.request_id)
    return Page(items=await views(reading.session, shown), next=following)


@router.get("/v1/schools/{brin}/requests/{request_id}", operation_id="getRequestToSchool")
async def get_request_to_school(
    caller: SchoolAdmin, brin: Brin, request_id: OwnRequestId, reading: Reading, response: Response
) -> RequestView:
    """One request to this school, with the ETag that an acceptance sends back."""
    found = await rows.request_of_school(reading.session, brin, request_id)
    response.headers["ETag"] = etag(found.version)
    return (await views(reading.session, [found]))[0]


@router.post("/v1/schools/{brin}/requests/{request_id}/_accept", operation_id="acceptRequest")
async def accept(
    caller: SchoolAdmin,
    brin: Brin,
    request_id: OwnRequestId,
    writing: Writing,
    wish: Acceptance | None = None,
    if_match: IfMatch = None,
) -> RequestView:
    """Permits what is asked for, or a part of it that is no less than the connection requires.

    If-Match says which request was read: once its connection changes, it asks for something else. Where there is a
    grant for the place, it becomes what is accepted here; else there is a new one.
    """
    found = await _own(writing, brin, request_id, if_match, required=True)
    wish = wish or Acceptance()
    place = GrantPlace(brin, found.location)
    present = await rows.open_grant(writing.session, found.client_id, *place)
    if present is not None:
        partner = (await rows.partners_of_grants(writing.session, [present]))[present.client_id]
        settle(writing.write, present, partner)
    if present is not None and present.status in OPEN:
        choice = _choice(wish, found, present.valid_until)
        await giving.amend(writing, present, choice, wish.agreement_id, caller.actor)
    else:
        choice = _choice(wish, found, None)
        await giving.give(writing, found.client_id, place, choice, wish.agreement_id, caller.actor)
    return await _answered(writing, found)


@router.post("/v1/schools/{brin}/requests/{request_id}/_decline", operation_id="declineRequest")
async def decline(
    caller: SchoolAdmin,
    brin: Brin,
    request_id: OwnRequestId,
    wish: Refusal,
    writing: Writing,
    if_match: IfMatch = None,
) -> RequestView:
    """Says no, and why. A grant that there is stays as it is."""
    found = await _own(writing, brin, request_id, if_match)
    asking.take(writing.write, found, RequestStep.DECLINE, caller.actor, wish.reason)
    return await _answered(writing, found)


# -- both -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the places that a connection wants to ask."""

    schools: Mapping[str, School]
    locations: Collection[str]
    grants: Mapping[tuple[str, str], Grant]
    latest: Mapping[str, AccessRequest]
    waiting: Mapping[str, int]
    connection: Connection
    now: datetime

    def require_may_ask(self, place: str, wish: Wish) -> None:
        """Raises the refusal that applies."""
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


async def _known(writing: WriteRequest, connection: Connection, places: Collection[str]) -> _Known:
    session, brins = writing.session, {place[:4] for place in places}
    return _Known(
        schools=await rows.schools_named(session, brins),
        locations=await rows.locations_listed(session, [place for place in places if len(place) > 4]),
        grants=await rows.open_grants(session, [connection.client_id], brins),
        latest=await rows.latest_requests(session, connection.client_id, brins),
        waiting=await rows.requests_waiting(session, connection.kvk_number, brins),
        connection=connection,
        now=writing.now,
    )


async def _places(writing: WriteRequest, wish: NewRequests) -> list[str]:
    """Each once, in their order."""
    if wish.schools is not None:
        return distinct(wish.schools)
    found = await rows.schools_of_board(writing.session, wish.board_number or "")
    if not found:
        raise NotFound("There is no such board, or it has no schools that are listed.")
    return [school.brin for school in found]


def _made(writing: WriteRequest, connection: Connection, place: str, wish: Wish) -> AccessRequest:
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


def _choice(wish: Acceptance, request: AccessRequest, valid_until: datetime | None) -> Choice:
    """What the school permits; without an end, what there is keeps the one that it has."""
    return Choice(
        scopes=frozenset(wish.scopes) if wish.scopes is not None else request.scopes,
        purposes=frozenset(wish.purposes if wish.purposes is not None else request.purposes),
        valid_from=wish.valid_from,
        valid_until=wish.valid_until if "valid_until" in wish.model_fields_set else valid_until,
    )


async def _own(
    writing: WriteRequest, brin: str, request_id: str, if_match: str | None, *, required: bool = False
) -> AccessRequest:
    """The school's request, which waits for its answer, in the version that the caller has seen."""
    found = await rows.request_of_school(writing.session, brin, request_id)
    after(found.status, RequestStep.ACCEPT)
    if required or if_match is not None:
        require_version(if_match, found.version)
    return found


async def _answered(writing: WriteRequest, request: AccessRequest) -> RequestView:
    writing.session.add(request)
    (shown,) = await views(writing.session, [request], writing.write.events)
    return writing.answer(shown, request.version)
