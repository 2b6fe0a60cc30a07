"""The console script `privacy-manager`: its commands and their options. Each imports its modules when it runs."""

import atexit
import gc
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from api.cli import evidence_options, history_options

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The school consent / privacy manager. Settings are environment variables: see the README.",
)
schools = typer.Typer(no_args_is_help=True, help="The schools and their locations.")
cli.add_typer(schools, name="schools")
evidence_options.register(cli)
history_options.register(cli)

#: Limit of `deliver`, a process of its own; a serving process has a lower one (`api/notifications/delivery.py`).
MESSAGES_AT_ONCE: Final = 32
#: Objects between two garbage collections: with Python's default of 700 they take a quarter of the time of imports.
OBJECTS_BEFORE_COLLECTION: Final = 50_000


class Role(StrEnum):
    SCHOOL = "school"
    BOARD = "board"
    PARTNER = "partner"
    GATEWAY = "gateway"
    OPERATOR = "operator"


def main() -> None:
    """Runs the command line. A refusal is printed as a sentence on standard error, with exit status 1."""
    gc.set_threshold(OBJECTS_BEFORE_COLLECTION, 20, 20)
    # At its end Python would look for garbage among all that was imported: a fifth of the time of a short command.
    atexit.register(gc.freeze)
    try:
        cli()
    except Exception as error:
        # Imported only after an exception: the module imports most libraries of the service, for their exceptions.
        from api.cli.refusals import REFUSALS, sentence_of

        if not isinstance(error, REFUSALS):
            raise
        typer.echo(f"privacy-manager: {sentence_of(error)}", err=True)
        sys.exit(1)


@cli.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="PORT", help="The port to listen on.", min=0, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(help="How many processes.", min=1, max=64)] = 1,
    access_log: Annotated[bool, typer.Option(help="Log each request.")] = False,
) -> None:
    """Serve the API. Refuses a schema that is not at the migrations' head, and to start without a trusted issuer."""
    from api.cli import serving

    serving.serve(host, port, workers, access_log=access_log)


@cli.command("exchange")
def serve_exchange(
    upstream: Annotated[str, typer.Option(help="The LAS's UWLR-L endpoint.")],
    manager: Annotated[str, typer.Option(help="The privacy manager's address.")] = "http://127.0.0.1:8000",
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=0, max=65535)] = 8001,
    workers: Annotated[int, typer.Option(help="How many processes.", min=1, max=64)] = 1,
) -> None:
    """Serve the UWLR release layer before a LAS: it lets through what its schools granted."""
    from api.cli import release_layer

    os.environ.update(PRIVACY_MANAGER_EXCHANGE_UPSTREAM=upstream, PRIVACY_MANAGER_EXCHANGE_MANAGER=manager)
    release_layer.serve(host, port, workers)


@cli.command("deliver")
def deliver_webhooks(
    at_once: Annotated[
        int, typer.Option(help="How many messages are sent at once.", min=1, max=256)
    ] = MESSAGES_AT_ONCE,
) -> None:
    """Deliver webhooks until the process is stopped. Several processes may do so at once."""
    from api.cli import deliverer

    deliverer.deliver(at_once)


@cli.command("migrate")
def migrate_store(
    to: Annotated[str, typer.Option(help="A revision to go back to; `base` for nothing at all.")] = "head",
) -> None:
    """Bring the store's schema to the newest revision, or back to an older one."""
    from api.settings import Settings
    from api.store.migrations import head, migrate

    migrate(Settings().store_url, to)
    typer.echo(f"The schema is at {head() if to == 'head' else to}.")


@cli.command("demo")
def serve_demo(
    port: Annotated[int, typer.Option(envvar="PORT", help="The port to listen on.", min=1, max=65535)] = 8000,
) -> None:
    """Migrate, load the demo data, print three commands to try, and serve on this machine only."""
    from api.cli import demo

    demo.serve(port)


@cli.command()
def token(
    role: Annotated[Role, typer.Option(help="What the token is for.")],
    school: Annotated[str | None, typer.Option(help="BRIN4, for the role school.")] = None,
    board: Annotated[str | None, typer.Option(help="Five digits, for the role board.")] = None,
    client_id: Annotated[str | None, typer.Option(help="The connection, for the role partner.")] = None,
    minutes: Annotated[int, typer.Option(help="How long it holds.", min=1, max=1440)] = 60,
) -> None:
    """Mint a token from the embedded issuer, which only a demo or a test accepts."""
    from datetime import UTC, datetime, timedelta

    from api.security.tokens import EmbeddedIssuer
    from api.settings import Mode, NotReadyToServe, Settings

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
    from api.cli import schools_files

    schools_files.load(files, kind, allow_mass_removal=allow_mass_removal)


@cli.command("openapi")
def print_openapi(
    write: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None,
    check: Annotated[Path | None, typer.Option(help="Fail when this file is not the same.")] = None,
    edu_v: Annotated[bool, typer.Option("--edu-v", help="The Edu-V door's contract instead.")] = False,
) -> None:
    """Print the published contract."""
    from api.cli import contract

    contract.publish(write=write, check=check, edu_v=edu_v)
