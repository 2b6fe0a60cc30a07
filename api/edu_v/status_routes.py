"""Routes of consent statuses and their changes: a partner reads those of its connection, a school its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response

from api.contract.components import answers
from api.edu_v import contract
from api.edu_v.message_fields import Reference
from api.edu_v.registrations import (
    API,
    ConsentStatus,
    Position,
    Registration,
    Tenant,
    changed_confirmations,
    changed_consents,
    changed_requests,
    consents_named,
    latest_request,
    registrations_of_grants,
    revision_before,
    version_of,
)
from api.edu_v.school_references import OIE_CODE, IdType, SchoolId, place_of_ids, require_known_place
from api.edu_v.status_codes import (
    CONSUMER_UNKNOWN,
    OTHER,
    PROVIDER_UNKNOWN,
    SCHEMA_INCORRECT,
    EduVRefusal,
    nothing_registered,
)
from api.queries import decision_fact_rows
from api.queries.session import Session
from api.web.callers import Caller, PartnerOrSchool
from api.web.paging import Cursor, Limit, after_key, part
from api.web.preconditions import etag
from api.web.read_request import Reading, ReadRequest
from api.web.schemas import Moment
from models.consents.grants import Grant
from models.consents.references import Party
from models.decision.decision import grant_for_place
from models.vocabulary.identifiers import ClientId
from models.vocabulary.refusals import InvalidInput

router = APIRouter(prefix="/consent", tags=["consent"], responses=contract.READ)

#: The standard's nine data services, and ours.
AnyApi = Literal[
    "students-api",
    "employees-api",
    "education-api",
    "association-api",
    "delivery-api",
    "entitlement-api",
    "usage-api",
    "progress-api",
    "results-api",
    "uwlr-api",
]
OfApi = Annotated[AnyApi | None, Query(description="Of the standard's own, nothing is registered here.")]
Since = Annotated[
    Annotated[int, Query(ge=0, le=2**31 - 1)] | Moment | None,
    Query(description="From this moment on (RFC 3339), or after this `revision`, which no clock can spoil."),
]
SEPARATOR: Final = "."


@dataclass(frozen=True, slots=True)
class PageQuery:
    """The query of a list: the consents that changed after `since`, after the position of the cursor."""

    path: str
    api: AnyApi | None
    since: int | datetime | None
    limit: int
    after: Position
    #: The query parameters as sent, for the URL of the next page.
    parameters: Mapping[str, str]

    @property
    def is_of_other_api(self) -> bool:
        """Whether the list is of another data service than ours, and so empty."""
        return self.api not in (None, API)

    def page_of_registrations(
        self, found: Sequence[Registration], now: datetime, response: Response
    ) -> list[ConsentStatus]:
        """The statuses of one page at `now`; sets `Link` where another page follows."""
        return self.page_of([each.at(now) for each in found], [each.position.name for each in found], response)

    def page_of(self, found: Sequence[ConsentStatus], names: Sequence[str], response: Response) -> list[ConsentStatus]:
        """The first `limit` of the statuses, of which `names` break ties; sets `Link` (RFC 8288, `rel="next"`) where
        another page follows."""
        named = list(zip(found, names, strict=True))
        shown, cursor = part(named, self.limit, lambda each: f"{each[0].revision}{SEPARATOR}{each[1]}")
        if cursor is not None:
            query = urlencode({**self.parameters, "limit": self.limit, "cursor": cursor})
            response.headers["Link"] = f'<{self.path}?{query}>; rel="next"'
        return [item for item, _ in shown]


async def _page_query(
    request: Request, api: OfApi = None, since: Since = None, limit: Limit = 100, cursor: Cursor = None
) -> PageQuery:
    parameters = {name: value for name in ("api", "since") if (value := request.query_params.get(name))}
    return PageQuery(request.scope["path"], api, since, limit, _position(cursor), parameters)


RequestedPage = Annotated[PageQuery, Depends(_page_query)]


def _position(cursor: str | None) -> Position:
    revision, found, name = after_key(cursor).partition(SEPARATOR)
    if cursor is None:
        return Position(0, "")
    if not (found and revision.isascii() and revision.isdigit() and len(revision) <= 9):
        raise InvalidInput("The cursor is not one of ours.")
    return Position(int(revision), name)


def tenant_of(caller: Caller, client_id: str | None = None) -> Tenant:
    """The rows that the caller may read: a partner's connection, or a school, for one connection where it names one."""
    if caller.role == "partner":
        return Tenant(caller.claims.client_id, None)
    return Tenant(client_id, caller.claims.school)


@router.get("/statuses", operation_id="getConsentStatuses", responses=answers(200, "Link"))
async def get_statuses(
    caller: PartnerOrSchool, reading: Reading, query: RequestedPage, response: Response
) -> list[ConsentStatus]:
    """All consents of the caller, in order of their last change: each grant, and each request that led to none."""
    if query.is_of_other_api:
        return []
    since = await revision_before(reading.session, tenant_of(caller), query.since)
    found = await changed_consents(reading.session, tenant_of(caller), since, query.after, query.limit)
    return query.page_of_registrations(found, reading.now, response)


