"""Every refusal of the rules, in one tree. A refusal knows a stable slug and no HTTP.

ConsentError
├── NotFound                      what does not exist, or is not the caller's: the same answer
├── InvalidInput                  what was asked makes no sense, whatever the state
│   ├── UnknownScope              no scope of the catalogue, or a UWLR field that is never released
│   ├── UnknownPurpose
│   ├── ScopeDependencyMissing    a scope without the scope that it needs
│   └── InvalidPeriod
└── Conflict                      what was asked makes sense, and the present state forbids it
    ├── TransitionNotAllowed
    ├── GrantExists
    ├── AlreadyExists
    ├── ScopeNotOffered           beyond the connection or the agreement
    ├── RequiredScopeMissing
    ├── PurposeNotOffered
    ├── PartnerNotEligible
    ├── IdempotencyKeyReused
    └── VersionMismatch           If-Match names another version
        └── VersionRequired       no If-Match at all
"""

from typing import ClassVar


class ConsentError(Exception):
    """A request that the rules refuse. `slug` is stable; the message is for the person who reads it."""

    slug: ClassVar[str] = "refused"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class NotFound(ConsentError):
    slug = "not_found"


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


class Conflict(ConsentError):
    slug = "conflict"


class TransitionNotAllowed(Conflict):
    slug = "transition_not_allowed"


class GrantExists(Conflict):
    slug = "grant_exists"


class AlreadyExists(Conflict):
    slug = "already_exists"


class ScopeNotOffered(Conflict):
    slug = "scope_not_offered"


class RequiredScopeMissing(Conflict):
    slug = "required_scope_missing"


class PurposeNotOffered(Conflict):
    slug = "purpose_not_offered"


class PartnerNotEligible(Conflict):
    slug = "partner_not_eligible"


class IdempotencyKeyReused(Conflict):
    slug = "idempotency_key_reused"


class VersionMismatch(Conflict):
    slug = "version_mismatch"


class VersionRequired(VersionMismatch):
    slug = "version_required"
