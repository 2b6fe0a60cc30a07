"""Routes of school administrators: grant, amend, suspend, resume and revoke, and the history of a grant."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import Field

from api.contract.components import VERSION_REQUIRED, answers, refuses
from api.grants import granting
from api.grants.grant_lifecycle import GrantView, settle, take_step, view
from api.grants.granting import GrantPlace
from api.queries import event_rows, grant_rows, registry_rows, school_rows
from api.security import sealing
from api.store.events import SYSTEM
from api.web.callers import SchoolAdmin, SchoolOrOperator
from api.web.paging import Cursor, Limit, after_key, after_number, part
from api.web.preconditions import IfMatch, etag, require_version
from api.web.read_request import Reading
from api.web.schemas import GrantId, Moment, Page, PurposeCodes, Reason, RecordId, ScopeNames, Wire, WireIn
from api.web.write_request import WriteRequest, Writing
from models.consents.grants import Choice, Grant, Step
from models.consents.partners import Partner
from models.log.events import Event
from models.vocabulary.event_kinds import EventKind
from models.vocabulary.identifiers import Brin, ClientId, LocationCode
from models.vocabulary.refusals import InvalidInput, InvalidPeriod

router = APIRouter(prefix="/v1/schools/{brin}", tags=["schools"])

OwnGrantId = Annotated[GrantId, Path()]


class LocationView(Wire):
    """A vestiging. `goneAt` says since when it is no longer listed."""

    code: str
    name: str
    street: str | None
    house_number: str | None
    postcode: str | None
    city: str | None
    gone_at: Moment | None


class SchoolView(Wire):
    brin: str
    name: str
    board_number: str | None
    gone_at: Moment | None
    locations: list[LocationView]


class NewGrant(WireIn):
    """What a school permits. A `validFrom` in the past, or none, means from now on; no `validUntil` means until
    further notice."""

    client_id: ClientId
    scopes: ScopeNames
    purposes: PurposeCodes
    location: LocationCode | None = None
    valid_from: Moment | None = None
    valid_until: Moment | None = None
    agreement_id: Annotated[
        RecordId | None, Field(description="The agreement that was read; refused when another one counts by now.")
    ] = None


class Amendment(WireIn):
    """What changes; what is left out stays as it is. `validUntil: null` takes the end away.

    `agreementId` names the agreement that the school has read and agrees to: the one that counts. It is needed where
    that one allows more than the one agreed to, unless the grant holds and is narrowed.
    """

    scopes: ScopeNames | None = None
    purposes: PurposeCodes | None = None
    valid_from: Moment | None = None
    valid_until: Moment | None = None
    agreement_id: RecordId | None = None


class Revocation(WireIn):
    reason: Reason | None = None


class Suspension(WireIn):
    """With `until` the grant holds again from that moment on, by itself."""

    reason: Reason | None = None
    until: Moment | None = None


class Resumption(WireIn):
    reason: Reason | None = None


class Happening(Wire):
    """One change in the life of a grant, and the grant as it then was."""

    number: int
    revision: int
    at: Moment
    event: EventKind
    actor_role: str
    reason: str | None
    grant: GrantView


@router.get("", operation_id="getSchool")
async def get_school(caller: SchoolAdmin, brin: Brin, reading: Reading) -> SchoolView:
    """The school and its locations."""
    school = await school_rows.school(reading.session, brin)
    locations = await school_rows.locations(reading.session, brin)
    return SchoolView(
        **school.model_dump(), locations=[LocationView.model_validate(location) for location in locations]
    )


@router.post("/grants", status_code=201, operation_id="grant", responses=answers(201, "ETag", "Location"))
async def grant(caller: SchoolAdmin, brin: Brin, wish: NewGrant, writing: Writing, response: Response) -> GrantView:
    """Permits a connection to receive these scopes for these purposes, for the school or one of its locations."""
    choice = Choice(frozenset(wish.scopes), frozenset(wish.purposes), wish.valid_from, wish.valid_until)
    place = GrantPlace(brin, wish.location)
    given, partner = await granting.give(writing, wish.client_id, place, choice, wish.agreement_id, caller.actor)
    response.headers["Location"] = f"/v1/schools/{brin}/grants/{given.grant_id}"
    return writing.answer(view(given, partner, writing.now), given.version)


@router.get("/grants", operation_id="listGrants")
async def list_grants(
    caller: SchoolAdmin, brin: Brin, reading: Reading, limit: Limit = 100, cursor: Cursor = None
) -> Page[GrantView]:
    """Every grant that this school ever gave, ended ones too."""
    await school_rows.school(reading.session, brin)
    found = await grant_rows.grants_of_school(reading.session, brin, after_key(cursor), limit)
    shown, following = part(found, limit, lambda grant: grant.grant_id)
    partners = await registry_rows.partners_of_grants(reading.session, shown)
    return Page(items=[view(each, partners[each.client_id], reading.now) for each in shown], next=following)


@router.get("/grants/{grant_id}", operation_id="getGrant", responses=answers(200, "ETag"))
async def get_grant(
    caller: SchoolAdmin, brin: Brin, grant_id: OwnGrantId, reading: Reading, response: Response
) -> GrantView:
    """One grant of this school, with the ETag that an amendment sends back."""
    found = await grant_rows.grant_of_school(reading.session, brin, grant_id)
    partners = await registry_rows.partners_of_grants(reading.session, [found])
    response.headers["ETag"] = etag(found.version)
    return view(found, partners[found.client_id], reading.now)


@router.patch(
    "/grants/{grant_id}", operation_id="amendGrant", responses=answers(200, "ETag") | refuses(VERSION_REQUIRED)
)
async def amend(
    caller: SchoolAdmin,
    brin: Brin,
    grant_id: OwnGrantId,
    wish: Amendment,
    writing: Writing,
    if_match: IfMatch = None,
) -> GrantView:
    """Changes what a grant covers or when it ends; confirms anew a grant that needs reconfirmation."""
    found, partner = await _own_grant(writing, brin, grant_id, if_match, required=True)
    await granting.amend(writing, found, _amended(wish, found), wish.agreement_id, caller.actor)
    return writing.answer(view(found, partner, writing.now), found.version)


@router.post("/grants/{grant_id}/_revoke", operation_id="revokeGrant", responses=answers(200, "ETag"))
async def revoke(
    caller: SchoolOrOperator,
    brin: Brin,
    grant_id: OwnGrantId,
    writing: Writing,
    wish: Revocation | None = None,
    if_match: IfMatch = None,
) -> GrantView:
    """Ends a grant for good. It holds from the moment of the answer; an operator, in an emergency, says why."""
    found, partner = await _own_grant(writing, brin, grant_id, if_match)
    reason = wish.reason if wish is not None else None
    if caller.role == "operator" and reason is None:
        raise InvalidInput("An operator who revokes for a school gives the reason.")
    take_step(writing.write, found, partner, Step.REVOKE, caller.actor, reason)
    return writing.answer(view(found, partner, writing.now), found.version)


@router.post("/grants/{grant_id}/_suspend", operation_id="suspendGrant", responses=answers(200, "ETag"))
async def suspend(
    caller: SchoolAdmin,
    brin: Brin,
    grant_id: OwnGrantId,
    writing: Writing,
    wish: Suspension | None = None,
    if_match: IfMatch = None,
) -> GrantView:
    """Stops a grant for a while."""
    found, partner = await _own_grant(writing, brin, grant_id, if_match)
    wish = wish or Suspension()
    if wish.until is not None and wish.until <= writing.now:
        raise InvalidPeriod("until must be later than now.")
    found.suspended_until = wish.until
    take_step(writing.write, found, partner, Step.SUSPEND, caller.actor, wish.reason)
    return writing.answer(view(found, partner, writing.now), found.version)


@router.post("/grants/{grant_id}/_resume", operation_id="resumeGrant", responses=answers(200, "ETag"))
async def resume(
    caller: SchoolAdmin,
    brin: Brin,
    grant_id: OwnGrantId,
    writing: Writing,
    wish: Resumption | None = None,
    if_match: IfMatch = None,
) -> GrantView:
    """Ends a suspension. When the connection has asked for more meanwhile, the grant then needs reconfirmation."""
    found, partner = await _own_grant(writing, brin, grant_id, if_match)
    connection = await registry_rows.connection(writing.session, found.client_id)
    take_step(writing.write, found, partner, Step.RESUME, caller.actor, wish.reason if wish is not None else None)
    found.suspended_until = None
    if found.request_version != connection.request_version:
        take_step(writing.write, found, partner, Step.ASK_AGAIN, SYSTEM)
    settle(writing.write, found, partner)
    return writing.answer(view(found, partner, writing.now), found.version)


@router.get("/grants/{grant_id}/history", operation_id="getGrantHistory")
async def history(
    caller: SchoolAdmin,
    brin: Brin,
    grant_id: OwnGrantId,
    reading: Reading,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[Happening]:
    """What happened to a grant, from its first day."""
    found = await grant_rows.grant_of_school(reading.session, brin, grant_id)
    events = await event_rows.history(reading.session, found, after_number(cursor), limit)
    shown, following = part(events, limit, lambda event: event.number)
    reasons = await sealing.named(reading.session, [event.reason for event in shown])
    return Page(items=[_happening_of(event, reasons) for event in shown], next=following)


async def _own_grant(
    writing: WriteRequest, brin: str, grant_id: str, if_match: str | None, *, required: bool = False
) -> tuple[Grant, Partner]:
    """The school's grant, settled, in the version that `if_match` names. Raises `NotFound`, `VersionRequired` and
    `VersionMismatch`."""
    found = await grant_rows.grant_of_school(writing.session, brin, grant_id)
    if required or if_match is not None:
        require_version(if_match, found.version)
    partner = (await registry_rows.partners_of_grants(writing.session, [found]))[found.client_id]
    settle(writing.write, found, partner)
    return found, partner


def _amended(wish: Amendment, found: Grant) -> Choice:
    given = wish.model_fields_set
    return Choice(
        scopes=frozenset(wish.scopes if wish.scopes is not None else found.scopes),
        purposes=frozenset(wish.purposes if wish.purposes is not None else found.purposes),
        valid_from=wish.valid_from,
        valid_until=wish.valid_until if "valid_until" in given else found.valid_until,
    )


def _happening_of(event: Event, reasons: Mapping[str, str]) -> Happening:
    return Happening(
        number=event.number,
        revision=event.revision,
        at=event.at,
        event=EventKind(event.kind),
        actor_role=event.actor_role,
        reason=reasons.get(event.reason or ""),
        grant=GrantView.model_validate(event.state),
    )
