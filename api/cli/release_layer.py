"""The command `exchange`: serves the release layer with the settings of the environment."""

import uvicorn

from api.edge.server import OPTIONS, StrictConnection
from exchange.settings import ExchangeSettings, require_usable


def serve(host: str, port: int, workers: int) -> None:
    """Serves until it is stopped. Raises `ValueError` for settings that no process could serve with."""
    # Checked here, so that a fault is reported once and in one line, not by each worker.
    require_usable(ExchangeSettings())
    uvicorn.run(
        "exchange.app:application",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        access_log=False,
        http=StrictConnection,
        proxy_headers=False,
        log_level="warning",
        **OPTIONS,
    )