@router.get("/requests", operation_id="getConsentRequests", responses=answers(200, "Link"))
async def get_requests(
    caller: PartnerOrSchool, reading: Reading, query: RequestedPage, response: Response
) -> list[ConsentStatus]:
    """All requests of the caller's connection, or to the caller's school, with what each led to as it stands now."""
    if query.is_of_other_api:
        return []
    since = await revision_before(reading.session, tenant_of(caller), query.since)
    found = await changed_requests(reading.session, tenant_of(caller), since, query.after, query.limit)
    return query.page_of_registrations(found, reading.now, response)


@router.get("/confirmations", operation_id="getConsentConfirmations", responses=answers(200, "Link"))
async def get_confirmations(
    caller: PartnerOrSchool, reading: Reading, query: RequestedPage, response: Response
) -> list[ConsentStatus]:
    """What the connection has confirmed, each by the name that it confirmed it with, in order of its last change."""
    if query.is_of_other_api:
        return []
    since = await revision_before(reading.session, tenant_of(caller), query.since)
    found = await changed_confirmations(reading.session, tenant_of(caller), since, query.after, query.limit)
    items = [
        each._replace(consumer=reference)
        .at(reading.now)
        .model_copy(update={"revision": max(reference.revision, each.subject.revision)})
        for reference, each in found
    ]
    return query.page_of(items, [reference.reference_id for reference, _ in found], response)


@router.get("/statuses/school", operation_id="getConsentStatusBySchool", responses=contract.ETAG_OF_ONE)
async def get_status_by_school(
    caller: PartnerOrSchool,
    reading: Reading,
    response: Response,
    org_master_id: Annotated[SchoolId | None, Query(alias="orgMasterId", description="A BRIN4 or BRIN6.")] = None,
    org_id: Annotated[SchoolId | None, Query(alias="orgId")] = None,
    org_id_type: Annotated[IdType | None, Query(alias="orgIdType")] = None,
    api: OfApi = None,
    since: Since = None,
    provider_reference_id: Annotated[Reference | None, Query(alias="providerReferenceId")] = None,
    consumer_reference_id: Annotated[Reference | None, Query(alias="consumerReferenceId")] = None,
    client_id: Annotated[ClientId | None, Query(alias="clientId", description="For a school: of whom.")] = None,
) -> ConsentStatus:
    """The consent that counts at a school or location, else the last request for it; or the one of these references.

    Its ETag is what a notification that changes it sends back.
    """
    place = None
    if (org_id is None) is not (org_id_type is None):
        raise EduVRefusal(SCHEMA_INCORRECT, "orgId and orgIdType go together.")
    if org_master_id is not None or org_id is not None:
        place = place_of_ids(org_master_id, [org_id] if org_id is not None and org_id_type == OIE_CODE else [])
        await require_known_place(reading.session, place, caller.claims.school if caller.role == "school" else None)
    tenant = tenant_of(caller, client_id)
    if provider_reference_id is not None or consumer_reference_id is not None:
        found = await consent_by_reference(reading.session, tenant, place, provider_reference_id, consumer_reference_id)
    else:
        found = await _consent_at_place(reading, tenant, place)
    changed_since = await revision_before(reading.session, tenant, since)
    if api not in (None, API) or found.position.revision <= changed_since:
        raise nothing_registered()
    if isinstance(found.subject, Grant):
        response.headers["ETag"] = etag(version_of(found.subject))
    return found.at(reading.now)


async def consent_by_reference(
    session: Session, tenant: Tenant, place: str | None, by_provider: str | None, by_consumer: str | None
) -> Registration:
    """The one consent with these references, at `place` unless it is None. Raises `EduVRefusal` for none or several."""
    found: Registration | None = None
    for party, reference, unknown in (
        (Party.PROVIDER, by_provider, PROVIDER_UNKNOWN),
        (Party.CONSUMER, by_consumer, CONSUMER_UNKNOWN),
    ):
        if reference is None:
            continue
        known = [
            each
            for each in await consents_named(session, tenant, party, reference)
            if place in (None, each.subject.place)
        ]
        if found is not None:
            known = [each for each in known if each.position.name == found.position.name]
        if not known:
            raise EduVRefusal(unknown, f"Nothing of the caller's is called so there: {party}ReferenceId {reference}.")
        if len(known) > 1:
            raise EduVRefusal(
                OTHER, "More than one consent is called so: name the school, and of a school the clientId.", 409
            )
        found = known[0]
    if found is None:
        raise EduVRefusal(SCHEMA_INCORRECT, "Name a providerReferenceId or a consumerReferenceId.")
    return found


async def _consent_at_place(reading: ReadRequest, tenant: Tenant, place: str | None) -> Registration:
    """The grant that decisions would use at the place; without any grant, the last request. Raises `EduVRefusal`."""
    if tenant.client_id is None or place is None:
        raise EduVRefusal(SCHEMA_INCORRECT, "Name the school, and of a school also the clientId; or a reference.")
    snapshot = await decision_fact_rows.snapshot_of(reading.session, tenant.client_id, [place[:4]])
    grant, _ = grant_for_place(snapshot, tenant.client_id, place, reading.now)
    if grant is not None:
        row = await reading.session.get_one(Grant, grant.grant_id)
        return (await registrations_of_grants(reading.session, [row]))[0]
    if (latest := await latest_request(reading.session, tenant.client_id, place)) is not None:
        return latest
    raise nothing_registered()
