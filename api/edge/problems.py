"""RFC 9457 problem documents: the one table from refusals to HTTP."""

import logging
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.responses import Response

from models.vocabulary import refusals
from models.vocabulary.refusals import ConsentError

log = logging.getLogger("privacy_manager.problems")

TYPE_BASE: Final = "https://privacy-manager.example/problems/"
MEDIA_TYPE: Final = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of problem: its slug ends the `type` URI; its title never changes."""

    slug: str
    status: int
    title: str


UNAUTHENTICATED: Final = Problem("unauthenticated", 401, "No valid access token")
FORBIDDEN: Final = Problem("forbidden", 403, "The token's role may not do this")
NOT_RELEASED: Final = Problem("not_released", 403, "This may not be released")
NOT_FOUND: Final = Problem("not_found", 404, "Not found")
METHOD_NOT_ALLOWED: Final = Problem("method_not_allowed", 405, "Method not allowed")
INVALID_INPUT: Final = Problem("invalid_input", 400, "The request is not valid")
TOO_MANY_REQUESTS: Final = Problem("too_many_requests", 429, "Too many requests")
TOO_LARGE: Final = Problem("too_large", 413, "The request is too large")
STORE_UNREACHABLE: Final = Problem("store_unreachable", 503, "The store cannot be reached")
DOCUMENT_NOT_DRAWN: Final = Problem("document_not_drawn", 503, "The document cannot be drawn now")
REVISION_BEHIND: Final = Problem("revision_behind", 503, "The store is behind the revision asked for")
INTERNAL: Final = Problem("internal_error", 500, "Something went wrong here")

#: Problems by class of refusal. With the problems above, this is the closed list of the contract.
REFUSALS: Final[dict[type[ConsentError], Problem]] = {
    refusals.NotFound: NOT_FOUND,
    refusals.InvalidInput: INVALID_INPUT,
    refusals.UnknownScope: Problem("unknown_scope", 400, "A scope is not known"),
    refusals.UnknownPurpose: Problem("unknown_purpose", 400, "A purpose is not known"),
    refusals.ScopeDependencyMissing: Problem("scope_dependency_missing", 400, "A scope needs another scope"),
    refusals.InvalidPeriod: Problem("invalid_period", 400, "The period is not valid"),
    refusals.ConnectionNotPlaced: Problem("connection_not_placed", 404, "No connection that is placed"),
    refusals.TargetRefused: Problem("target_refused", 400, "Nothing is sent to this URL"),
    refusals.WrongFileType: Problem("wrong_file_type", 400, "Not a file of a type that is kept"),
    refusals.UploadIncomplete: Problem("upload_incomplete", 400, "The file did not arrive whole"),
    refusals.NotInHistory: Problem("not_in_history", 410, "The history does not hold this place"),
    refusals.Conflict: Problem("conflict", 409, "The present state forbids this"),
    refusals.TransitionNotAllowed: Problem("transition_not_allowed", 409, "Not possible from the present status"),
    refusals.GrantExists: Problem("grant_exists", 409, "There is a grant for this place already"),
    refusals.AlreadyExists: Problem("already_exists", 409, "It exists already"),
    refusals.RequestExists: Problem("request_exists", 409, "A request for this place waits for an answer"),
    refusals.NothingToAsk: Problem("nothing_to_ask", 409, "All of it is permitted already"),
    refusals.TooSoonAgain: Problem("too_soon_again", 409, "The school declined a short while ago"),
    refusals.TooManyOpen: Problem("too_many_open", 409, "Too many requests wait for this school"),
    refusals.ScopeNotOffered: Problem("scope_not_offered", 409, "Beyond the connection or its agreement"),
    refusals.RequiredScopeMissing: Problem("required_scope_missing", 409, "A required scope is missing"),
    refusals.PurposeNotOffered: Problem("purpose_not_offered", 409, "Beyond the connection or its agreement"),
    refusals.PartnerNotEligible: Problem("partner_not_eligible", 409, "The connection is not eligible"),
    refusals.StepRefused: Problem("step_refused", 409, "The step cannot be taken"),
    refusals.StepTooEarly: Problem("step_too_early", 409, "Other steps come first"),
    refusals.ConnectionNotRegistered: Problem("connection_not_registered", 409, "No connection for this case"),
    refusals.OtherPartner: Problem("other_partner", 409, "The connection belongs to another partner"),
    refusals.BeyondApplication: Problem("beyond_application", 409, "More than was applied for"),
    refusals.SignatureMissing: Problem("signature_missing", 409, "A signature is missing"),
    refusals.DocumentMissing: Problem("document_missing", 409, "The signed document is missing"),
    refusals.GroundRuleNotKept: Problem("ground_rule_not_kept", 409, "A ground rule is not kept"),
    refusals.ConnectionStopped: Problem("connection_stopped", 409, "An emergency stop is in force"),
    refusals.ConnectionNotLive: Problem("connection_not_live", 409, "The connection is not live"),
    refusals.AgreementNotConfirmed: Problem("agreement_not_confirmed", 409, "The agreement has changed: name it"),
    refusals.TooManyFiles: Problem("too_many_files", 409, "No more files are kept here"),
    refusals.TooManySubscriptions: Problem("too_many_subscriptions", 409, "No more subscriptions of this connection"),
    refusals.SubscriptionDisabled: Problem("subscription_disabled", 409, "The subscription is disabled"),
    refusals.TestWaits: Problem("test_waits", 409, "A test message waits to be delivered"),
    refusals.IdempotencyKeyReused: Problem("idempotency_key_reused", 409, "The key was used for another request"),
    refusals.VersionMismatch: Problem("version_mismatch", 412, "It has changed since it was read"),
    refusals.VersionRequired: Problem("version_required", 428, "If-Match is required"),
}

ALL: Final = (
    UNAUTHENTICATED,
    FORBIDDEN,
    NOT_RELEASED,
    METHOD_NOT_ALLOWED,
    TOO_LARGE,
    TOO_MANY_REQUESTS,
    STORE_UNREACHABLE,
    DOCUMENT_NOT_DRAWN,
    REVISION_BEHIND,
    INTERNAL,
    *REFUSALS.values(),
)

CHALLENGE: Final = {"WWW-Authenticate": 'Bearer error="invalid_token"'}

BY_STATUS: Final = {problem.status: problem for problem in (NOT_FOUND, METHOD_NOT_ALLOWED, TOO_LARGE, INVALID_INPUT)}


class Refused(Exception):
    """A refusal at the edge, by a problem outside the rules of the domain."""

    def __init__(self, problem: Problem, detail: str, response_headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.response_headers = response_headers


def document(problem: Problem, detail: str, **members: Any) -> bytes:
    """The problem document as JSON bytes."""
    return msgspec.json.encode(
        {
            "type": TYPE_BASE + problem.slug,
            "title": problem.title,
            "status": problem.status,
            "detail": detail,
            **members,
        }
    )


def answer(problem: Problem, detail: str, headers: dict[str, str] | None = None, **members: Any) -> Response:
    """The response with this problem."""
    if problem is UNAUTHENTICATED:
        headers = {**CHALLENGE, **(headers or {})}
    return Response(document(problem, detail, **members), problem.status, headers, MEDIA_TYPE)
