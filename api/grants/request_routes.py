"""Routes of access requests: a partner asks schools for scopes and purposes; a school accepts, in part, or declines."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field, model_validator

from api.contract.components import NOT_FOUND, VERSION_REQUIRED, refuses
from api.edge.problems import REFUSALS
from api.grants import granting, request_lifecycle
from api.grants.granting import GrantPlace
from api.grants.request_lifecycle import RequestView, views
from api.queries import registry_rows, request_rows, school_rows
from api.web.callers import PartnerClient, SchoolAdmin
from api.web.paging import Cursor, Limit, after_key, part
from api.web.preconditions import IfMatch, etag, require_version
from api.web.read_request import Reading
from api.web.schemas import Moment, Page, PurposeCodes, Reason, RecordId, ScopeNames, Wire, WireIn, distinct
from api.web.write_request import WriteRequest, Writing
from models.consents.grants import Choice
from models.consents.requests import AccessRequest, RequestStatus, RequestStep, after, wish_of
from models.vocabulary.identifiers import BoardNumber, Brin, Place
from models.vocabulary.refusals import NotFound

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


class RequestWithdrawal(WireIn):
    reason: Reason | None = None


# -- the partner ------------------------------------------------------------------------------------------------------


@router.post("/v1/consents/requests", status_code=201, operation_id="askSchools", responses=refuses(NOT_FOUND))
async def ask(caller: PartnerClient, wish: NewRequests, writing: Writing) -> Asked:
    """Asks one or many schools, or all of a board, for what the caller's connection needs. It permits nothing yet.

    Where one of several places cannot be asked, the others are all the same. Where none can, that is refused.
    """
    connection = await registry_rows.connection_placed(writing.session, caller.claims.client_id)
    asked_for = wish_of(connection, wish.scopes, wish.purposes)
    places = await _places(writing, wish)
    made, refusals = await request_lifecycle.ask(writing, connection, asked_for, places, caller.actor, wish.message)
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
    found = await request_rows.requests_of_client(
        reading.session, caller.claims.client_id, status, school, after_key(cursor), limit
    )
    shown, following = part(found, limit, lambda request: request.request_id)
    return Page(items=await views(reading.session, shown), next=following)


@router.get("/v1/consents/requests/{request_id}", operation_id="getRequest")
async def get_request(caller: PartnerClient, request_id: OwnRequestId, reading: Reading) -> RequestView:
    """One request of the caller's connection."""
    found = await request_rows.request_of_client(reading.session, caller.claims.client_id, request_id)
    return (await views(reading.session, [found]))[0]


@router.post("/v1/consents/requests/{request_id}/_withdraw", operation_id="withdrawRequest")
async def withdraw(
    caller: PartnerClient, request_id: OwnRequestId, writing: Writing, wish: RequestWithdrawal | None = None
) -> RequestView:
    """Takes a request back that the school has not answered. What was granted stays granted."""
    found = await request_rows.request_of_client(writing.session, caller.claims.client_id, request_id)
    reason = wish.reason if wish is not None else None
    request_lifecycle.take_step(writing.write, found, RequestStep.WITHDRAW, caller.actor, reason)
    return await _answer(writing, found)


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
    await school_rows.school(reading.session, brin)
    found = await request_rows.requests_of_school(reading.session, brin, status, after_key(cursor), limit)
    shown, following = part(found, limit, lambda request: request.request_id)
    return Page(items=await views(reading.session, shown), next=following)


@router.get("/v1/schools/{brin}/requests/{request_id}", operation_id="getRequestToSchool")
async def get_request_to_school(
    caller: SchoolAdmin, brin: Brin, request_id: OwnRequestId, reading: Reading, response: Response
) -> RequestView:
    """One request to this school, with the ETag that an acceptance sends back."""
    found = await request_rows.request_of_school(reading.session, brin, request_id)
    response.headers["ETag"] = etag(found.version)
    return (await views(reading.session, [found]))[0]


@router.post(
    "/v1/schools/{brin}/requests/{request_id}/_accept",
    operation_id="acceptRequest",
    responses=refuses(VERSION_REQUIRED),
)
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
    found = await _open_request(writing, brin, request_id, if_match, required=True)
    wish = wish or Acceptance()
    place = GrantPlace(brin, found.location)
    present = await granting.settled_open_grant(writing, found.client_id, place)
    if present is not None:
        choice = _choice(wish, found, present.valid_until)
        await granting.amend(writing, present, choice, wish.agreement_id, caller.actor)
    else:
        choice = _choice(wish, found, None)
        await granting.give(writing, found.client_id, place, choice, wish.agreement_id, caller.actor)
    return await _answer(writing, found)


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
    found = await _open_request(writing, brin, request_id, if_match)
    request_lifecycle.take_step(writing.write, found, RequestStep.DECLINE, caller.actor, wish.reason)
    return await _answer(writing, found)


# -- both -------------------------------------------------------------------------------------------------------------


async def _places(writing: WriteRequest, wish: NewRequests) -> list[str]:
    """The places of a new request, each once, sorted. Raises `NotFound` for a board without listed schools."""
    if wish.schools is not None:
        return distinct(wish.schools)
    found = await school_rows.schools_of_board(writing.session, wish.board_number or "")
    if not found:
        raise NotFound("There is no such board, or it has no schools that are listed.")
    return [school.brin for school in found]


def _choice(wish: Acceptance, request: AccessRequest, valid_until: datetime | None) -> Choice:
    """The choice of an acceptance; one without `validUntil` keeps the end `valid_until` of the present grant."""
    return Choice(
        scopes=frozenset(wish.scopes) if wish.scopes is not None else request.scopes,
        purposes=frozenset(wish.purposes if wish.purposes is not None else request.purposes),
        valid_from=wish.valid_from,
        valid_until=wish.valid_until if "valid_until" in wish.model_fields_set else valid_until,
    )


async def _open_request(
    writing: WriteRequest, brin: str, request_id: str, if_match: str | None, *, required: bool = False
) -> AccessRequest:
    """An open request to the school, in the version that `if_match` names. Raises `NotFound`, `TransitionNotAllowed`,
    `VersionRequired` and `VersionMismatch`."""
    found = await request_rows.request_of_school(writing.session, brin, request_id)
    after(found.status, RequestStep.ACCEPT)
    if required or if_match is not None:
        require_version(if_match, found.version)
    return found


async def _answer(writing: WriteRequest, request: AccessRequest) -> RequestView:
    writing.session.add(request)
    (shown,) = await views(writing.session, [request], writing.write.events)
    return writing.answer(shown, request.version)
