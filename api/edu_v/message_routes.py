"""Routes of messages: a connection requests, confirms and revokes; a school notifies (permits) and revokes.

Each message is about one consent, is answered at once, and follows the same rules as the main contract.
"""

from typing import Annotated, Literal
from uuid import uuid4

from fastapi import APIRouter, Response
from pydantic import Field

from api.edu_v import contract
from api.edu_v.message_fields import OurApi, Reference
from api.edu_v.registrations import (
    ConsentStatus,
    Registration,
    Tenant,
    consents_named,
    count_references,
    references,
    registrations_of_grants,
    registrations_of_requests,
    version_of,
)
from api.edu_v.school_references import NamedSchool, require_known_place
from api.edu_v.status_codes import (
    CONSUMER_USED,
    CREATED,
    OK,
    OTHER,
    PROVIDER_UNKNOWN,
    PROVIDER_USED,
    Code,
    EduVRefusal,
)
from api.edu_v.status_routes import consent_by_reference, tenant_of
from api.grants import granting, request_lifecycle
from api.grants.grant_lifecycle import settle, take_step
from api.grants.granting import GrantPlace
from api.queries import registry_rows
from api.queries.session import Session
from api.store.events import record
from api.web.callers import Caller, PartnerClient, PartnerOrSchool, SchoolByToken
from api.web.preconditions import IfMatch, require_version
from api.web.schemas import Moment, PurposeCodes, Reason, RecordId, ScopeNames, Wire, WireIn
from api.web.write_request import WriteRequest, Writing
from models.consents.grants import Choice, Grant, Step
from models.consents.references import ConsentReference, Party, require_room
from models.consents.requests import AccessRequest, RequestStatus, RequestStep, wish_of
from models.decision.grant_status import OPEN, status_at
from models.vocabulary.event_kinds import EventKind
from models.vocabulary.identifiers import ClientId
from models.vocabulary.refusals import VersionMismatch

router = APIRouter(prefix="/consent", tags=["consent"], responses=contract.WRITE)

#: The reason of a declined request where the school gave none: the standard has no place for it, our rules need one.
NO_REASON = "Geen reden opgegeven."

Scopes = Annotated[ScopeNames, Field(min_length=1, description="Scopes of UWLR, as in the main contract.")]


class Message(WireIn):
    """What every message names."""

    school: NamedSchool
    api: OurApi


class ConsentRequest(Message):
    """What a connection asks. `purposes` and `message` are ours: without purposes, all that it is registered for."""

    consumer_reference_id: Reference
    scopes: Scopes
    consumer_status: Literal["accepted"] | None = None
    purposes: PurposeCodes | None = None
    message: Annotated[Reason | None, Field(description="For the school to read.")] = None


class ConsentConfirmation(Message):
    """That a connection has registered what was granted. `scopes`, where named, are those that it knows of."""

    provider_reference_id: Reference
    consumer_reference_id: Reference
    scopes: Scopes | None = None
    consumer_status: Literal["accepted"] | None = None


class ConsentNotification(Message):
    """What a school permits a connection. `clientId`, `purposes` and what follows them are ours.

    Where there is a grant for the place it becomes this, by If-Match; without `validUntil` it keeps its end.
    """

    provider_reference_id: Annotated[Reference | None, Field(description="Else it is called by its own id.")] = None
    consumer_reference_id: Annotated[Reference | None, Field(description="Of the request that this answers.")] = None
    scopes: Scopes
    provider_status: Literal["accepted"] | None = None
    client_id: ClientId
    purposes: Annotated[PurposeCodes, Field(min_length=1)]
    valid_from: Moment | None = None
    valid_until: Moment | None = None
    agreement_id: RecordId | None = None


class ConsentRevoke(Message):
    """Takes back a whole consent, or a request that waits: a connection its own, a school what is its own to say.

    `scopes`, where named, must be no less than what stands: of a part nothing is taken back here.
    """

    provider_reference_id: Reference | None = None
    consumer_reference_id: Reference | None = None
    scopes: Scopes | None = None
    provider_status: Literal["revoked"] | None = None
    consumer_status: Literal["revoked"] | None = None
    client_id: Annotated[ClientId | None, Field(description="Ours: of a school, whose.")] = None
    reason: Reason | None = None


class Acknowledgement(Wire):
    """The standard's confirming message, with the consent as it now is."""

    status: str
    status_message: str
    consent: ConsentStatus


