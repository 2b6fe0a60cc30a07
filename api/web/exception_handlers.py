"""Exception handlers: every exception of the application becomes a problem document (RFC 9457)."""

from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from api.edge.problems import (
    BY_STATUS,
    INTERNAL,
    INVALID_INPUT,
    REFUSALS,
    REVISION_BEHIND,
    STORE_UNREACHABLE,
    Refused,
    answer,
    log,
)
from api.store.outage import StoreBehind, StoreUnreachable
from models.vocabulary.refusals import ConsentError, StepRefused


def unreachable(error: StoreUnreachable) -> Response:
    """The 503 of a request that the store did not answer."""
    log.warning("the store did not answer: %s", error)
    detail = "Whether a change was made is uncertain: repeat the request with the same Idempotency-Key."
    return answer(STORE_UNREACHABLE, detail, {"Retry-After": "1"})


def install(app: FastAPI) -> None:
    """Installs the handlers on `app`."""

    @app.exception_handler(ConsentError)
    async def _refusal(_: Request, refusal: ConsentError) -> Response:
        unmet = refusal.unmet if isinstance(refusal, StepRefused) else ()
        members: dict[str, Any] = {"conditions": [asdict(each) for each in unmet]} if unmet else {}
        return answer(REFUSALS[type(refusal)], refusal.detail, **members)

    @app.exception_handler(Refused)
    async def _refused(_: Request, refused: Refused) -> Response:
        return answer(refused.problem, refused.detail, refused.response_headers)

    @app.exception_handler(StoreUnreachable)
    async def _unreachable(_: Request, error: StoreUnreachable) -> Response:
        return unreachable(error)

    @app.exception_handler(StoreBehind)
    async def _behind(_: Request, error: StoreBehind) -> Response:
        return answer(REVISION_BEHIND, str(error), {"Retry-After": "1"})

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> Response:
        return answer(INVALID_INPUT, "One or more values are not valid.", errors=errors_in(error))

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> Response:
        problem = BY_STATUS.get(error.status_code, INVALID_INPUT)
        return answer(problem, problem.title + ".", dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def _internal(request: Request, error: Exception) -> Response:
        log.error("request %s failed", request.state.request_id, exc_info=error)
        return answer(INTERNAL, "The error is in the log under this request's X-Request-ID.")


def errors_in(error: RequestValidationError) -> list[dict[str, str]]:
    """Location and message of the first 20 errors, cut to 200 characters; never the value, which may be of any size."""
    return [
        {
            "location": ".".join(str(part)[:64] for part in each["loc"])[:200],
            "message": str(each["msg"])[:200],
        }
        for each in error.errors()[:20]
    ]
