"""The decision: may this data be released to this partner now? Permits are made here and nowhere else."""

from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from models.decision.eligibility import eligibility_at
from models.decision.grant_status import OPEN, Status, status_at
from models.decision.packed_grants import GrantFacts
from models.decision.snapshot import Snapshot
from models.vocabulary import scopes
from models.vocabulary.identifiers import is_place


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


class Question(NamedTuple):
    """May `action` be done to data of `resource_type` at `place` for this subject?

    `place` is a BRIN4 or a BRIN6. `scopes` and `fields` (UWLR names, relative to the type's element) narrow the
    question; with neither, one granted scope of the type is enough.
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


class Decision(NamedTuple):
    """Permit or deny, always with a reason. `scopes` and `fields` may be released; both are empty on a deny."""

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
    """Decides on the facts of `snapshot` at `now`, the store's time. Whatever is uncertain is denied."""
    if question.min_revision > snapshot.revision:
        return _denial(snapshot, question, Reason.REVISION_BEHIND)
    if question.subject_type != "partner" or question.client_id not in snapshot.connections:
        return _denial(snapshot, question, Reason.UNKNOWN_PARTNER)
    school = snapshot.school_at(question.place)
    if school is None:
        return _denial(snapshot, question, Reason.UNKNOWN_SCHOOL)
    if question.action != "release" or not _is_known(question):
        return _denial(snapshot, question, Reason.UNKNOWN_SCOPE)
    eligibility = eligibility_at(snapshot, question.client_id, school.board_number, now)
    if not eligibility.eligible:
        return _denial(snapshot, question, Reason.PARTNER_NOT_ELIGIBLE)
    grant, reason = grant_for_place(snapshot, question.client_id, question.place, now)
    if grant is None or reason is not Reason.GRANTED:
        return _denial(snapshot, question, reason, grant)
    purposes = grant.purposes & eligibility.purposes
    if not purposes or (question.purpose is not None and question.purpose not in purposes):
        return _denial(snapshot, question, Reason.PURPOSE_NOT_GRANTED, grant)
    release = _release(grant.scopes, eligibility.scopes, question.resource_type)
    if not release.scopes or not release.covers(question):
        return _denial(snapshot, question, Reason.SCOPE_NOT_GRANTED, grant)
    return Decision(
        Reason.GRANTED, snapshot.revision, release.scopes, release.fields, grant.grant_id, grant.valid_until
    )


#: Later than any instant at which a fact ends.
FOREVER: Final = datetime.max.replace(tzinfo=UTC)


def steady_until(snapshot: Snapshot, question: Question, now: datetime) -> datetime:
    """The first instant after `now` at which `decide` may answer differently though `snapshot` does not change.

    Candidates are the instants at which a fact that `decide` reads begins or ends: a ground rule or an agreement of
    the connection, or one of its grants for the school or for a location of the school.
    """
    school = snapshot.schools.get(question.place[:4])
    if school is None or question.client_id not in snapshot.connections:
        return FOREVER
    until = eligibility_at(snapshot, question.client_id, school.board_number, now).until
    for grant in snapshot.grants.of(question.client_id, question.place[:4]):
        for instant in (grant.valid_from, grant.valid_until, grant.suspended_until, grant.reconfirm_by):
            if instant is not None and now < instant < until:
                until = instant
    return until


def unreachable(revision: int) -> Decision:
    """The deny when the store gave no answer within its deadline. Memory alone never permits."""
    return Decision(Reason.STORE_UNREACHABLE, revision, uwlr_fault=UWLR_FAULTS[Reason.STORE_UNREACHABLE])


def behind(revision: int) -> Decision:
    """The deny when the store is behind a revision seen before: its facts may be older than a revocation."""
    return Decision(Reason.REVISION_BEHIND, revision, uwlr_fault=UWLR_FAULTS[Reason.REVISION_BEHIND])


