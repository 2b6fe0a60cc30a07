"""The command `serve`: checks the settings and the store once, then serves with the given number of processes."""

import asyncio
import gc

import uvicorn

from api.app import Service, create_app
from api.edge.server import OPTIONS, StrictConnection
from api.settings import Settings
from api.startup import require_ready


def serve(host: str, port: int, workers: int, *, access_log: bool) -> None:
    """Serves until it is stopped. Raises `NotReadyToServe` beforehand if a process could not start."""
    # Checked here, so that a fault is reported once and in one line, not by each worker.
    asyncio.run(require_ready(Settings()))
    uvicorn.run(
        "api.cli.serving:application",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        access_log=access_log,
        http=StrictConnection,
        proxy_headers=False,
        log_level="info",
        **OPTIONS,
    )


def application() -> Service:
    """The application of one server process."""
    return create_app(Settings(), on_loaded=_freeze_startup_objects)


def _freeze_startup_objects() -> None:
    """Freezes start-up objects so that garbage collection does not pause decisions."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
