"""The school administrators' side: what can be granted; to grant it, amend, suspend, resume and revoke it."""

import uuid
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import Field

from api import rows, sealing, terms
from api.callers import SchoolAdmin, SchoolOrOperator
from api.events import SYSTEM
from api.grants import GrantView, note, settle, take, view
from api.paging import Cursor, Limit, after_key, after_number, part
from api.reads import Reading
from api.terms import Terms
from api.wire import GrantId, Moment, Page, PurposeCodes, Reason, RecordId, ScopeNames, Wire, WireIn
from api.writes import IfMatch, WriteRequest, Writing, etag, require_version
from models.agreements import Agreement
from models.events import Event, EventKind
from models.grants import (
    OPEN,
    Choice,
    Grant,
    Status,
    Step,
    after,
    amended_period,
    narrows,
    period,
    require_offered,
    require_sound,
)
from models.identifiers import Brin, ClientId, LocationCode
from models.partners import Connection, Partner
from models.refusals import AgreementNotConfirmed, GrantExists, InvalidInput, InvalidPeriod, PartnerNotEligible

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
    school = await rows.school(reading.session, brin)
    locations = await rows.locations(reading.session, brin)
    return SchoolView(
        **school.model_dump(), locations=[LocationView.model_validate(location) for location in locations]
    )


@router.post("/grants", status_code=201, operation_id="grant")
async def grant(caller: SchoolAdmin, brin: Brin, wish: NewGrant, writing: Writing, response: Response) -> GrantView:
    """Permits a connection to receive these scopes for these purposes, for the school or one of its locations."""
    connection = await rows.connection_placed(writing.session, wish.client_id)
    offer = await _offer(writing, brin, connection)
    agreement = _agreement(offer)
    _require_named(wish.agreement_id, agreement)
    choice = Choice(frozenset(wish.scopes), frozenset(wish.purposes), wish.valid_from, wish.valid_until)
    require_sound(choice, connection)
    require_offered(choice, connection, agreement)
    begins, ends = period(choice, writing.now)
    await rows.require_listed(writing.session, brin, wish.location)
    await _require_no_open_grant(writing, brin, wish, offer.partner)
    given = Grant(
        grant_id=str(uuid.uuid4()),
        client_id=wish.client_id,
        brin=brin,
        location=wish.location,
        scopes=sorted(choice.scopes),
        purposes=sorted(choice.purposes),
        status=after(Status.REQUESTED, Step.GRANT),
        valid_from=begins,
        valid_until=ends,
        request_version=connection.request_version,
        agreement_id=agreement.agreement_id,
        reconfirm_by=offer.reconfirm_by(agreement),
        granted_at_revision=writing.write.revision,
        revision=writing.write.revision,
        created_at=writing.now,
        changed_at=writing.now,
    )
    writing.session.add(given)
    note(writing.write, given, offer.partner, EventKind.GRANT_GRANTED, caller.actor)
    response.headers["Location"] = f"/v1/schools/{brin}/grants/{given.grant_id}"
    return writing.answer(view(given, offer.partner, writing.now), given.version)


@router.get("/grants", operation_id="listGrants")
async def list_grants(
    caller: SchoolAdmin, brin: Brin, reading: Reading, limit: Limit = 100, cursor: Cursor = None
) -> Page[GrantView]:
    """Every grant that this school ever gave, ended ones too."""
    await rows.school(reading.session, brin)
    found = await rows.grants_of_school(reading.session, brin, after_key(cursor), limit)
    shown, following = part(found, limit, lambda grant: grant.grant_id)
    partners = await rows.partners_of_grants(reading.session, shown)
    return Page(items=[view(each, partners[each.client_id], reading.now) for each in shown], next=following)


@router.get("/grants/{grant_id}", operation_id="getGrant")
async def get_grant(
    caller: SchoolAdmin, brin: Brin, grant_id: OwnGrantId, reading: Reading, response: Response
) -> GrantView:
    """One grant of this school, with the ETag that an amendment sends back."""
    found = await rows.grant_of_school(reading.session, brin, grant_id)
    partners = await rows.partners_of_grants(reading.session, [found])
    response.headers["ETag"] = etag(found.version)
    return view(found, partners[found.client_id], reading.now)


@router.patch("/grants/{grant_id}", operation_id="amendGrant")
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
    connection = await rows.connection(writing.session, found.client_id)
    offer = await _offer(writing, brin, connection)
    choice = _amended(wish, found)
    require_sound(choice, connection)
    if wish.agreement_id is not None or not narrows(choice, found):
        require_offered(choice, connection, _agreement(offer))
        _agree(found, offer, wish.agreement_id)
    found.valid_from, found.valid_until = amended_period(choice, found, writing.now)
    found.scopes, found.purposes = sorted(choice.scopes), sorted(choice.purposes)
    found.request_version = connection.request_version
    take(writing.write, found, partner, Step.AMEND, caller.actor)
    return writing.answer(view(found, partner, writing.now), found.version)