def grant_for_place(snapshot: Snapshot, client_id: str, place: str, now: datetime) -> tuple[GrantFacts | None, Reason]:
    """The one grant that counts for a place, and its reason at `now`.

    Where a location's grant and the school's grant both cover the place, the location's alone counts while it is not
    ended. If all have ended, the latest counts.
    """
    of_school = snapshot.grants.of(client_id, place[:4])
    covering = [grant for grant in of_school if grant.location is None or grant.location == place]
    if not covering:
        elsewhere = any(status_at(grant, now) in OPEN for grant in of_school)
        return None, Reason.LOCATION_NOT_GRANTED if elsewhere else Reason.NO_GRANT
    grant = covering[0]
    if len(covering) > 1:
        grant = max(covering, key=lambda candidate: _precedence(candidate, now))
    return grant, reason_of_grant(grant, now)


def reason_of_grant(grant: GrantFacts, now: datetime) -> Reason:
    """The reason that one grant gives at `now`: granted, or why it does not permit."""
    status = status_at(grant, now)
    if status is Status.GRANTED:
        return Reason.NOT_YET_VALID if now < grant.valid_from else Reason.GRANTED
    return _REASONS_OF_STATUS[status]


#: UWLR's fault for each deny; `Client.AutorisatieOngeldig` for reasons that are not listed.
UWLR_FAULTS: Final = {
    Reason.STORE_UNREACHABLE: "Server.TijdelijkNietBeschikbaar",
    Reason.REVISION_BEHIND: "Server.TijdelijkNietBeschikbaar",
    Reason.UNKNOWN_PARTNER: "Client.OngeldigeKlantIdentificatie",
}

_REASONS_OF_STATUS: Final = {
    Status.REVOKED: Reason.REVOKED,
    Status.EXPIRED: Reason.EXPIRED,
    Status.SUSPENDED: Reason.SUSPENDED,
    Status.NEEDS_RECONFIRMATION: Reason.NEEDS_RECONFIRMATION,
}


def _denial(snapshot: Snapshot, question: Question, reason: Reason, grant: GrantFacts | None = None) -> Decision:
    fault = UWLR_FAULTS.get(reason, "Client.AutorisatieOngeldig")
    if reason is Reason.UNKNOWN_SCHOOL and not is_place(question.place):
        fault = "Client.OngeldigBericht"
    return Decision(reason, snapshot.revision, grant_id=grant.grant_id if grant else None, uwlr_fault=fault)


def _is_known(question: Question) -> bool:
    """Whether the type exists, the scopes are of this type, and each field is released by some scope of it."""
    kind = question.resource_type
    if kind not in scopes.RESOURCE_TYPES:
        return False
    for name in question.scopes:
        scope = scopes.CATALOGUE.scopes.get(name)
        if scope is None or scope.type != kind:
            return False
    return not question.fields or all(scopes.scopes_releasing(kind, name) is not None for name in question.fields)


class _Release(NamedTuple):
    """Scopes and fields of one type that may be released, each in the catalogue's order."""

    scopes: tuple[str, ...]
    fields: tuple[str, ...]
    names: frozenset[str]
    field_names: frozenset[str]

    def covers(self, question: Question) -> bool:
        return self.names.issuperset(question.scopes) and self.field_names.issuperset(question.fields)


@lru_cache(maxsize=4096)
def _release(granted: frozenset[str], offered: frozenset[str], resource_type: str) -> _Release:
    """The scopes in both sets, without those that miss a dependency. Cached: few sets are in use."""
    releasable = scopes.closed(granted & offered)
    names = scopes.scopes_of_type(releasable, resource_type)
    fields = scopes.fields_of(releasable, resource_type)
    return _Release(names, fields, frozenset(names), frozenset(fields))


def _precedence(grant: GrantFacts, now: datetime) -> tuple[bool, bool, int]:
    is_open = status_at(grant, now) in OPEN
    return is_open, is_open and grant.location is not None, grant.granted_at_revision
