"""Reconfirmation: what happens to grants when their connection asks for more, or when an agreement allows more.

A grant never widens by itself. When the request of a connection is widened, its grants need reconfirmation at once
(`require_reconfirmation`). When an agreement allows more than the one that the school accepted, each grant gets the
instant from which it denies unless the school has confirmed it (`set_reconfirmation_dates`).
"""

from collections.abc import Collection

from api.grants.grant_lifecycle import append_event, settle, take_step
from api.queries import grant_rows, registry_rows
from api.store.events import Actor
from api.store.store import Write
from models.consents.agreements import agreement_then, next_wider_agreement
from models.consents.grants import Step
from models.consents.partners import Connection
from models.decision.grant_status import Status
from models.vocabulary.event_kinds import EventKind


async def require_reconfirmation(write: Write, connection: Connection, actor: Actor) -> None:
    """Marks the granted grants of a connection as needing reconfirmation, after its request was widened.

    A suspended grant needs it once it is resumed; so that a school resumes it, its suspension no longer ends by time.
    """
    partner = await registry_rows.partner(write.session, connection.kvk_number)
    for grant in await grant_rows.open_grants_of_connection(write.session, connection.client_id):
        settle(write, grant, partner)
        if grant.status == Status.GRANTED:
            take_step(write, grant, partner, Step.ASK_AGAIN, actor)
        elif grant.status == Status.SUSPENDED and grant.suspended_until is not None:
            grant.suspended_until = None
            grant.version += 1
            reason = "The connection asks anew: the suspension no longer ends by itself."
            append_event(write, grant, partner, EventKind.GRANT_SUSPENDED, actor, reason)


async def set_reconfirmation_dates(
    write: Write, client_id: str, actor: Actor, brins: Collection[str] | None = None
) -> None:
    """Sets `reconfirm_by` of every open grant of a connection, or of those at the schools `brins` alone.

    Compares the agreement that the school agreed to with the agreements on record for the board that the school has
    now. Where the agreement agreed to is unknown, reconfirmation is needed at once.
    """
    await write.session.flush()
    connection = await registry_rows.connection(write.session, client_id)
    partner = await registry_rows.partner(write.session, connection.kvk_number)
    agreements = await registry_rows.agreements(write.session, [client_id])
    known = {each.agreement_id: each for each in agreements}
    for grant, board_number in await grant_rows.grants_with_board(write.session, client_id, brins):
        settle(write, grant, partner)
        agreed_to = known.get(grant.agreement_id or "") or agreement_then(
            agreements, board_number, grant.created_at, grant.granted_at_revision
        )
        successor = (
            next_wider_agreement(agreements, agreed_to, board_number, write.now) if agreed_to is not None else None
        )
        reconfirm_by = successor[1] if successor is not None else None
        if agreed_to is None:
            reconfirm_by = grant.reconfirm_by or write.now
        if grant.reconfirm_by == reconfirm_by:
            continue
        grant.agreement_id = agreed_to.agreement_id if agreed_to is not None else None
        grant.reconfirm_by = reconfirm_by
        grant.version += 1
        append_event(write, grant, partner, EventKind.GRANT_RECONFIRMATION_ANNOUNCED, actor)
        settle(write, grant, partner)
