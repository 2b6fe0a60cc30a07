"""Routes of partners: the consents of a connection, and the reason where a school or location permits nothing."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic import Field

from api.contract.components import answers
from api.queries import decision_fact_rows, grant_rows, school_rows
from api.store.outage import StoreBehind
from api.web.callers import PartnerClient
from api.web.paging import Cursor, Limit, after_key, part
from api.web.read_request import Reading, ReadRequest
from api.web.schemas import Moment, Page, PurposeCode, ScopeName, Wire
from models.consents.schools import School
from models.decision.decision import Decision, Question, Reason, decide, grant_for_place
from models.decision.grant_status import Status, status_at
from models.decision.snapshot import Snapshot
from models.vocabulary import scopes
from models.vocabulary.identifiers import Place
from models.vocabulary.refusals import InvalidInput

router = APIRouter(prefix="/v1/consents", tags=["partners"])

NO_CONSENT = "none"


class SchoolName(Wire):
    brin: str
    name: str | None


class Consent(Wire):
    """Where one connection stands with one school or location. `status` is `none` when nothing was ever granted."""

    school: SchoolName
    location: str | None
    client_id: str
    status: str
    reason: Annotated[Reason | None, Field(description="Why nothing is released; null when it may be.")]
    scopes: list[str]
    purposes: list[str]
    valid_from: Moment | None
    valid_until: Moment | None
    grant_id: str | None
    revision: int


@dataclass(frozen=True, slots=True)
class ConsentQuery:
    """The data that a partner asks about: scopes or fields of one type for one purpose; without a type, any data."""

    type: str | None
    scopes: tuple[str, ...]
    fields: tuple[str, ...]
    purpose: str | None
    min_revision: int


def _consent_query(
    resource_type: Annotated[str | None, Query(alias="type", max_length=64, description="As in a decision.")] = None,
    scopes: Annotated[list[ScopeName] | None, Query(max_length=64)] = None,
    fields: Annotated[list[ScopeName] | None, Query(max_length=64)] = None,
    purpose: Annotated[PurposeCode | None, Query()] = None,
    min_revision: Annotated[int, Query(alias="minRevision", ge=0, le=2**53)] = 0,
) -> ConsentQuery:
    if (scopes or fields) and resource_type is None:
        raise InvalidInput("Name the type that the scopes or fields belong to.")
    return ConsentQuery(resource_type, tuple(scopes or ()), tuple(fields or ()), purpose, min_revision)


@router.get("", operation_id="listConsents", responses=answers(200, "ETag"), response_model=Page[Consent])
async def list_consents(
    caller: PartnerClient,
    reading: Reading,
    response: Response,
    query: Annotated[ConsentQuery, Depends(_consent_query)],
    school: Annotated[Place | None, Query(description="Only this school (BRIN4) or location (BRIN6).")] = None,
    status: Annotated[Status | None, Query()] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    if_none_match: Annotated[str | None, Header(max_length=1000)] = None,
) -> Page[Consent] | Response:
    """The caller's consents, in the order of their places; with `school`, also when there is none, and why."""
    client_id = caller.claims.client_id
    if school is None:
        found = await grant_rows.places_of_client(reading.session, client_id, after_key(cursor), limit)
        places, following = part(found, limit, lambda place: place)
    else:
        places, following = await _places(reading, client_id, school), None
    brins = {place[:4] for place in places}
    snapshot = await decision_fact_rows.snapshot_of(reading.session, client_id, brins)
    names = await school_rows.schools_named(reading.session, brins)
    changed = await grant_rows.revisions_of_grants(reading.session, client_id, brins)
    items = [_consent(snapshot, client_id, place, query, names, changed, reading.now) for place in places]
    page = Page[Consent](items=[item for item in items if status in (None, item.status)], next=following)
    return _or_not_modified(page, if_none_match, response)


async def _places(reading: ReadRequest, client_id: str, place: str) -> list[str]:
    """The place, and for a whole school also its locations that have or had a grant of their own."""
    if len(place) > 4:
        return [place]
    return [place, *await grant_rows.locations_of_client(reading.session, client_id, place)]


def _consent(
    snapshot: Snapshot,
    client_id: str,
    place: str,
    query: ConsentQuery,
    names: dict[str, School],
    changed: dict[str, int],
    now: datetime,
) -> Consent:
    decision = _decision(snapshot, client_id, place, query, now)
    if decision.reason is Reason.REVISION_BEHIND:
        raise StoreBehind(f"The store is at revision {snapshot.revision}.")
    grant, _ = grant_for_place(snapshot, client_id, place, now)
    return Consent(
        school=school_name(place[:4], names),
        location=place if len(place) > 4 else None,
        client_id=client_id,
        status=status_at(grant, now) if grant else NO_CONSENT,
        reason=None if decision.permit else decision.reason,
        scopes=sorted(grant.scopes) if grant else [],
        purposes=sorted(grant.purposes) if grant else [],
        valid_from=grant.valid_from if grant else None,
        valid_until=grant.valid_until if grant else None,
        grant_id=grant.grant_id if grant else None,
        revision=changed[grant.grant_id] if grant else snapshot.revision,
    )


def _decision(snapshot: Snapshot, client_id: str, place: str, query: ConsentQuery, now: datetime) -> Decision:
    """The decision on the query; without a type, the first permit of any type, else the deny of the first type."""
    types = (query.type,) if query.type is not None else scopes.RESOURCE_TYPES
    decisions = [
        decide(
            snapshot,
            Question(
                subject_type="partner",
                client_id=client_id,
                action="release",
                resource_type=type_,
                place=place,
                scopes=query.scopes,
                fields=query.fields,
                purpose=query.purpose,
                min_revision=query.min_revision,
            ),
            now,
        )
        for type_ in types
    ]
    return next((decision for decision in decisions if decision.permit), decisions[0])


def school_name(brin: str, names: dict[str, School]) -> SchoolName:
    return SchoolName(brin=brin, name=names[brin].name if brin in names else None)


def _or_not_modified(page: Page[Consent], if_none_match: str | None, response: Response) -> Page[Consent] | Response:
    digest = hashlib.sha256(page.model_dump_json(by_alias=True).encode()).hexdigest()[:32]
    headers = {"ETag": f'"{digest}"', "Cache-Control": "private, no-cache"}
    known = {tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")}
    if known & {"*", headers["ETag"]}:
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return page