@router.put(
    "/requests", status_code=201, operation_id="putConsentRequest", responses=contract.put(Acknowledgement, 201)
)
async def put_request(
    caller: PartnerClient, message: ConsentRequest, writing: Writing, response: Response
) -> Acknowledgement:
    """Asks a school. The same message again changes nothing; another one under the same reference is refused."""
    session, client_id, place = writing.session, caller.claims.client_id, message.school.place
    await require_known_place(session, place, None)
    connection = await registry_rows.connection_placed(session, client_id)
    wish = wish_of(connection, message.scopes, message.purposes)
    known = await references(session, Tenant(client_id, None), Party.CONSUMER, message.consumer_reference_id)
    if known:
        before = await session.get(AccessRequest, known[0].request_id) if known[0].request_id is not None else None
        if before is None or before.place != place or request_lifecycle.wish_of_request(before) != wish:
            raise EduVRefusal(CONSUMER_USED, "It is the name of another request, or of a consent.")
        return _acknowledge(writing, response, OK, (await registrations_of_requests(session, [before]))[0])
    (made,), _ = await request_lifecycle.ask(writing, connection, wish, [place], caller.actor, message.message)
    await session.flush()
    name = _new_reference(writing, client_id, place, Party.CONSUMER, message.consumer_reference_id)
    name.request_id = made.request_id
    _record_reference(writing, caller, name)
    return _acknowledge(writing, response, CREATED, (await registrations_of_requests(session, [made]))[0])


@router.put(
    "/confirmations",
    status_code=201,
    operation_id="putConsentConfirmation",
    responses=contract.put(Acknowledgement, 201),
)
async def put_confirmation(
    caller: PartnerClient, message: ConsentConfirmation, writing: Writing, response: Response
) -> Acknowledgement:
    """Notes that the connection has registered a grant, and how it calls it. What may be released is not changed."""
    session, client_id, place = writing.session, caller.claims.client_id, message.school.place
    await require_known_place(session, place, None)
    tenant = Tenant(client_id, None)
    grant = (await consent_by_reference(session, tenant, place, message.provider_reference_id, None)).subject
    if not isinstance(grant, Grant):
        raise EduVRefusal(PROVIDER_UNKNOWN, "It is not the name of a grant.")
    if (stands := status_at(grant, writing.now)) not in OPEN:
        raise EduVRefusal(OTHER, f"The consent is {stands}.", 409)
    if message.scopes is not None and set(message.scopes) != set(grant.scopes):
        raise EduVRefusal(OTHER, "The grant is for other scopes: read it again.", 409)
    known = await references(session, tenant, Party.CONSUMER, message.consumer_reference_id)
    name = (
        known[0] if known else _new_reference(writing, client_id, place, Party.CONSUMER, message.consumer_reference_id)
    )
    if known and grant.grant_id not in [
        each.subject.grant_id for each in await consents_named(session, tenant, Party.CONSUMER, name.reference)
    ]:
        raise EduVRefusal(CONSUMER_USED, "It is the name of another consent.")
    if name.confirmed_at is None:
        await _refer_to_grant(writing, caller, name, grant, confirmed=True)
        await session.flush()
    code = CREATED if name.revision == writing.write.revision else OK
    return _acknowledge(writing, response, code, (await registrations_of_grants(session, [grant]))[0])


@router.put(
    "/notifications",
    status_code=201,
    operation_id="putConsentNotification",
    responses=contract.put(Acknowledgement, 201),
)
async def put_notification(
    caller: SchoolByToken,
    message: ConsentNotification,
    writing: Writing,
    response: Response,
    if_match: IfMatch = None,
) -> Acknowledgement:
    """Permits a connection to receive these scopes for these purposes. A request that waits is answered by it."""
    session, client_id, place = writing.session, message.client_id, message.school.place
    await require_known_place(session, place, caller.claims.school)
    tenant = Tenant(client_id, caller.claims.school)
    await registry_rows.connection_placed(session, client_id)
    if message.consumer_reference_id is not None:
        await consent_by_reference(session, tenant, place, None, message.consumer_reference_id)
    where = GrantPlace(place[:4], place if len(place) > 4 else None)
    grant = await granting.settled_open_grant(writing, client_id, where)
    if grant is None and if_match is not None:
        raise VersionMismatch("There is no grant that stands: what was read has ended.")
    await _require_free(session, tenant, message.provider_reference_id, grant)
    code = CREATED if grant is None else OK
    if grant is None:
        choice = _choice(message, None)
        grant, _ = await granting.give(writing, client_id, where, choice, message.agreement_id, caller.actor)
    else:
        require_version(if_match, version_of(grant))
        await granting.amend(writing, grant, _choice(message, grant), message.agreement_id, caller.actor)
    await session.flush()
    reference = message.provider_reference_id
    if reference not in (None, grant.grant_id) and not await references(session, tenant, Party.PROVIDER, reference):
        name = _new_reference(writing, client_id, place, Party.PROVIDER, reference)
        await _refer_to_grant(writing, caller, name, grant)
    return _acknowledge(writing, response, code, (await registrations_of_grants(session, [grant]))[0])


