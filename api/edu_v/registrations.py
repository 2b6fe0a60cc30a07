"""Registrations of consents as the standard has them: one for each grant, and one for each request without a grant.

Every read is limited to a `Tenant`: a partner's connection, or a school.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, NamedTuple

from pydantic import Field
from sqlalchemy import ColumnElement, and_, case, or_
from sqlmodel import col, func, select

from api.edu_v.school_references import SchoolReference, reference_to
from api.queries import request_rows
from api.queries.session import Session
from api.web.schemas import Moment, Wire
from models.consents.grants import Grant
from models.consents.references import ConsentReference, Party
from models.consents.requests import AccessRequest, RequestStatus
from models.decision.grant_status import NOT_YET, Status, status_at
from models.log.events import Event

#: Our one data service. The nine of the standard exchange other data than UWLR-L: a consent for one of them permits
#: nothing here.
API: Final = "uwlr-api"
#: A number above every revision.
NEVER: Final = 2**31 - 1


class ProviderStatus(StrEnum):
    """Where a consent stands on the school's side. Nothing but `accepted` permits anything."""

    REQUESTED = "requested"
    ACCEPTED = "accepted"
    SUSPENDED = "suspended"
    NEEDS_RECONFIRMATION = "needs_reconfirmation"
    DECLINED = "declined"
    REVOKED = "revoked"
    EXPIRED = "expired"


class ConsumerStatus(StrEnum):
    """Where it stands on the connection's side, which accepted what it asked for itself, or has confirmed."""

    UNCONFIRMED = "unconfirmed"
    ACCEPTED = "accepted"
    REVOKED = "revoked"


class ConsentStatus(Wire):
    """A consent as it stands. A reference that there is not (yet) is empty."""

    provider_reference_id: Annotated[str, Field(description="Empty while a request was not accepted.")]
    consumer_reference_id: Annotated[str, Field(description="Empty until the connection has given one.")]
    school: SchoolReference
    api: str
    scopes: list[str]
    provider_status: ProviderStatus
    consumer_status: ConsumerStatus
    client_id: str
    purposes: list[str]
    valid_from: Moment | None
    valid_until: Moment | None
    changed_at: Moment
    revision: Annotated[int, Field(description="What `since` takes: what changed after this one comes next.")]


class Tenant(NamedTuple):
    """The rows of one connection, of one school, or of both; at least one of the two is the caller's own."""

    client_id: str | None
    brin: str | None


class Position(NamedTuple):
    """A position in a list that is sorted by last change."""

    revision: int
    name: str


class Registration(NamedTuple):
    """A consent: a grant with the last request that led to it, or a request with the grant that it led to, if any; and
    the references of both sides to it."""

    subject: Grant | AccessRequest
    request: AccessRequest | None
    grant: Grant | None
    consumer: ConsentReference | None
    provider: ConsentReference | None

    @property
    def position(self) -> Position:
        """The position by last change. A confirmation changes the registration of a grant, and not the grant."""
        revision = self.subject.revision
        if isinstance(self.subject, AccessRequest):
            # The grant that a request led to changes its registration too.
            return Position(
                revision if self.grant is None else max(revision, self.grant.revision), self.subject.request_id
            )
        if self.consumer is not None and self.consumer.grant_id is not None:
            revision = max(revision, self.consumer.revision)
        return Position(revision, self.subject.grant_id)

    def at(self, now: datetime) -> ConsentStatus:
        """The status of the consent at `now`; once granted, with the scopes of the grant, which may be fewer."""
        shown = self.subject if self.grant is None else self.grant
        return ConsentStatus(
            provider_reference_id=self._provider_name(),
            consumer_reference_id=self.consumer.reference if self.consumer is not None else "",
            school=reference_to(self.subject.place),
            api=API,
            scopes=sorted(shown.scopes),
            provider_status=self._provider_status(now),
            consumer_status=self._consumer_status(),
            client_id=self.subject.client_id,
            purposes=sorted(shown.purposes),
            valid_from=self.grant.valid_from if self.grant is not None else None,
            valid_until=self.grant.valid_until if self.grant is not None else None,
            changed_at=max(self.subject.changed_at, shown.changed_at),
            revision=self.position.revision,
        )

    def _provider_name(self) -> str:
        if self.grant is None:
            return ""
        return self.provider.reference if self.provider is not None else self.grant.grant_id

    def _provider_status(self, now: datetime) -> ProviderStatus:
        if self.grant is not None:
            return OF_GRANTS[status_at(self.grant, now)]
        declined = self.subject.status == RequestStatus.DECLINED
        return ProviderStatus.DECLINED if declined else ProviderStatus.REQUESTED

    def _consumer_status(self) -> ConsumerStatus:
        if self.request is not None:
            withdrawn = self.request.status == RequestStatus.WITHDRAWN
            return ConsumerStatus.REVOKED if withdrawn else ConsumerStatus.ACCEPTED
        confirmed = self.consumer is not None and self.consumer.confirmed_at is not None
        return ConsumerStatus.ACCEPTED if confirmed else ConsumerStatus.UNCONFIRMED


