"""The decision: may this be released to this partner, now? The only place where a permit can come from."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from models import scopes
from models.agreements import agreement_in_force
from models.grants import OPEN, Status, status_at
from models.ground_rules import ALL_RULES, rules_kept
from models.identifiers import is_place
from models.snapshot import AgreementFacts, ConnectionFacts, GrantFacts, Snapshot


class Reason(StrEnum):
    """The closed list of reasons. Where several apply, the first of them in this order is given."""

    STORE_UNREACHABLE = "store_unreachable"
    REVISION_BEHIND = "revision_behind"
    UNKNOWN_PARTNER = "unknown_partner"
    UNKNOWN_SCHOOL = "unknown_school"
    UNKNOWN_SCOPE = "unknown_scope"
    PARTNER_NOT_ELIGIBLE = "partner_not_eligible"
    NO_GRANT = "no_grant"
    LOCATION_NOT_GRANTED = "location_not_granted"
    REVOKED = "revoked"
    EXPIRED = "expired"
    SUSPENDED = "suspended"
    NEEDS_RECONFIRMATION = "needs_reconfirmation"
    NOT_YET_VALID = "not_yet_valid"
    PURPOSE_NOT_GRANTED = "purpose_not_granted"
    SCOPE_NOT_GRANTED = "scope_not_granted"
    GRANTED = "granted"


@dataclass(frozen=True, slots=True)
class Question:
    """What a caller asks: may `action` be done to data of `resource_type` at `place`, for this subject?

    `place` is a BRIN4 or a BRIN6. `scopes` and `fields` (UWLR names, relative to the type's element) narrow the
    question; with neither, any granted scope of the type will do.
    """

    subject_type: str
    client_id: str
    action: str
    resource_type: str
    place: str
    scopes: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    purpose: str | None = None
    min_revision: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """Permit or deny, always with a reason. `scopes` and `fields` are what may be released; empty on a deny."""

    reason: Reason
    revision: int
    scopes: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    grant_id: str | None = None
    valid_until: datetime | None = None
    uwlr_fault: str | None = None

    @property
    def permit(self) -> bool:
        return self.reason is Reason.GRANTED


def decide(snapshot: Snapshot, question: Question, now: datetime) -> Decision:
    """Decides on the facts of `snapshot` at `now`, which is the store's time. Whatever is uncertain is denied."""

    def deny(reason: Reason, grant: GrantFacts | None = None) -> Decision:
        return _denial(snapshot.revision, reason, question, grant)

    if question.min_revision > snapshot.revision:
        return deny(Reason.REVISION_BEHIND)
    connection = snapshot.connections.get(question.client_id)
    if connection is None or question.subject_type != "partner":
        return deny(Reason.UNKNOWN_PARTNER)
    if not is_place(question.place) or not snapshot.lists(question.place):
        return deny(Reason.UNKNOWN_SCHOOL)
    asked = _asked(question)
    if asked is None or question.action != "release":
        return deny(Reason.UNKNOWN_SCOPE)
    board_number = snapshot.schools[question.place[:4]].board_number
    agreement = agreement_in_force(snapshot.agreements.get(question.client_id, ()), board_number, now)
    if (
        agreement is None
        or not connection.live
        or rules_kept(snapshot.ground_rules.get(question.client_id, ()), now) != ALL_RULES
    ):
        return deny(Reason.PARTNER_NOT_ELIGIBLE)
    grant, reason = standing(snapshot, question.client_id, question.place, now)
    if grant is None or reason is not Reason.GRANTED:
        return deny(reason, grant)
    purposes = grant.purposes & connection.purposes & agreement.purposes
    if not purposes or (question.purpose is not None and question.purpose not in purposes):
        return deny(Reason.PURPOSE_NOT_GRANTED, grant)
    releasable = _releasable(grant, connection, agreement)
    released = scopes.scopes_of_type(releasable, question.resource_type)
    if not released or not all(ways & releasable for ways in asked):
        return deny(Reason.SCOPE_NOT_GRANTED, grant)
    return Decision(
        reason=Reason.GRANTED,
        revision=snapshot.revision,
        scopes=released,
        fields=scopes.fields_of(releasable, question.resource_type),
        grant_id=grant.grant_id,
        valid_until=grant.valid_until,
    )


def unreachable(revision: int) -> Decision:
    """The answer when the store gave none within its deadline. Memory alone never permits."""
    return Decision(Reason.STORE_UNREACHABLE, revision, uwlr_fault=UWLR_FAULTS[Reason.STORE_UNREACHABLE])


def behind(revision: int) -> Decision:
    """The answer when the store is behind what was seen of it before: its facts are older than a known revocation."""
    return Decision(Reason.REVISION_BEHIND, revision, uwlr_fault=UWLR_FAULTS[Reason.REVISION_BEHIND])


def standing(snapshot: Snapshot, client_id: str, place: str, now: datetime) -> tuple[GrantFacts | None, Reason]:
    """The one grant that counts for a place, and how it stands at `now`.

    Where a location's grant and the school's both cover the place, the location's alone counts while it is not
    ended. Of grants that have all ended, the latest.
    """
    of_school = snapshot.grants.get(client_id, {}).get(place[:4], ())
    covering = [grant for grant in of_school if grant.location in (None, place)]
    if not covering:
        elsewhere = any(status_at(grant, now) in OPEN for grant in of_school)
        return None, Reason.LOCATION_NOT_GRANTED if elsewhere else Reason.NO_GRANT
    grant = max(covering, key=lambda candidate: _precedence(candidate, now))
    return grant, how_it_stands(grant, now)


def how_it_stands(grant: GrantFacts, now: datetime) -> Reason:
    """What one grant alone says at `now`: granted, or why not."""
    status = status_at(grant, now)
    if status is Status.GRANTED:
        return Reason.NOT_YET_VALID if now < grant.valid_from else Reason.GRANTED
    return _STANDING[status]


#: UWLR's fault for a deny; what is not named here is `Client.AutorisatieOngeldig`.
UWLR_FAULTS: Final = {
    Reason.STORE_UNREACHABLE: "Server.TijdelijkNietBeschikbaar",
    Reason.REVISION_BEHIND: "Server.TijdelijkNietBeschikbaar",
    Reason.UNKNOWN_PARTNER: "Client.OngeldigeKlantIdentificatie",
}

_STANDING: Final = {
    Status.REVOKED: Reason.REVOKED,
    Status.EXPIRED: Reason.EXPIRED,
    Status.SUSPENDED: Reason.SUSPENDED,
    Status.NEEDS_RECONFIRMATION: Reason.NEEDS_RECONFIRMATION,
}


def _denial(revision: int, reason: Reason, question: Question, grant: GrantFacts | None) -> Decision:
    fault = UWLR_FAULTS.get(reason, "Client.AutorisatieOngeldig")
    if reason is Reason.UNKNOWN_SCHOOL and not is_place(question.place):
        fault = "Client.OngeldigBericht"
    grant_id = grant.grant_id if grant is not None else None
    return Decision(reason=reason, revision=revision, grant_id=grant_id, uwlr_fault=fault)


def _asked(question: Question) -> tuple[frozenset[str], ...] | None:
    """For each thing asked, the scopes any of which would release it; None when something asked is unknown."""
    if question.resource_type not in scopes.RESOURCE_TYPES:
        return None
    ways: list[frozenset[str]] = []
    for name in question.scopes:
        scope = scopes.CATALOGUE.scopes.get(name)
        if scope is None or scope.type != question.resource_type:
            return None
        ways.append(frozenset({name}))
    for name in question.fields:
        releasing = scopes.scopes_releasing(question.resource_type, name)
        if releasing is None:
            return None
        ways.append(releasing)
    return tuple(ways)


def _precedence(grant: GrantFacts, now: datetime) -> tuple[bool, bool, int]:
    is_open = status_at(grant, now) in OPEN
    return is_open, is_open and grant.location is not None, grant.granted_at_revision


def _releasable(grant: GrantFacts, connection: ConnectionFacts, agreement: AgreementFacts) -> frozenset[str]:
    """What all three allow; a scope whose need has fallen away falls with it."""
    return scopes.closed(grant.scopes & connection.scopes & agreement.scopes)