@router.put("/revokes", operation_id="putConsentRevoke", responses=contract.put(Acknowledgement))
async def put_revoke(
    caller: PartnerOrSchool, message: ConsentRevoke, writing: Writing, response: Response
) -> Acknowledgement:
    """Ends a consent for good, from the answer on; or takes back, of a school declines, a request that waits.

    What has ended stays ended: then nothing is changed.
    """
    session, place = writing.session, message.school.place
    await require_known_place(session, place, caller.claims.school if caller.role == "school" else None)
    tenant = tenant_of(caller, message.client_id)
    found = await consent_by_reference(
        session, tenant, place, message.provider_reference_id, message.consumer_reference_id
    )
    if isinstance(found.subject, Grant):
        await _revoke(writing, caller, found.subject, message)
        await session.flush()
        return _acknowledge(writing, response, OK, (await registrations_of_grants(session, [found.subject]))[0])
    if found.subject.status == RequestStatus.OPEN:
        session.add(found.subject)
        if caller.role == "partner":
            request_lifecycle.take_step(
                writing.write, found.subject, RequestStep.WITHDRAW, caller.actor, message.reason
            )
        else:
            request_lifecycle.take_step(
                writing.write, found.subject, RequestStep.DECLINE, caller.actor, message.reason or NO_REASON
            )
        await session.flush()
    return _acknowledge(writing, response, OK, (await registrations_of_requests(session, [found.subject]))[0])


async def _revoke(writing: WriteRequest, caller: Caller, grant: Grant, message: ConsentRevoke) -> None:
    partner = (await registry_rows.partners_of_grants(writing.session, [grant]))[grant.client_id]
    settle(writing.write, grant, partner)
    if grant.status not in OPEN:
        return
    if message.scopes is not None and set(grant.scopes) - set(message.scopes):
        raise EduVRefusal(OTHER, "More was permitted than these scopes: a consent is taken back as a whole.", 409)
    take_step(writing.write, grant, partner, Step.REVOKE, caller.actor, message.reason)


async def _require_free(session: Session, tenant: Tenant, reference: str | None, grant: Grant | None) -> None:
    """Raises `EduVRefusal` where the school uses the reference for another consent."""
    if reference is None:
        return
    known = {each.position.name for each in await consents_named(session, tenant, Party.PROVIDER, reference)}
    if known - {grant.grant_id if grant is not None else None}:
        raise EduVRefusal(PROVIDER_USED, "It is the name of another consent.")


def _choice(message: ConsentNotification, present: Grant | None) -> Choice:
    """The choice of a notification; one without `validUntil` keeps the end of the present grant."""
    keeps = present is not None and "valid_until" not in message.model_fields_set
    return Choice(
        scopes=frozenset(message.scopes),
        purposes=frozenset(message.purposes),
        valid_from=message.valid_from,
        valid_until=present.valid_until if keeps and present is not None else message.valid_until,
    )


def _new_reference(writing: WriteRequest, client_id: str, place: str, party: Party, reference: str) -> ConsentReference:
    return ConsentReference(
        reference_id=str(uuid4()),
        client_id=client_id,
        brin=place[:4],
        party=party,
        reference=reference,
        revision=writing.write.revision,
        created_at=writing.now,
    )


async def _refer_to_grant(
    writing: WriteRequest, caller: Caller, name: ConsentReference, grant: Grant, *, confirmed: bool = False
) -> None:
    """Makes `name` a reference to the grant. Raises the refusal of `require_room` beyond the limit of names."""
    require_room(await count_references(writing.session, grant, Party(name.party)))
    name.grant_id, name.confirmed_at = grant.grant_id, writing.now if confirmed else None
    _record_reference(writing, caller, name)


def _record_reference(writing: WriteRequest, caller: Caller, name: ConsentReference) -> None:
    """Stores a reference with its event, which changes nothing about what may be released."""
    name.revision = writing.write.revision
    writing.session.add(name)
    state = {
        "referenceId": name.reference_id,
        "clientId": name.client_id,
        "school": name.brin,
        "party": name.party,
        "reference": name.reference,
        "requestId": name.request_id,
        "grantId": name.grant_id,
        "confirmedAt": name.confirmed_at.isoformat() if name.confirmed_at is not None else None,
    }
    kind = EventKind.CONSENT_REFERENCED
    record(writing.write, kind, caller.actor, state, brin=name.brin, client_id=name.client_id)


def _acknowledge(writing: WriteRequest, response: Response, code: Code, found: Registration) -> Acknowledgement:
    response.status_code = writing.status = code.http
    acknowledgement = Acknowledgement(
        status=code.status, status_message=code.message or "", consent=found.at(writing.now)
    )
    if isinstance(found.subject, Grant):
        return writing.answer(acknowledgement, version_of(found.subject))
    return writing.answer(acknowledgement, found.subject.version)
