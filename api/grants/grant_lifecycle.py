"""The view of a grant, as the contract and the log have it, and the steps of its life cycle with their events."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final

from pydantic import Field

from api.store.events import SYSTEM, Actor, record
from api.store.store import Write
from api.web.schemas import Moment, Wire
from models.consents.grants import Grant, Step, after
from models.consents.partners import Partner
from models.decision.grant_status import Status, status_at
from models.vocabulary.event_kinds import EventKind


class PartnerName(Wire):
    name: str
    kvk_number: str


class GrantView(Wire):
    """A grant as the contract shows it, with the status that it has at the store's time."""

    grant_id: str
    school: str
    location: str | None
    client_id: str
    partner: PartnerName
    scopes: list[str]
    purposes: list[str]
    status: Status
    valid_from: Moment
    valid_until: Moment | None
    suspended_until: Moment | None
    agreement_id: Annotated[str | None, Field(description="The agreement that the school agreed to.")] = None
    reconfirm_by: Annotated[
        Moment | None, Field(description="From then on it needs reconfirmation: an agreement allows more.")
    ] = None
    version: int
    revision: int
    created_at: Moment
    changed_at: Moment


EVENTS: Final[Mapping[Step, EventKind]] = {
    Step.GRANT: EventKind.GRANT_GRANTED,
    Step.AMEND: EventKind.GRANT_AMENDED,
    Step.SUSPEND: EventKind.GRANT_SUSPENDED,
    Step.RESUME: EventKind.GRANT_RESUMED,
    Step.ASK_AGAIN: EventKind.GRANT_RECONFIRMATION_NEEDED,
    Step.REVOKE: EventKind.GRANT_REVOKED,
    Step.EXPIRE: EventKind.GRANT_EXPIRED,
}


def view(grant: Grant, partner: Partner, now: datetime) -> GrantView:
    """The view of a grant, with its status at `now`."""
    status = status_at(grant, now)
    return GrantView(
        school=grant.brin,
        partner=PartnerName.model_validate(partner),
        status=status,
        suspended_until=grant.suspended_until if status is Status.SUSPENDED else None,
        **grant.model_dump(exclude={"brin", "status", "suspended_until", "request_version", "granted_at_revision"}),
    )


def take_step(
    write: Write, grant: Grant, partner: Partner, step: Step, actor: Actor, reason: str | None = None
) -> None:
    """Takes one step of a grant's life cycle, and appends its event. Raises `TransitionNotAllowed`."""
    grant.status = after(grant.status, step)
    grant.version += 1
    append_event(write, grant, partner, EVENTS[step], actor, reason)


def append_event(
    write: Write, grant: Grant, partner: Partner, kind: EventKind, actor: Actor, reason: str | None = None
) -> None:
    """Marks the grant as changed by `write`, and appends the event of that change."""
    grant.revision = write.revision
    grant.changed_at = write.now
    record(
        write,
        kind,
        actor,
        view(grant, partner, write.now).model_dump(mode="json", by_alias=True),
        brin=grant.brin,
        client_id=grant.client_id,
        grant_id=grant.grant_id,
        reason=reason,
    )


def settle(write: Write, grant: Grant, partner: Partner) -> None:
    """Writes the transition that time has brought about (expiry, the end of a suspension, the need of reconfirmation)
    with its event, so that the next step starts from the status that holds."""
    status = status_at(grant, write.now)
    if status == grant.status:
        return
    if status is Status.EXPIRED:
        take_step(write, grant, partner, Step.EXPIRE, SYSTEM)
    elif grant.status == Status.SUSPENDED:
        take_step(write, grant, partner, Step.RESUME, SYSTEM)
    grant.suspended_until = None
    if status is Status.NEEDS_RECONFIRMATION:
        take_step(write, grant, partner, Step.ASK_AGAIN, SYSTEM)
