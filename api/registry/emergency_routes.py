"""Routes of the emergency stop: one call denies a partner or a connection everywhere at once; another one lifts it.

Grants are not changed. The next decision of every replica denies, since it reads the register's current revision.
"""

from fastapi import APIRouter

from api.contract.components import answers
from api.queries import registry_rows
from api.registry.connection_routes import ConnectionInRegister, saved_connection
from api.registry.partner_routes import PartnerView, saved_partner, touch
from api.web.callers import Operator
from api.web.schemas import Reason, WireIn
from api.web.write_request import WriteRequest, Writing
from models.consents.partners import Connection, Partner
from models.vocabulary.event_kinds import EventKind
from models.vocabulary.identifiers import ClientId, KvkNumber
from models.vocabulary.refusals import TransitionNotAllowed

router = APIRouter(prefix="/v1", tags=["operators"])


class EmergencyStop(WireIn):
    """Why it is stopped, or why it may go on."""

    reason: Reason


@router.post("/partners/{kvk_number}/_stop", operation_id="stopPartner", responses=answers(200, "ETag"))
async def stop_partner(caller: Operator, kvk_number: KvkNumber, wish: EmergencyStop, writing: Writing) -> PartnerView:
    """Denies every connection of a partner, everywhere, from the moment of the answer."""
    partner = await registry_rows.partner(writing.session, kvk_number)
    _stop(writing, partner)
    await _mark_connections_changed(writing, partner)
    return saved_partner(writing, partner, EventKind.PARTNER_STOPPED, caller, wish.reason)


@router.post("/partners/{kvk_number}/_lift", operation_id="liftPartnerStop", responses=answers(200, "ETag"))
async def lift_partner_stop(
    caller: Operator, kvk_number: KvkNumber, wish: EmergencyStop, writing: Writing
) -> PartnerView:
    """Undoes the partner's stop. A connection that was stopped by itself stays so."""
    partner = await registry_rows.partner(writing.session, kvk_number)
    _lift(writing, partner)
    await _mark_connections_changed(writing, partner)
    return saved_partner(writing, partner, EventKind.PARTNER_STOP_LIFTED, caller, wish.reason)


@router.post("/connections/{client_id}/_stop", operation_id="stopConnection", responses=answers(200, "ETag"))
async def stop_connection(
    caller: Operator, client_id: ClientId, wish: EmergencyStop, writing: Writing
) -> ConnectionInRegister:
    """Denies a connection, everywhere, from the moment of the answer."""
    connection = await registry_rows.connection(writing.session, client_id)
    _stop(writing, connection)
    return await saved_connection(writing, connection, EventKind.CONNECTION_STOPPED, caller, wish.reason)


@router.post("/connections/{client_id}/_lift", operation_id="liftConnectionStop", responses=answers(200, "ETag"))
async def lift_connection_stop(
    caller: Operator, client_id: ClientId, wish: EmergencyStop, writing: Writing
) -> ConnectionInRegister:
    """Undoes the connection's own stop. Its partner's, where there is one, stays."""
    connection = await registry_rows.connection(writing.session, client_id)
    _lift(writing, connection)
    return await saved_connection(writing, connection, EventKind.CONNECTION_STOP_LIFTED, caller, wish.reason)


def _stop(writing: WriteRequest, row: Partner | Connection) -> None:
    if row.stopped_at is not None:
        raise TransitionNotAllowed("An emergency stop is in force already.")
    row.stopped_at = writing.now
    touch(writing, row)


def _lift(writing: WriteRequest, row: Partner | Connection) -> None:
    if row.stopped_at is None:
        raise TransitionNotAllowed("No emergency stop is in force.")
    row.stopped_at = None
    touch(writing, row)


async def _mark_connections_changed(writing: WriteRequest, partner: Partner) -> None:
    """Marks the partner's connections as changed by this write: by them snapshots learn of a partner's stop."""
    for connection in await registry_rows.connections_of_partner(writing.session, partner.kvk_number):
        connection.revision = writing.write.revision
        writing.session.add(connection)
