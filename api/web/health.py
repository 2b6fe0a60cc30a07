"""Liveness and readiness: whether the process answers, and whether its store does."""

from typing import Literal

from fastapi import APIRouter, Request

from api.contract.components import STORE_UNREACHABLE, refuses
from api.snapshot.current import CurrentSnapshot
from api.web.schemas import Wire
from api.web.services import provided

router = APIRouter(prefix="/health", tags=["health"])


class Health(Wire):
    status: Literal["ok"] = "ok"


class Readiness(Wire):
    """Ready: the store answers, as of `revision`."""

    status: Literal["ready"] = "ready"
    revision: int


@router.get("/live", operation_id="isLive")
async def live() -> Health:
    """The process answers."""
    return Health()


@router.get("/ready", operation_id="isReady", responses=refuses(STORE_UNREACHABLE))
async def ready(request: Request) -> Readiness:
    """The store answers too, in time for a decision."""
    current = provided(request, CurrentSnapshot)
    snapshot, _ = await current.get()
    return Readiness(revision=snapshot.revision)
