"""The console script `privacy-manager`."""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import httpx2
import typer
import uvicorn
from alembic.util import CommandError
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy.exc import SQLAlchemyError

from api.app import NotReadyToServe, Service, create_app, documented_app, require_own_store, require_ready
from api.cli import demo, evidence, history
from api.contract.text import as_text
from api.edge.server import WholeAnswers
from api.edu_v.door import documented_door
from api.evidence.backup_recovery import ReplayRefused
from api.evidence.exports import ExportRefused
from api.evidence.key_custody import StoreRefused
from api.evidence.witness import LogRefused
from api.notifications.delivery import AT_ONCE, Pace, delivering
from api.printable_text import printable_lines
from api.registry.schools_import import ImportRefused, ImportReport, import_files
from api.security.tokens import EmbeddedIssuer
from api.settings import Mode, Settings, explained
from api.store.migrations import head, migrate
from api.store.outage import StoreBehind, StoreUnreachable
from api.store.store import Store
from exchange.settings import ExchangeSettings, require_usable
from models.vocabulary.refusals import ConsentError

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The school consent / privacy manager. Settings are environment variables: see the README.",
)
schools = typer.Typer(no_args_is_help=True, help="The schools and their locations.")
cli.add_typer(schools, name="schools")
evidence.register(cli)
history.register(cli)

errors = Console(stderr=True, highlight=False, soft_wrap=True)


class Role(StrEnum):
    SCHOOL = "school"
    BOARD = "board"
    PARTNER = "partner"
    GATEWAY = "gateway"
    OPERATOR = "operator"


#: What ends a command with a sentence; anything else is a defect, and shows where.
REFUSALS: Final = (
    CommandError,
    ConsentError,
    ExportRefused,
    StoreRefused,
    LogRefused,
    ReplayRefused,
    httpx2.HTTPError,
    ImportRefused,
    NotReadyToServe,
    OSError,
    SQLAlchemyError,
    StoreBehind,
    StoreUnreachable,
    ValueError,
)


def main() -> None:
    """Runs the command line. What is refused ends with a sentence on standard error and exit status 1."""
    try:
        cli()
    except ValidationError as error:
        errors.print(f"privacy-manager: {printable_lines(explained(error))}", markup=False)
        sys.exit(1)
    except REFUSALS as error:
        errors.print(f"privacy-manager: {printable_lines(str(error))}", markup=False)
        sys.exit(1)


@cli.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="PORT", help="The port to listen on.", min=0, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(help="How many processes.", min=1, max=64)] = 1,
    access_log: Annotated[bool, typer.Option(help="Log each request.")] = False,
) -> None:
    """Serve the API. Refuses a schema that is not at the migrations' head, and to start without a trusted issuer."""
    # So that what is wrong is said here, once and in a line, and not by each worker.
    asyncio.run(require_ready(Settings()))
    uvicorn.run(
        "api.cli.main:application",
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


@cli.command("exchange")
def serve_exchange(
    upstream: Annotated[str, typer.Option(help="The LAS's UWLR-L endpoint.")],
    manager: Annotated[str, typer.Option(help="The privacy manager's address.")] = "http://127.0.0.1:8000",
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=0, max=65535)] = 8001,
    workers: Annotated[int, typer.Option(help="How many processes.", min=1, max=64)] = 1,
) -> None:
    """Serve the UWLR release layer before a LAS: it lets through what its schools granted."""
    os.environ.update(PRIVACY_MANAGER_EXCHANGE_UPSTREAM=upstream, PRIVACY_MANAGER_EXCHANGE_MANAGER=manager)
    # So that what is wrong is said here, once and in a line, and not by each worker.
    require_usable(ExchangeSettings())
    uvicorn.run(
        "exchange.app:application",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_level="warning",
    )


@cli.command("deliver")
def deliver_webhooks(
    at_once: Annotated[int, typer.Option(help="How many messages are sent at once.", min=1, max=256)] = AT_ONCE,
) -> None:
    """Deliver webhooks, until it is told to end. Several processes may do so at once."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(name)s: %(message)s")
    asyncio.run(_deliver(Settings(), at_once))


@cli.command("migrate")
def migrate_store(
    to: Annotated[str, typer.Option(help="A revision to go back to; `base` for nothing at all.")] = "head",
) -> None:
    """Bring the store's schema to the newest revision, or back to an older one."""
    settings = Settings()
    migrate(settings.store_url, to)
    typer.echo(f"The schema is at {head() if to == 'head' else to}.")


