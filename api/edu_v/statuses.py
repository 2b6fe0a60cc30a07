"""What is registered, and what changed: for a partner of its connection, for a school of itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response

from api.contract.components import answers
from api.edu_v import contract
from api.edu_v.answers import CONSUMER_UNKNOWN, OTHER, PROVIDER_UNKNOWN, SCHEMA_INCORRECT, Told, nothing_registered
from api.edu_v.naming import OIE_CODE, IdType, SchoolId, place_named, require_known
from api.edu_v.registrations import (
    API,
    ConsentStatus,
    Position,
    Registration,
    Whose,
    called,
    confirmations_listed,
    latest_request,
    listed,
    of_grants,
    requests_listed,
    revision_before,
    version_of,
)
from api.edu_v.wording import Reference
from api.queries import fact_rows
from api.queries.session import Session
from api.web.callers import Caller, PartnerOrSchool
from api.web.paging import Cursor, Limit, after_key, part
from api.web.preconditions import etag
from api.web.read_request import Reading, ReadRequest
from api.web.schemas import Moment
from models.consents.grants import Grant
from models.consents.references import Party
from models.decision.decision import standing
from models.vocabulary.identifiers import ClientId
from models.vocabulary.refusals import InvalidInput

router = APIRouter(prefix="/consent", tags=["consent"], responses=contract.READ)

#: The standard's own data services, and ours.
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
class Part:
    """Which part of a list is asked for: what changed after `since`, behind the position of the cursor."""

    path: str
    api: AnyApi | None
    since: int | datetime | None
    limit: int
    after: Position
    #: As they came, for the address of what follows.
    given: Mapping[str, str]

    @property
    def nothing(self) -> bool:
        """Whether it is about another data service than ours."""
        return self.api not in (None, API)

    def shown(self, found: Sequence[Registration], now: datetime, response: Response) -> list[ConsentStatus]:
        """What is shown of these, each as it stands at `now`."""
        return self.linked([each.at(now) for each in found], [each.position.name for each in found], response)

    def linked(self, found: Sequence[ConsentStatus], names: Sequence[str], response: Response) -> list[ConsentStatus]:
        """What is shown of these; where more follows, `Link` says how to get it (RFC 8288)."""
        named = list(zip(found, names, strict=True))
        shown, cursor = part(named, self.limit, lambda each: f"{each[0].revision}{SEPARATOR}{each[1]}")
        if cursor is not None:
            query = urlencode({**self.given, "limit": self.limit, "cursor": cursor})
            response.headers["Link"] = f'<{self.path}?{query}>; rel="next"'
        return [item for item, _ in shown]


async def _part(
    request: Request, api: OfApi = None, since: Since = None, limit: Limit = 100, cursor: Cursor = None
) -> Part:
    given = {name: value for name in ("api", "since") if (value := request.query_params.get(name))}
    return Part(request.scope["path"], api, since, limit, _position(cursor), given)


Asked = Annotated[Part, Depends(_part)]


def _position(cursor: str | None) -> Position:
    revision, found, name = after_key(cursor).partition(SEPARATOR)
    if cursor is None:
        return Position(0, "")
    if not (found and revision.isascii() and revision.isdigit() and len(revision) <= 9):
        raise InvalidInput("The cursor is not one of ours.")
    return Position(int(revision), name)


def whose(caller: Caller, client_id: str | None = None) -> Whose:
    """What the caller may see: a partner its connection's, a school its own, of one connection where it names that."""
    if caller.role == "partner":
        return Whose(caller.claims.client_id, None)
    return Whose(client_id, caller.claims.school)


@router.get("/statuses", operation_id="getConsentStatuses", responses=answers(200, "Link"))
async def get_statuses(
    caller: PartnerOrSchool, reading: Reading, asked: Asked, response: Response
) -> list[ConsentStatus]:
    """All consents of the caller, in order of their last change: each grant, and each request that led to none."""
    if asked.nothing:
        return []
    since = await revision_before(reading.session, whose(caller), asked.since)
    found = await listed(reading.session, whose(caller), since, asked.after, asked.limit)
    return asked.shown(found, reading.now, response)


