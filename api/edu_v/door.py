"""The FastAPI application of the Edu-V contract: its routes and its refusals."""

from functools import cache
from typing import Final

from fastapi import FastAPI
from starlette.routing import BaseRoute

from api.edu_v import contract, message_routes, status_codes, status_routes
from api.edu_v.contract import PATH
from api.web.idempotency import RepeatedWrite, replay_answer

CONTRACT: Final = "/openapi.json"


def needs_token(path: str) -> bool:
    """Whether a path of this application needs a token: all but the OpenAPI document."""
    return path != PATH + CONTRACT


def documented_door() -> FastAPI:
    """The application with every route and its OpenAPI document, without a store."""
    door = FastAPI(
        routes=_routes(),
        docs_url=None,
        redoc_url=None,
        openapi_url=CONTRACT,
        redirect_slashes=False,
        root_path_in_servers=False,
        **contract.ABOUT,
    )
    status_codes.install(door)
    door.add_exception_handler(RepeatedWrite, replay_answer)
    contract.publish(door)
    return door


@cache
def _routes() -> list[BaseRoute]:
    """The routes, made once for all services of a process."""
    return [*status_routes.router.routes, *message_routes.router.routes]