@cli.command("demo")
def serve_demo(
    port: Annotated[int, typer.Option(envvar="PORT", help="The port to listen on.", min=1, max=65535)] = 8000,
) -> None:
    """Migrate, load the demo data, print three commands to try, and serve on this machine only."""
    given = Settings()
    if given.mode is Mode.PRODUCTION or given.trusted_issuers:
        raise NotReadyToServe("This is configured for production: the demo would put invented data into it.")
    settings = given.model_copy(update={"mode": Mode.DEMO})
    migrate(settings.store_url)
    invitation = asyncio.run(demo.prepare(settings, f"http://127.0.0.1:{port}"))
    config = uvicorn.Config(
        create_app(settings),
        host="127.0.0.1",
        port=port,
        access_log=False,
        server_header=False,
        http=WholeAnswers,
        proxy_headers=False,
        log_level="warning",
    )
    _InvitingServer(config, invitation).run()


@cli.command()
def token(
    role: Annotated[Role, typer.Option(help="What the token is for.")],
    school: Annotated[str | None, typer.Option(help="BRIN4, for the role school.")] = None,
    board: Annotated[str | None, typer.Option(help="Five digits, for the role board.")] = None,
    client_id: Annotated[str | None, typer.Option(help="The connection, for the role partner.")] = None,
    minutes: Annotated[int, typer.Option(help="How long it holds.", min=1, max=1440)] = 60,
) -> None:
    """Mint a token from the embedded issuer, which only a demo or a test accepts."""
    settings = Settings()
    if settings.mode is Mode.PRODUCTION:
        raise NotReadyToServe("The embedded issuer does not work in production: get a token from your own issuer.")
    issuer = EmbeddedIssuer.at(settings.issuer_key)
    typer.echo(
        issuer.mint(
            role.value,
            subject=f"demo-{role.value}",
            client_id=client_id,
            school=school,
            board=board,
            lifetime=timedelta(minutes=minutes),
            now=datetime.now(UTC),
        )
    )


@schools.command("import")
def import_schools(
    files: Annotated[list[Path], typer.Argument(help="DUO's open data files of locations.", metavar="FILE...")],
    kind: Annotated[str | None, typer.Option(help="bo, so or vo, when the file's name does not say.")] = None,
    allow_mass_removal: Annotated[
        bool, typer.Option("--allow-mass-removal", help="Also when over a tenth of a kind's locations would go.")
    ] = False,
) -> None:
    """Import schools and their locations: all of it, or, when a line is refused, nothing."""
    store = Store(Settings().store_url)
    with _progress("Locations") as on_progress:
        report = asyncio.run(
            _import(store, files, kind=kind, allow_mass_removal=allow_mass_removal, on_progress=on_progress)
        )
    typer.echo(str(report))


@cli.command("openapi")
def print_openapi(
    write: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None,
    check: Annotated[Path | None, typer.Option(help="Fail when this file is not the same.")] = None,
    edu_v: Annotated[bool, typer.Option("--edu-v", help="The Edu-V door's contract instead.")] = False,
) -> None:
    """Print the published contract."""
    text = as_text((documented_door() if edu_v else documented_app()).openapi())
    if check is not None:
        if check.read_text(encoding="utf-8") != text:
            raise NotReadyToServe(f"{check} is not the contract that the routes make: run `make openapi`.")
    elif write is not None:
        write.write_text(text, encoding="utf-8")
    else:
        typer.echo(text, nl=False)


def application() -> Service:
    """The application for a server process of its own."""
    return create_app(Settings(), on_loaded=_spare_the_collector)


def _spare_the_collector() -> None:
    """What was made while starting stays: looking through it for garbage, again and again, would hold decisions up."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


class _InvitingServer(uvicorn.Server):
    """Says what to try once it listens, so that what is pasted at once is answered."""

    def __init__(self, config: uvicorn.Config, invitation: str) -> None:
        super().__init__(config)
        self._invitation = invitation

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            typer.echo(self._invitation)


async def _deliver(settings: Settings, at_once: int) -> None:
    if settings.delivers:
        raise NotReadyToServe(
            "The processes that serve this store deliver its webhooks already: set PRIVACY_MANAGER_DELIVER=false for"
            " them, and for this one, to have it done here."
        )
    loop = asyncio.get_running_loop()
    told: asyncio.Future[None] = loop.create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.cancel)
    async with delivering(settings, await require_own_store(settings), Pace(at_once)):
        where = "PostgreSQL" if not settings.store_url.startswith("sqlite") else settings.store_url
        typer.echo(f"Delivering the webhooks of {where}, {at_once} at once, until this is told to end.")
        await asyncio.wait([told])


async def _import(
    store: Store,
    files: list[Path],
    kind: str | None,
    allow_mass_removal: bool,
    on_progress: Callable[[int, int], None],
) -> ImportReport:
    try:
        return await import_files(
            store, files, kind=kind, allow_mass_removal=allow_mass_removal, on_progress=on_progress
        )
    finally:
        await store.aclose()


@contextmanager
def _progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Shows progress on a terminal, and nothing where there is none."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