def version_of(grant: Grant) -> str:
    """The version of a grant for its ETag, with its id: a place is read here, and may have another grant next time."""
    return f"{grant.grant_id}.{grant.version}"


OF_GRANTS: Final = {
    Status.GRANTED: ProviderStatus.ACCEPTED,
    Status.SUSPENDED: ProviderStatus.SUSPENDED,
    Status.NEEDS_RECONFIRMATION: ProviderStatus.NEEDS_RECONFIRMATION,
    Status.REVOKED: ProviderStatus.REVOKED,
    Status.EXPIRED: ProviderStatus.EXPIRED,
}


# -- reads of registrations -------------------------------------------------------------------------------------------


async def revision_before(session: Session, tenant: Tenant, since: int | datetime | None) -> int:
    """`since` as a revision: itself, or for an instant the revision before the first change since that instant.

    Counts from the first change since and not from the last change before: where a clock was set back, a change is
    listed twice rather than never.
    """
    if since is None or isinstance(since, int):
        return since or 0
    first = select(func.min(Event.revision)).where(col(Event.at) >= since, *_of_tenant(Event, tenant))
    found: int | None = (await session.exec(first)).one()
    return NEVER if found is None else found - 1


async def changed_consents(
    session: Session, tenant: Tenant, since: int, after: Position, limit: int
) -> list[Registration]:
    """The consents that changed after `since`, in order of their last change; at most `limit` + 1."""
    confirmed = select(ConsentReference.grant_id, func.max(ConsentReference.revision).label("revision"))
    confirmed = confirmed.where(col(ConsentReference.grant_id).is_not(None), ConsentReference.party == Party.CONSUMER)
    last = confirmed.where(*_of_tenant(ConsentReference, tenant)).group_by(col(ConsentReference.grant_id)).subquery()
    changed = case((last.c.revision > Grant.revision, last.c.revision), else_=Grant.revision)
    query = select(Grant).outerjoin(last, last.c.grant_id == Grant.grant_id).where(*_of_tenant(Grant, tenant))
    query = query.where(col(Grant.status).not_in(NOT_YET), *_after(changed, col(Grant.grant_id), since, after))
    grants = (await session.exec(query.order_by(changed, col(Grant.grant_id)).limit(limit + 1))).all()
    without = (col(AccessRequest.grant_id).is_(None),)
    requests = await _requests(session, tenant, since, after, limit, *without)
    found = [*await registrations_of_grants(session, grants), *await registrations_of_requests(session, requests)]
    return sorted(found, key=lambda each: each.position)[: limit + 1]


async def changed_requests(
    session: Session, tenant: Tenant, since: int, after: Position, limit: int
) -> list[Registration]:
    """The requests that changed after `since`, answered ones too, in order of their last change or of their grant's; at
    most `limit` + 1."""
    return await registrations_of_requests(session, await _requests(session, tenant, since, after, limit))


async def changed_confirmations(
    session: Session, tenant: Tenant, since: int, after: Position, limit: int
) -> list[tuple[ConsentReference, Registration]]:
    """The confirmations of connections that changed after `since`, each with its consent, in order of the last change
    of either; at most `limit` + 1."""
    changed, name = _last_change(ConsentReference), col(ConsentReference.reference_id)
    query = select(ConsentReference).join(Grant, col(Grant.grant_id) == ConsentReference.grant_id)
    query = query.where(
        col(ConsentReference.confirmed_at).is_not(None),
        *_of_tenant(ConsentReference, tenant),
        *_after(changed, name, since, after),
    ).order_by(changed, name)
    found = (await session.exec(query.limit(limit + 1))).all()
    confirmed = {each.grant_id for each in found}
    grants = (await session.exec(select(Grant).where(col(Grant.grant_id).in_(confirmed)))).all()
    by_grant = {each.position.name: each for each in await registrations_of_grants(session, grants)}
    return [(each, by_grant[each.grant_id]) for each in found if each.grant_id is not None]


async def references(session: Session, tenant: Tenant, party: Party, reference: str) -> Sequence[ConsentReference]:
    """The rows of a reference that one side uses."""
    query = select(ConsentReference).where(
        ConsentReference.party == party, ConsentReference.reference == reference, *_of_tenant(ConsentReference, tenant)
    )
    return (await session.exec(query.order_by(col(ConsentReference.reference_id)))).all()


async def count_references(session: Session, grant: Grant, party: Party) -> int:
    """The number of references that one side has given a grant."""
    query = select(func.count()).select_from(ConsentReference)
    found = query.where(ConsentReference.grant_id == grant.grant_id, ConsentReference.party == party)
    return (await session.exec(found)).one()