@router.get("/requests", operation_id="getConsentRequests", responses=answers(200, "Link"))
async def get_requests(
    caller: PartnerOrSchool, reading: Reading, asked: Asked, response: Response
) -> list[ConsentStatus]:
    """All requests of the caller's connection, or to the caller's school, with what each led to as it stands now."""
    if asked.nothing:
        return []
    since = await revision_before(reading.session, whose(caller), asked.since)
    found = await requests_listed(reading.session, whose(caller), since, asked.after, asked.limit)
    return asked.shown(found, reading.now, response)


@router.get("/confirmations", operation_id="getConsentConfirmations", responses=answers(200, "Link"))
async def get_confirmations(
    caller: PartnerOrSchool, reading: Reading, asked: Asked, response: Response
) -> list[ConsentStatus]:
    """What the connection has confirmed, each by the name that it confirmed it with, in order of its last change."""
    if asked.nothing:
        return []
    since = await revision_before(reading.session, whose(caller), asked.since)
    found = await confirmations_listed(reading.session, whose(caller), since, asked.after, asked.limit)
    items = [
        each._replace(consumer=reference)
        .at(reading.now)
        .model_copy(update={"revision": max(reference.revision, each.of.revision)})
        for reference, each in found
    ]
    return asked.linked(items, [reference.reference_id for reference, _ in found], response)


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
        raise Told(SCHEMA_INCORRECT, "orgId and orgIdType go together.")
    if org_master_id is not None or org_id is not None:
        place = place_named(org_master_id, [org_id] if org_id is not None and org_id_type == OIE_CODE else [])
        await require_known(reading.session, place, caller.claims.school if caller.role == "school" else None)
    own = whose(caller, client_id)
    if provider_reference_id is not None or consumer_reference_id is not None:
        found = await one(reading.session, own, place, provider_reference_id, consumer_reference_id)
    else:
        found = await _counting(reading, own, place)
    changed_since = await revision_before(reading.session, own, since)
    if api not in (None, API) or found.position.revision <= changed_since:
        raise nothing_registered()
    if isinstance(found.of, Grant):
        response.headers["ETag"] = etag(version_of(found.of))
    return found.at(reading.now)


async def one(
    session: Session, own: Whose, place: str | None, by_provider: str | None, by_consumer: str | None
) -> Registration:
    """The one consent of these references, at this place where one is named. Raises `Told`."""
    found: Registration | None = None
    for party, reference, unknown in (
        (Party.PROVIDER, by_provider, PROVIDER_UNKNOWN),
        (Party.CONSUMER, by_consumer, CONSUMER_UNKNOWN),
    ):
        if reference is None:
            continue
        known = [each for each in await called(session, own, party, reference) if place in (None, each.of.place)]
        if found is not None:
            known = [each for each in known if each.position.name == found.position.name]
        if not known:
            raise Told(unknown, f"Nothing of the caller's is called so there: {party}ReferenceId {reference}.")
        if len(known) > 1:
            raise Told(OTHER, "More than one consent is called so: name the school, and of a school the clientId.", 409)
        found = known[0]
    if found is None:
        raise Told(SCHEMA_INCORRECT, "Name a providerReferenceId or a consumerReferenceId.")
    return found


async def _counting(reading: ReadRequest, own: Whose, place: str | None) -> Registration:
    """What counts at the place by the decision's own rule; where nothing was ever granted, what was asked last."""
    if own.client_id is None or place is None:
        raise Told(SCHEMA_INCORRECT, "Name the school, and of a school also the clientId; or a reference.")
    snapshot = await fact_rows.snapshot_of(reading.session, own.client_id, [place[:4]])
    grant, _ = standing(snapshot, own.client_id, place, reading.now)
    if grant is not None:
        return (await of_grants(reading.session, [await reading.session.get_one(Grant, grant.grant_id)]))[0]
    if (asked := await latest_request(reading.session, own.client_id, place)) is not None:
        return asked
    raise nothing_registered()
