"""All refusals of the rules, in one tree. A refusal has a stable slug and knows no HTTP.

ConsentError
├── NotFound                      what does not exist, or is not the caller's: the same answer
│   └── ConnectionNotPlaced       no connection that schools can see
├── InvalidInput                  what was asked makes no sense, whatever the state
│   ├── UnknownScope              no scope of the catalogue, or a UWLR field that is never released
│   ├── UnknownPurpose
│   ├── ScopeDependencyMissing    a scope without the scope that it needs
│   ├── InvalidPeriod
│   ├── TargetRefused             a URL that nothing is sent to
│   ├── WrongFileType             a file that is not what it is said to be
│   └── UploadIncomplete          a body that ended before it was whole
├── NotInHistory                  a place in the changes that this store's history does not have
└── Conflict                      what was asked makes sense, and the present state forbids it
    ├── TransitionNotAllowed
    ├── GrantExists
    ├── AlreadyExists
    ├── RequestExists             one for the same place waits for the school's answer
    ├── NothingToAsk              what is asked for is permitted
    ├── TooSoonAgain              the school declined a short while ago
    ├── TooManyOpen               requests of one partner wait for one school
    ├── ScopeNotOffered           beyond the connection or the agreement
    ├── RequiredScopeMissing
    ├── PurposeNotOffered
    ├── PartnerNotEligible
    ├── StepRefused               a step of the road; it says which conditions are not met
    │   ├── StepTooEarly          what comes before it has not been done
    │   ├── ConnectionNotRegistered
    │   ├── OtherPartner          another KvK number: a takeover inherits nothing
    │   ├── BeyondApplication     it asks for more than was applied for
    │   ├── GroundRuleNotKept
    │   ├── ConnectionStopped     by an emergency stop
    │   ├── SignatureMissing      not both parties have signed
    │   └── DocumentMissing       the signed agreement is not kept here
    ├── ConnectionNotLive
    ├── AgreementNotConfirmed     the agreement that counts is not the one that the school agreed to
    ├── TooManyFiles
    ├── TooManySubscriptions      of webhooks, with one connection
    ├── SubscriptionDisabled      nothing is sent to it
    ├── TestWaits                 a test message has not been delivered yet
    ├── IdempotencyKeyReused
    └── VersionMismatch           If-Match names another version
        └── VersionRequired       no If-Match at all
"""

from dataclasses import dataclass
from typing import ClassVar


class ConsentError(Exception):
    """A request that the rules refuse. `slug` is stable; the message is for the person who reads it."""

    slug: ClassVar[str] = "refused"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class NotFound(ConsentError):
    slug = "not_found"


class ConnectionNotPlaced(NotFound):
    slug = "connection_not_placed"


class InvalidInput(ConsentError):
    slug = "invalid_input"


class UnknownScope(InvalidInput):
    slug = "unknown_scope"


class UnknownPurpose(InvalidInput):
    slug = "unknown_purpose"


class ScopeDependencyMissing(InvalidInput):
    slug = "scope_dependency_missing"


class InvalidPeriod(InvalidInput):
    slug = "invalid_period"


class TargetRefused(InvalidInput):
    slug = "target_refused"


class WrongFileType(InvalidInput):
    slug = "wrong_file_type"


class UploadIncomplete(InvalidInput):
    slug = "upload_incomplete"


class NotInHistory(ConsentError):
    slug = "not_in_history"


class Conflict(ConsentError):
    slug = "conflict"


class TransitionNotAllowed(Conflict):
    slug = "transition_not_allowed"


class GrantExists(Conflict):
    slug = "grant_exists"


class AlreadyExists(Conflict):
    slug = "already_exists"


class RequestExists(Conflict):
    slug = "request_exists"


class NothingToAsk(Conflict):
    slug = "nothing_to_ask"


class TooSoonAgain(Conflict):
    slug = "too_soon_again"


class TooManyOpen(Conflict):
    slug = "too_many_open"


class ScopeNotOffered(Conflict):
    slug = "scope_not_offered"


class RequiredScopeMissing(Conflict):
    slug = "required_scope_missing"


class PurposeNotOffered(Conflict):
    slug = "purpose_not_offered"


class PartnerNotEligible(Conflict):
    slug = "partner_not_eligible"


@dataclass(frozen=True, slots=True)
class Unmet:
    """A condition of a step that is not met: its stable name, and what is missing, in words for a reader."""

    condition: str
    detail: str


class StepRefused(Conflict):
    """A step whose conditions are not all met. `unmet` lists them; the class is that of the first."""

    slug = "step_refused"

    def __init__(self, detail: str, unmet: tuple[Unmet, ...] = ()) -> None:
        super().__init__(detail)
        self.unmet = unmet


class StepTooEarly(StepRefused):
    slug = "step_too_early"


class ConnectionNotRegistered(StepRefused):
    slug = "connection_not_registered"


class OtherPartner(StepRefused):
    slug = "other_partner"


class BeyondApplication(StepRefused):
    slug = "beyond_application"


class GroundRuleNotKept(StepRefused):
    slug = "ground_rule_not_kept"


class ConnectionStopped(StepRefused):
    slug = "connection_stopped"


class SignatureMissing(StepRefused):
    slug = "signature_missing"


class DocumentMissing(StepRefused):
    slug = "document_missing"


class ConnectionNotLive(Conflict):
    slug = "connection_not_live"


class AgreementNotConfirmed(Conflict):
    slug = "agreement_not_confirmed"


class TooManyFiles(Conflict):
    slug = "too_many_files"


class TooManySubscriptions(Conflict):
    slug = "too_many_subscriptions"


class SubscriptionDisabled(Conflict):
    slug = "subscription_disabled"


class TestWaits(Conflict):
    slug = "test_waits"


class IdempotencyKeyReused(Conflict):
    slug = "idempotency_key_reused"


class VersionMismatch(Conflict):
    slug = "version_mismatch"


class VersionRequired(VersionMismatch):
    slug = "version_required"
