"""The door put together: its routes, and how it refuses."""

from functools import cache
from typing import Final

from fastapi import APIRouter, FastAPI
from starlette.routing import BaseRoute

from api.edu_v import answers, contract, messages, statuses
from api.edu_v.contract import PATH
from api.web.idempotency import Replayed, give_again

CONTRACT: Final = "/openapi.json"


def needs_token(path: str) -> bool:
    """All that is below the door does, but its contract."""
    return path != PATH + CONTRACT


def documented_door() -> FastAPI:
    """Every route of the door, with its contract, and no store behind it yet."""
    door = FastAPI(
        routes=_routes(),
        docs_url=None,
        redoc_url=None,
        openapi_url=CONTRACT,
        redirect_slashes=False,
        root_path_in_servers=False,
        **contract.ABOUT,
    )
    answers.install(door)
    door.add_exception_handler(Replayed, give_again)
    contract.publish(door)
    return door


@cache
def _routes() -> list[BaseRoute]:
    """Once for all services of a process."""
    every = APIRouter()
    every.include_router(statuses.router)
    every.include_router(messages.router)
    return every.routes
