"""The service as `serve` runs it: checked once, then served by as many processes as were asked for."""

import asyncio
import gc

import uvicorn

from api.app import Service, create_app
from api.edge.server import WholeAnswers
from api.settings import Settings
from api.startup import require_ready


def serve(host: str, port: int, workers: int, *, access_log: bool) -> None:
    """Serves until it is told to end. Raises `NotReadyToServe` before, when a process could not start."""
    # So that what is wrong is said here, once and in a line, and not by each worker.
    asyncio.run(require_ready(Settings()))
    uvicorn.run(
        "api.cli.serving:application",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        access_log=access_log,
        server_header=False,
        http=WholeAnswers,
        proxy_headers=False,
        log_level="info",
    )


def application() -> Service:
    """The application for a server process of its own."""
    return create_app(Settings(), on_loaded=_spare_the_collector)


def _spare_the_collector() -> None:
    """What was made while starting stays: looking through it for garbage, again and again, would hold decisions up."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
