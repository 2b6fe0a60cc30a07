"""How a choice becomes a grant, whoever made it: held against what the connection asks for and what was agreed to."""

import uuid
from typing import NamedTuple

from api.deletions import duties
from api.grants import offers, request_lifecycle
from api.grants.grant_lifecycle import note, settle, take
from api.grants.offers import Terms
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
    """For what a grant is given: a whole school, or one of its locations."""

    brin: str
    location: str | None


async def give(
    writing: WriteRequest, client_id: str, place: GrantPlace, choice: Choice, agreement_id: str | None, actor: Actor
) -> tuple[Grant, Partner]:
    """A new grant. Raises the refusal that applies; `agreement_id` names the agreement that was read, if any."""
    connection = await registry_rows.connection_placed(writing.session, client_id)
    offer = await _offer(writing, place.brin, connection)
    return await give_of(writing, offer, place, choice, agreement_id, actor), offer.partner


async def give_of(
    writing: WriteRequest, offer: Terms, place: GrantPlace, choice: Choice, agreement_id: str | None, actor: Actor
) -> Grant:
    """The same on terms that are known. They are those for the school's board."""
    connection, agreement = offer.connection, _agreement(offer)
    _require_named(agreement_id, agreement)
    require_sound(choice, connection)
    require_offered(choice, connection, agreement)
    begins, ends = period(choice, writing.now)
    await school_rows.require_listed(writing.session, place.brin, place.location)
    await _require_no_open_grant(writing, connection.client_id, place)
    given = Grant(
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
    writing.session.add(given)
    note(writing.write, given, offer.partner, EventKind.GRANT_GRANTED, actor)
    await request_lifecycle.answer_by(writing.write, given, actor)
    await duties.lapse(writing.write, given)
    return given


async def amend(writing: WriteRequest, found: Grant, choice: Choice, agreement_id: str | None, actor: Actor) -> None:
    """Changes what a grant covers or when it ends; confirms one that needs reconfirmation. Raises as `give` does."""
    connection = await registry_rows.connection(writing.session, found.client_id)
    await amend_of(writing, await _offer(writing, found.brin, connection), found, choice, agreement_id, actor)


async def amend_of(
    writing: WriteRequest, offer: Terms, found: Grant, choice: Choice, agreement_id: str | None, actor: Actor
) -> None:
    """The same on terms that are known. They are those for the school's board."""
    connection, partner = offer.connection, offer.partner
    require_sound(choice, connection)
    if agreement_id is not None or not narrows(choice, found):
        require_offered(choice, connection, _agreement(offer))
        _agree(found, offer, agreement_id)
    found.valid_from, found.valid_until = amended_period(choice, found, writing.now)
    found.scopes, found.purposes = sorted(choice.scopes), sorted(choice.purposes)
    found.request_version = connection.request_version
    take(writing.write, found, partner, Step.AMEND, actor)
    await request_lifecycle.answer_by(writing.write, found, actor)
    await duties.lapse(writing.write, found)


async def present(writing: WriteRequest, client_id: str, place: GrantPlace) -> Grant | None:
    """The grant of exactly this place that is not ended, as time has left it; None without one."""
    found = await grant_rows.open_grant(writing.session, client_id, *place)
    if found is None:
        return None
    settle(writing.write, found, (await registry_rows.partners_of_grants(writing.session, [found]))[client_id])
    if found.status in OPEN:
        return found
    # What has just been found ended must not stand in the way of the one that takes its place.
    await writing.session.flush()
    return None


async def _offer(writing: WriteRequest, brin: str, connection: Connection) -> Terms:
    school = await school_rows.school(writing.session, brin)
    if school.gone_at is not None:
        raise InvalidInput("The school is no longer listed.")
    return (await offers.gather(writing.session, [connection], school.board_number, writing.now))[0]


def _agreement(offer: Terms) -> Agreement:
    if offer.agreement is None or not offer.eligible:
        raise PartnerNotEligible(
            "The connection does not keep all ground rules, no agreement for it is in force, or it was stopped."
        )
    return offer.agreement


def _agree(grant: Grant, offer: Terms, named: str | None) -> None:
    """The school agrees to the agreement that counts, which it names unless that allows no more than the one before."""
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
    found = await present(writing, client_id, place)
    if found is not None:
        raise GrantExists(f"Grant {found.grant_id} is for the same place: amend or revoke it first.")
