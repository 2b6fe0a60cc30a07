"""Whom a changed agreement asks again: each grant is told the instant from which it must have been confirmed anew."""

from collections.abc import Collection

from api.grants.grant_lifecycle import note, settle
from api.queries import grant_rows, registry_rows
from api.store.events import Actor
from api.store.store import Write
from models.consents.agreements import agreement_then, asked_again
from models.vocabulary.event_kinds import EventKind


async def ask_again(write: Write, client_id: str, actor: Actor, brins: Collection[str] | None = None) -> None:
    """Looks at every grant of a connection that is not ended, or at those of these schools alone.

    It compares what the school agreed to with the agreements on record and the board that the school has now. Where it
    is not known what a school agreed to, it is asked at once.
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
        found = asked_again(agreements, agreed_to, board_number, write.now) if agreed_to is not None else None
        reconfirm_by = found[1] if found is not None else None
        if agreed_to is None:
            reconfirm_by = grant.reconfirm_by or write.now
        if grant.reconfirm_by == reconfirm_by:
            continue
        grant.agreement_id = agreed_to.agreement_id if agreed_to is not None else None
        grant.reconfirm_by = reconfirm_by
        grant.version += 1
        note(write, grant, partner, EventKind.GRANT_RECONFIRMATION_ANNOUNCED, actor)
        settle(write, grant, partner)
