"""Reconfirmation after a change of agreements: each grant gets the instant from which it denies unless confirmed."""

from collections.abc import Collection

from api.grants.grant_lifecycle import append_event, apply_time
from api.queries import grant_rows, registry_rows
from api.store.events import Actor
from api.store.store import Write
from models.consents.agreements import agreement_then, asked_again
from models.vocabulary.event_kinds import EventKind


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
        apply_time(write, grant, partner)
        agreed_to = known.get(grant.agreement_id or "") or agreement_then(
            agreements, board_number, grant.created_at, grant.granted_at_revision
        )
        successor = asked_again(agreements, agreed_to, board_number, write.now) if agreed_to is not None else None
        reconfirm_by = successor[1] if successor is not None else None
        if agreed_to is None:
            reconfirm_by = grant.reconfirm_by or write.now
        if grant.reconfirm_by == reconfirm_by:
            continue
        grant.agreement_id = agreed_to.agreement_id if agreed_to is not None else None
        grant.reconfirm_by = reconfirm_by
        grant.version += 1
        append_event(write, grant, partner, EventKind.GRANT_RECONFIRMATION_ANNOUNCED, actor)
        apply_time(write, grant, partner)