async def consents_named(session: Session, tenant: Tenant, party: Party, reference: str) -> list[Registration]:
    """The consents that one side refers to by `reference`. On the school's side a grant's own id is a reference too."""
    found = await references(session, tenant, party, reference)
    of_references = select(AccessRequest).where(
        col(AccessRequest.request_id).in_({each.request_id for each in found} - {None})
    )
    requests = (await session.exec(of_references.where(*_of_tenant(AccessRequest, tenant)))).all()
    led_to = {each.grant_id for each in found} | {each.grant_id for each in requests}
    named = led_to | {reference} if party is Party.PROVIDER else led_to
    grants = select(Grant).where(col(Grant.grant_id).in_(named - {None}), *_of_tenant(Grant, tenant))
    open_ones = [each for each in requests if each.grant_id is None]
    granted = (await session.exec(grants.where(col(Grant.status).not_in(NOT_YET)))).all()
    return [*await registrations_of_grants(session, granted), *await registrations_of_requests(session, open_ones)]


async def registrations_of_grants(session: Session, grants: Sequence[Grant]) -> list[Registration]:
    """The registrations of grants, in their order."""
    if not grants:
        return []
    ids = {each.grant_id for each in grants}
    of_references = select(AccessRequest).where(col(AccessRequest.grant_id).in_(ids))
    requests = (await session.exec(of_references.order_by(col(AccessRequest.asked_in_entry)))).all()
    led_to = {each.request_id: each.grant_id for each in requests}
    names = select(ConsentReference).where(
        or_(col(ConsentReference.grant_id).in_(ids), col(ConsentReference.request_id).in_(led_to))
    )
    found = (await session.exec(names.order_by(col(ConsentReference.revision)))).all()
    last = {(each.party, each.grant_id or led_to.get(each.request_id or "")): each for each in found}
    request_of = {each.grant_id: each for each in requests}
    return [
        Registration(
            each,
            request_of.get(each.grant_id),
            each,
            last.get((Party.CONSUMER, each.grant_id)),
            last.get((Party.PROVIDER, each.grant_id)),
        )
        for each in grants
    ]


async def registrations_of_requests(session: Session, requests: Sequence[AccessRequest]) -> list[Registration]:
    """The registrations of requests, in their order, each with the grant that it led to."""
    if not requests:
        return []
    ids, led_to = {each.request_id for each in requests}, {each.grant_id for each in requests} - {None}
    names = select(ConsentReference).where(
        or_(
            col(ConsentReference.request_id).in_(ids),
            and_(col(ConsentReference.grant_id).in_(led_to), col(ConsentReference.party) == Party.PROVIDER),
        )
    )
    found = (await session.exec(names.order_by(col(ConsentReference.revision)))).all()
    consumers = {each.request_id: each for each in found if each.party == Party.CONSUMER}
    providers = {each.grant_id: each for each in found if each.party == Party.PROVIDER}
    grants = await session.exec(select(Grant).where(col(Grant.grant_id).in_(led_to)))
    by_id = {each.grant_id: each for each in grants}
    return [
        Registration(
            each,
            each,
            by_id.get(each.grant_id or ""),
            consumers.get(each.request_id),
            providers.get(each.grant_id) if each.grant_id is not None else None,
        )
        for each in requests
    ]


async def latest_request(session: Session, client_id: str, place: str) -> Registration | None:
    """The last request of a connection for a place; None without one, or where it led to a grant."""
    found = (await request_rows.latest_requests(session, client_id, [place[:4]])).get(place)
    if found is None or found.grant_id is not None:
        return None
    return (await registrations_of_requests(session, [found]))[0]


async def _requests(
    session: Session, tenant: Tenant, since: int, after: Position, limit: int, *more: ColumnElement[bool]
) -> Sequence[AccessRequest]:
    changed, name = _last_change(AccessRequest), col(AccessRequest.request_id)
    query = select(AccessRequest).outerjoin(Grant, col(Grant.grant_id) == AccessRequest.grant_id)
    query = query.where(*_of_tenant(AccessRequest, tenant), *_after(changed, name, since, after), *more)
    query = query.order_by(changed, name)
    return (await session.exec(query.limit(limit + 1))).all()


def _last_change(table: type[AccessRequest] | type[ConsentReference]) -> Any:
    """The later of the revisions of a row and of the grant that it is joined with."""
    return case((col(Grant.revision) > col(table.revision), Grant.revision), else_=table.revision)


def _after(revision: Any, name: Any, since: int, after: Position) -> tuple[ColumnElement[bool], ...]:
    same = and_(revision == after.revision, name > after.name)
    return revision > since, or_(revision > after.revision, same)


def _of_tenant(table: Any, tenant: Tenant) -> Iterable[ColumnElement[bool]]:
    """The conditions that limit a query to the tenant's rows. Raises `ValueError` for a tenant without a member."""
    if tenant.client_id is None and tenant.brin is None:
        raise ValueError("a tenant has a connection or a school")
    if tenant.client_id is not None:
        yield table.client_id == tenant.client_id
    if tenant.brin is not None:
        yield table.brin == tenant.brin
