"""Routes of operators: the register of connections, and what a change of one does to its grants and requests."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field, StringConstraints

from api.contract.components import VERSION_REQUIRED, answers, refuses
from api.grants import request_lifecycle
from api.grants.grant_lifecycle import append_event, apply_time, take_step
from api.grants.offers import GroundRuleState, RequestedScopes, by_client, rule_states
from api.queries import grant_rows, registry_rows
from api.queries.session import Session
from api.registry.partner_routes import touch
from api.store.events import Actor, record
from api.web.callers import Caller, Operator, OwnConnection
from api.web.paging import Cursor, Limit, after_key, part
from api.web.preconditions import IfMatch, etag, require_version
from api.web.read_request import Reading
from api.web.schemas import Moment, Name, Page, PurposeCodes, ScopeNames, Wire, WireIn, distinct
from api.web.write_request import WriteRequest, Writing
from models.consents.grants import Step
from models.consents.partners import (
    Connection,
    Partner,
    RecipientRole,
    Stage,
    is_live,
    is_stopped,
    is_widened,
    require_sound_request,
)
from models.consents.requests import Wish
from models.decision.grant_status import Status
from models.vocabulary import purposes
from models.vocabulary.event_kinds import EventKind
from models.vocabulary.identifiers import ClientId, KvkNumber
from models.vocabulary.periods import holds
from models.vocabulary.refusals import AlreadyExists, InvalidInput

router = APIRouter(prefix="/v1", tags=["operators"])


class NewScopes(WireIn):
    required: ScopeNames
    optional: ScopeNames = Field(default_factory=list)


class ScopesAsked(WireIn):
    """Both lists, whole: what is not in them is asked for no longer."""

    required: ScopeNames
    optional: ScopeNames


class NewConnection(WireIn):
    """One application or leermiddel of a partner, and what it asks schools for."""

    client_id: ClientId
    kvk_number: KvkNumber
    name: Name
    profile: Annotated[str, StringConstraints(min_length=1, max_length=40), Field(examples=["smalle-set@2.3"])]
    recipient_role: RecipientRole = RecipientRole.PROCESSOR
    scopes: NewScopes
    purposes: Annotated[PurposeCodes, Field(min_length=1)]


class ConnectionChange(WireIn):
    """What changes; what is left out stays as it is. Asking for more makes its grants need reconfirmation."""

    name: Name | None = None
    scopes: ScopesAsked | None = None
    purposes: Annotated[PurposeCodes, Field(min_length=1)] | None = None


class RegisteredConnection(Wire):
    """A connection as the register holds it. `requestVersion` counts how often its request was widened."""

    client_id: str
    kvk_number: str
    name: str
    profile: str
    recipient_role: RecipientRole
    scopes: RequestedScopes
    purposes: list[str]
    stage: Stage
    stopped_at: Annotated[Moment | None, Field(description="Since when an emergency stop of its own denies it.")]
    request_version: int
    version: int
    revision: int
    created_at: Moment
    changed_at: Moment


class ConnectionInRegister(RegisteredConnection):
    """A connection, and how it stands now."""

    ground_rules: list[GroundRuleState]
    stopped: Annotated[bool, Field(description="An emergency stop, its own or its partner's, denies it everywhere.")]
    eligible: Annotated[
        bool, Field(description="Live, not stopped, every ground rule kept, and an agreement in force somewhere.")
    ]


@router.post("/connections", status_code=201, operation_id="registerConnection", responses=answers(201, "ETag"))
async def register_connection(caller: Operator, wish: NewConnection, writing: Writing) -> ConnectionInRegister:
    """Registers a connection of a partner, with what it asks for."""
    if await writing.session.get(Connection, wish.client_id) is not None:
        raise AlreadyExists(f"The connection {wish.client_id} is registered already.")
    if await writing.session.get(Partner, wish.kvk_number) is None:
        raise InvalidInput(f"There is no partner {wish.kvk_number}.")
    purposes.require_known(wish.purposes)
    require_sound_request(wish.profile, wish.scopes.required, wish.scopes.optional)
    connection = Connection(
        **wish.model_dump(exclude={"scopes", "purposes"}),
        required_scopes=distinct(wish.scopes.required),
        optional_scopes=distinct(wish.scopes.optional),
        purposes=distinct(wish.purposes),
        revision=writing.write.revision,
        created_at=writing.now,
        changed_at=writing.now,
    )
    return await saved_connection(writing, connection, EventKind.CONNECTION_REGISTERED, caller)


@router.get("/connections", operation_id="listConnections")
async def list_connections(
    caller: Operator, reading: Reading, limit: Limit = 100, cursor: Cursor = None
) -> Page[ConnectionInRegister]:
    """All connections, by client id."""
    found = await registry_rows.connections(reading.session, after_key(cursor), limit)
    shown, following = part(found, limit, lambda connection: connection.client_id)
    return Page(items=await _register_views(reading.session, shown, reading.now), next=following)


@router.get("/connections/{client_id}", operation_id="getConnection", responses=answers(200, "ETag"))
async def get_connection(
    caller: OwnConnection, client_id: ClientId, reading: Reading, response: Response
) -> ConnectionInRegister:
    """One connection; a partner sees its own."""
    connection = await registry_rows.connection(reading.session, client_id)
    response.headers["ETag"] = etag(connection.version)
    return (await _register_views(reading.session, [connection], reading.now))[0]


@router.patch(
    "/connections/{client_id}",
    operation_id="changeConnection",
    responses=answers(200, "ETag") | refuses(VERSION_REQUIRED),
)
async def change_connection(
    caller: Operator, client_id: ClientId, wish: ConnectionChange, writing: Writing, if_match: IfMatch = None
) -> ConnectionInRegister:
    """Changes what a connection asks for. More never widens a grant: the schools are asked again."""
    connection = await registry_rows.connection(writing.session, client_id)
    require_version(if_match, connection.version)
    requested = wish.scopes or ScopesAsked(required=connection.required_scopes, optional=connection.optional_scopes)
    requested_purposes = wish.purposes if wish.purposes is not None else connection.purposes
    purposes.require_known(requested_purposes)
    require_sound_request(connection.profile, requested.required, requested.optional)
    before = Wish(*map(frozenset, (connection.required_scopes, connection.optional_scopes, connection.purposes)))
    widened = is_widened(
        connection, frozenset(requested.required), frozenset(requested.optional), frozenset(requested_purposes)
    )
    connection.name = wish.name or connection.name
    connection.required_scopes = distinct(requested.required)
    connection.optional_scopes = distinct(requested.optional)
    connection.purposes = distinct(requested_purposes)
    touch(writing, connection)
    if widened:
        connection.request_version += 1
        await ask_schools_again(writing, connection, caller.actor)
    await request_lifecycle.update_open_requests(writing.write, connection, before, caller.actor)
    return await saved_connection(writing, connection, EventKind.CONNECTION_CHANGED, caller)


async def _register_views(
    session: Session, connections: Sequence[Connection], now: datetime
) -> list[ConnectionInRegister]:
    client_ids = [connection.client_id for connection in connections]
    partners = await registry_rows.partners_of(session, connections)
    rules = by_client(await registry_rows.ground_rules(session, client_ids))
    agreements = by_client(await registry_rows.agreements(session, client_ids))
    return [
        _register_view(
            connection,
            partners[connection.kvk_number],
            rule_states(rules.get(connection.client_id, ()), now),
            any(holds(each, now) for each in agreements.get(connection.client_id, ())),
        )
        for connection in connections
    ]


def _register_view(
    connection: Connection, partner: Partner, ground_rules: list[GroundRuleState], has_agreement: bool
) -> ConnectionInRegister:
    return ConnectionInRegister(
        **registered(connection).model_dump(),
        ground_rules=ground_rules,
        stopped=is_stopped(connection, partner),
        eligible=is_live(connection, partner) and has_agreement and all(rule.kept for rule in ground_rules),
    )


async def saved_connection(
    writing: WriteRequest, connection: Connection, kind: EventKind, caller: Caller, reason: str | None = None
) -> ConnectionInRegister:
    """Stores the connection and appends the event of its change; returns the answer, with its ETag."""
    writing.session.add(connection)
    state = registered(connection).model_dump(mode="json", by_alias=True)
    record(writing.write, kind, caller.actor, state, client_id=connection.client_id, reason=reason)
    shown = (await _register_views(writing.session, [connection], writing.now))[0]
    return writing.answer(shown, connection.version)


async def ask_schools_again(writing: WriteRequest, connection: Connection, actor: Actor) -> None:
    """Marks the granted grants of a connection as needing reconfirmation, after its request was widened.

    A suspended grant needs it once it is resumed; so that a school resumes it, its suspension no longer ends by time.
    """
    partner = await registry_rows.partner(writing.session, connection.kvk_number)
    for grant in await grant_rows.grants_open(writing.session, connection.client_id):
        apply_time(writing.write, grant, partner)
        if grant.status == Status.GRANTED:
            take_step(writing.write, grant, partner, Step.ASK_AGAIN, actor)
        elif grant.status == Status.SUSPENDED and grant.suspended_until is not None:
            grant.suspended_until = None
            grant.version += 1
            reason = "The connection asks anew: the suspension no longer ends by itself."
            append_event(writing.write, grant, partner, EventKind.GRANT_SUSPENDED, actor, reason)


def registered(connection: Connection) -> RegisteredConnection:
    """The view of a connection, without what depends on other rows; also its state in the log."""
    return RegisteredConnection(
        scopes=RequestedScopes(required=connection.required_scopes, optional=connection.optional_scopes),
        **connection.model_dump(exclude={"required_scopes", "optional_scopes"}),
    )