@router.post("/grants/{grant_id}/_revoke", operation_id="revokeGrant")
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
    take(writing.write, found, partner, Step.REVOKE, caller.actor, reason)
    return writing.answer(view(found, partner, writing.now), found.version)


@router.post("/grants/{grant_id}/_suspend", operation_id="suspendGrant")
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
    take(writing.write, found, partner, Step.SUSPEND, caller.actor, wish.reason)
    return writing.answer(view(found, partner, writing.now), found.version)


@router.post("/grants/{grant_id}/_resume", operation_id="resumeGrant")
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
    connection = await rows.connection(writing.session, found.client_id)
    take(writing.write, found, partner, Step.RESUME, caller.actor, wish.reason if wish is not None else None)
    found.suspended_until = None
    if found.request_version != connection.request_version:
        take(writing.write, found, partner, Step.ASK_AGAIN, SYSTEM)
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
    found = await rows.grant_of_school(reading.session, brin, grant_id)
    events = await rows.history(reading.session, found, after_number(cursor), limit)
    shown, following = part(events, limit, lambda event: event.number)
    reasons = await sealing.named(reading.session, [event.reason for event in shown])
    return Page(items=[_happening(event, reasons) for event in shown], next=following)


async def _offer(writing: WriteRequest, brin: str, connection: Connection) -> Terms:
    school = await rows.school(writing.session, brin)
    if school.gone_at is not None:
        raise InvalidInput("The school is no longer listed.")
    return (await terms.gather(writing.session, [connection], school.board_number, writing.now))[0]


def _agreement(offer: Terms) -> Agreement:
    if offer.agreement is None or not offer.eligible:
        raise PartnerNotEligible(
            "The connection does not keep all ground rules, no agreement for it is in force, or it was stopped."
        )
    return offer.agreement


def _agree(grant: Grant, offer: Terms, named: str | None) -> None:
    """The school agrees to the agreement that counts, which it names unless that allows no more than the one before."""
    agreement = _agreement(offer)
    if named is None and offer.allows_more_than_agreed(grant):
        raise AgreementNotConfirmed(
            "The agreement that counts allows more than the one agreed to: name it as agreementId."
        )
    _require_named(named, agreement)
    grant.agreement_id = agreement.agreement_id
    grant.reconfirm_by = offer.reconfirm_by(agreement)


def _require_named(named: str | None, agreement: Agreement) -> None:
    if named not in (None, agreement.agreement_id):
        raise AgreementNotConfirmed("agreementId names another agreement than the one that counts: read it again.")


async def _own_grant(
    writing: WriteRequest, brin: str, grant_id: str, if_match: str | None, *, required: bool = False
) -> tuple[Grant, Partner]:
    """The school's grant as it stands now, in the version that the caller has seen."""
    found = await rows.grant_of_school(writing.session, brin, grant_id)
    if required or if_match is not None:
        require_version(if_match, found.version)
    partner = (await rows.partners_of_grants(writing.session, [found]))[found.client_id]
    settle(writing.write, found, partner)
    return found, partner


async def _require_no_open_grant(writing: WriteRequest, brin: str, wish: NewGrant, partner: Partner) -> None:
    present = await rows.open_grant(writing.session, wish.client_id, brin, wish.location)
    if present is None:
        return
    settle(writing.write, present, partner)
    if present.status in OPEN:
        raise GrantExists(f"Grant {present.grant_id} is for the same place: amend or revoke it first.")
    # What has just been found ended must not stand in the way of the one that takes its place.
    await writing.session.flush()


def _amended(wish: Amendment, found: Grant) -> Choice:
    given = wish.model_fields_set
    return Choice(
        scopes=frozenset(wish.scopes if wish.scopes is not None else found.scopes),
        purposes=frozenset(wish.purposes if wish.purposes is not None else found.purposes),
        valid_from=wish.valid_from,
        valid_until=wish.valid_until if "valid_until" in given else found.valid_until,
    )


def _happening(event: Event, reasons: Mapping[str, str]) -> Happening:
    return Happening(
        number=event.number,
        revision=event.revision,
        at=event.at,
        event=EventKind(event.kind),
        actor_role=event.actor_role,
        reason=reasons.get(event.reason or ""),
        grant=GrantView.model_validate(event.state),
    )
