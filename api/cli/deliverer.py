"""The command `deliver`: delivers webhooks in a process of its own."""

import asyncio
import logging
import signal

import typer

from api.notifications.delivery import Pace, delivering
from api.settings import NotReadyToServe, Settings
from api.startup import require_own_store


def deliver(at_once: int) -> None:
    """Delivers until SIGTERM or SIGINT. Raises `NotReadyToServe` if the settings let the serving processes deliver."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(name)s: %(message)s")
    asyncio.run(_deliver(Settings(), at_once))


async def _deliver(settings: Settings, at_once: int) -> None:
    if settings.delivers:
        raise NotReadyToServe(
            "The processes that serve this store deliver its webhooks already: set PRIVACY_MANAGER_DELIVER=false for"
            " them, and for this one, to have it done here."
        )
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[None] = loop.create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.cancel)
    async with delivering(settings, await require_own_store(settings), Pace(at_once)):
        where = "PostgreSQL" if not settings.store_url.startswith("sqlite") else settings.store_url
        typer.echo(f"Delivering the webhooks of {where}, {at_once} at once, until this is told to end.")
        await asyncio.wait([stopped])
