"""The standard's status codes (Edu-V, Status- en foutcodes 0.0.4), and the mapping of our refusals to them.

Code 0099 stands for every other reason; its HTTP status is as precise as in the main contract.
"""

import logging
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from api.edge import problems
from api.edge.problems import (
    INTERNAL,
    INVALID_INPUT,
    NOT_FOUND,
    REFUSALS,
    REVISION_BEHIND,
    STORE_UNREACHABLE,
    Problem,
    Refused,
)
from api.edge.problems import UNAUTHENTICATED as NO_TOKEN
from api.store.outage import StoreBehind, StoreUnreachable
from api.web import exception_handlers
from models.vocabulary.refusals import ConsentError

log = logging.getLogger("privacy_manager.edu_v")


@dataclass(frozen=True, slots=True)
class Code:
    """A status code of the standard. One without a message sends the refusal's reason as its message."""

    status: str
    message: str | None
    http: int


OK: Final = Code("0000", "OK", 200)
CREATED: Final = Code("0001", "Created", 201)
SCHEMA_INCORRECT: Final = Code("0011", "Schema incorrect", 400)
SCOPE_REQUIRED: Final = Code("0021", "scope required", 401)
SCHOOL_UNKNOWN: Final = Code("0023", "edu_org_id unknown", 400)
OTHER: Final = Code("0099", None, 400)
# The standard has no HTTP status for these: it sends them in later messages, where we answer at once.
PROVIDER_UNKNOWN: Final = Code("1001", "providerReferenceId unknown", 404)
PROVIDER_USED: Final = Code("1002", "providerReferenceId already used", 409)
CONSUMER_UNKNOWN: Final = Code("1003", "consumerReferenceId unknown", 404)
CONSUMER_USED: Final = Code("1004", "consumerReferenceId already used", 409)

REFUSING: Final = (
    SCHEMA_INCORRECT,
    SCOPE_REQUIRED,
    SCHOOL_UNKNOWN,
    OTHER,
    PROVIDER_UNKNOWN,
    PROVIDER_USED,
    CONSUMER_UNKNOWN,
    CONSUMER_USED,
)


class EduVRefusal(Exception):
    """A refusal by the Edu-V contract itself, which no rule of `models` knows."""

    def __init__(self, code: Code, detail: str, http: int | None = None) -> None:
        super().__init__(detail)
        self.code, self.detail, self.http = code, detail, http


def code_of(problem: Problem) -> Code:
    """The standard's code for a problem; the answer keeps the problem's HTTP status."""
    if problem.status == 400:
        return SCHEMA_INCORRECT
    return SCOPE_REQUIRED if problem.status in (401, 403) else OTHER


def answer(problem: Problem, detail: str, headers: dict[str, str] | None = None) -> Response:
    """The answer to a problem in the standard's form."""
    if problem is NO_TOKEN:
        headers = {**problems.CHALLENGE, **(headers or {})}
    return _response(code_of(problem), problem.status, detail, headers)


def unreachable(error: StoreUnreachable) -> Response:
    """The 503 of a request that the store did not answer."""
    log.warning("the store did not answer: %s", error)
    return answer(STORE_UNREACHABLE, "Whether a change was made is uncertain: send it again.", {"Retry-After": "1"})


def _response(code: Code, http: int, detail: str, headers: dict[str, str] | None = None, **members: Any) -> Response:
    body = {"status": code.status, "statusMessage": code.message or detail, "detail": detail, **members}
    return Response(msgspec.json.encode(body), http, headers, "application/json")


def install(door: FastAPI) -> None:
    """Installs the exception handlers, which answer with the standard's codes."""

    @door.exception_handler(EduVRefusal)
    async def _edu_v_refusal(_: Request, refusal: EduVRefusal) -> Response:
        return _response(refusal.code, refusal.http or refusal.code.http, refusal.detail)

    @door.exception_handler(ConsentError)
    async def _refusal(_: Request, refusal: ConsentError) -> Response:
        return answer(REFUSALS[type(refusal)], refusal.detail)

    @door.exception_handler(Refused)
    async def _refused(_: Request, refused: Refused) -> Response:
        return answer(refused.problem, refused.detail, refused.response_headers)

    @door.exception_handler(StoreUnreachable)
    async def _unreachable(_: Request, error: StoreUnreachable) -> Response:
        return unreachable(error)

    @door.exception_handler(StoreBehind)
    async def _behind(_: Request, error: StoreBehind) -> Response:
        return answer(REVISION_BEHIND, str(error), {"Retry-After": "1"})

    @door.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> Response:
        found = exception_handlers.errors_in(error)
        return _response(SCHEMA_INCORRECT, INVALID_INPUT.status, "One or more values are not valid.", errors=found)

    @door.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> Response:
        problem = problems.BY_STATUS.get(error.status_code, INVALID_INPUT)
        return answer(problem, problem.title + ".", dict(error.headers or {}))

    @door.exception_handler(Exception)
    async def _internal(request: Request, error: Exception) -> Response:
        log.error("request %s failed", request.state.request_id, exc_info=error)
        return answer(INTERNAL, "The error is in the log under this request's X-Request-ID.")


def nothing_registered() -> EduVRefusal:
    """The refusal where the caller has no consent at a place."""
    return EduVRefusal(OTHER, "No consent is registered there.", NOT_FOUND.status)
