"""Creating and amending grants: a choice is checked against the connection's request and the agreement in force.

Schools, boards, accepted requests and the Edu-V contract all write grants through these functions.
"""

import uuid
from typing import NamedTuple

from api.deletions import duties
from api.grants import offers, request_lifecycle
from api.grants.grant_lifecycle import append_event, settle, take_step
from api.grants.offers import Offer
from api.queries import grant_rows, registry_rows, school_rows
from api.store.events import Actor
from api.web.write_request import WriteRequest
from models.consents.agreements import Agreement
from models.consents.grants import (
    Choice,
    Grant,
    Step,
    after,
    amended_period,
    narrows,
    period,
    require_offered,
    require_sound,
)
from models.consents.partners import Connection, Partner
from models.decision.grant_status import OPEN, Status
from models.vocabulary.event_kinds import EventKind
from models.vocabulary.refusals import AgreementNotConfirmed, GrantExists, InvalidInput, PartnerNotEligible


class GrantPlace(NamedTuple):
    """The place that a grant covers: a whole school (BRIN4), or one location (BRIN6) of it."""

    brin: str
    location: str | None


async def give(
    writing: WriteRequest, client_id: str, place: GrantPlace, choice: Choice, agreement_id: str | None, actor: Actor
) -> tuple[Grant, Partner]:
    """Creates a grant; `agreement_id` names the agreement that the caller read, if any. Raises the refusal that applies
    (`PartnerNotEligible`, `AgreementNotConfirmed`, `GrantExists`, `InvalidInput` or one of the choice)."""
    connection = await registry_rows.connection_placed(writing.session, client_id)
    offer = await _offer(writing, place.brin, connection)
    return await give_on_offer(writing, offer, place, choice, agreement_id, actor), offer.partner


async def give_on_offer(
    writing: WriteRequest, offer: Offer, place: GrantPlace, choice: Choice, agreement_id: str | None, actor: Actor
) -> Grant:
    """Creates a grant on an offer that was read for the school's board. Raises as `give` does."""
    connection, agreement = offer.connection, _agreement(offer)
    _require_named(agreement_id, agreement)
    require_sound(choice, connection)
    require_offered(choice, connection, agreement)
    begins, ends = period(choice, writing.now)
    await school_rows.require_listed(writing.session, place.brin, place.location)
    await _require_no_open_grant(writing, connection.client_id, place)
    grant = Grant(
        grant_id=str(uuid.uuid4()),
        client_id=connection.client_id,
        brin=place.brin,
        location=place.location,
        scopes=sorted(choice.scopes),
        purposes=sorted(choice.purposes),
        status=after(Status.REQUESTED, Step.GRANT),
        valid_from=begins,
        valid_until=ends,
        request_version=connection.request_version,
        agreement_id=agreement.agreement_id,
        reconfirm_by=offer.reconfirm_by(agreement),
        granted_at_revision=writing.write.revision,
        revision=writing.write.revision,
        created_at=writing.now,
        changed_at=writing.now,
    )
    writing.session.add(grant)
    append_event(writing.write, grant, offer.partner, EventKind.GRANT_GRANTED, actor)
    await request_lifecycle.accept_open_request(writing.write, grant, actor)
    await duties.lapse(writing.write, grant)
    return grant


async def amend(writing: WriteRequest, grant: Grant, choice: Choice, agreement_id: str | None, actor: Actor) -> None:
    """Changes the scopes, purposes or period of a grant; confirms one that needs reconfirmation. Raises as `give`."""
    connection = await registry_rows.connection(writing.session, grant.client_id)
    await amend_on_offer(writing, await _offer(writing, grant.brin, connection), grant, choice, agreement_id, actor)


async def amend_on_offer(
    writing: WriteRequest, offer: Offer, grant: Grant, choice: Choice, agreement_id: str | None, actor: Actor
) -> None:
    """Amends a grant on an offer that was read for the school's board. Raises as `give` does."""
    connection, partner = offer.connection, offer.partner
    require_sound(choice, connection)
    if agreement_id is not None or not narrows(choice, grant):
        require_offered(choice, connection, _agreement(offer))
        _agree(grant, offer, agreement_id)
    grant.valid_from, grant.valid_until = amended_period(choice, grant, writing.now)
    grant.scopes, grant.purposes = sorted(choice.scopes), sorted(choice.purposes)
    grant.request_version = connection.request_version
    take_step(writing.write, grant, partner, Step.AMEND, actor)
    await request_lifecycle.accept_open_request(writing.write, grant, actor)
    await duties.lapse(writing.write, grant)


async def settled_open_grant(writing: WriteRequest, client_id: str, place: GrantPlace) -> Grant | None:
    """The grant of exactly this place that has not ended by now, settled; None without one."""
    grant = await grant_rows.open_grant(writing.session, client_id, *place)
    if grant is None:
        return None
    settle(writing.write, grant, (await registry_rows.partners_of_grants(writing.session, [grant]))[client_id])
    if grant.status in OPEN:
        return grant
    # Flush the end that `settle` wrote: the unique index of open grants must admit the next grant of this place.
    await writing.session.flush()
    return None


async def _offer(writing: WriteRequest, brin: str, connection: Connection) -> Offer:
    school = await school_rows.school(writing.session, brin)
    if school.gone_at is not None:
        raise InvalidInput("The school is no longer listed.")
    return (await offers.offers_to_board(writing.session, [connection], school.board_number, writing.now))[0]


def _agreement(offer: Offer) -> Agreement:
    if offer.agreement is None or not offer.eligible:
        raise PartnerNotEligible(
            "The connection does not keep all ground rules, no agreement for it is in force, or it was stopped."
        )
    return offer.agreement


def _agree(grant: Grant, offer: Offer, named: str | None) -> None:
    """Notes the agreement in force as the one agreed to. Raises `AgreementNotConfirmed` where it allows more than the
    one agreed to before and `named` does not name it."""
    agreement = _agreement(offer)
    if named is None and offer.allows_more_than_agreed(grant):
        raise AgreementNotConfirmed(
            "The agreement that counts allows more than the one agreed to: name it as agreementId."
        )
    _require_named(named, agreement)
    grant.agreement_id = agreement.agreement_id
    grant.reconfirm_by = offer.reconfirm_by(agreement)


def _require_named(named: str | None, agreement: Agreement) -> None:
    if named not in (None, agreement.agreement_id):
        raise AgreementNotConfirmed("agreementId names another agreement than the one that counts: read it again.")


async def _require_no_open_grant(writing: WriteRequest, client_id: str, place: GrantPlace) -> None:
    grant = await settled_open_grant(writing, client_id, place)
    if grant is not None:
        raise GrantExists(f"Grant {grant.grant_id} is for the same place: amend or revoke it first.")
