"""Names and options of the commands about the past; `api/cli/history.py` is imported when one of them runs."""

from pathlib import Path
from typing import Annotated

import typer

from api.cli.evidence_options import GivenKeys

ExportFile = Annotated[Path | None, typer.Option("--export", help="An export, instead of the store.", metavar="FILE")]
AsJson = Annotated[bool, typer.Option("--json", help="As the API answers.")]


def register(cli: typer.Typer) -> None:
    """Adds the commands."""
    cli.command()(replay)
    cli.command()(changes)


def replay(
    client_id: Annotated[str, typer.Option(help="The connection.", metavar="ID")],
    place: Annotated[str, typer.Option(help="A school (BRIN4) or a location (BRIN6).", metavar="PLACE")],
    kind: Annotated[str, typer.Option("--type", help="leerling, docent, groep, school or vestiging.", metavar="TYPE")],
    scope: Annotated[list[str] | None, typer.Option(help="A scope; may be repeated.", metavar="SCOPE")] = None,
    field: Annotated[list[str] | None, typer.Option(help="A field of UWLR; may be repeated.", metavar="FIELD")] = None,
    purpose: Annotated[str | None, typer.Option(help="A purpose.", metavar="CODE")] = None,
    at: Annotated[
        str | None, typer.Option(help="When, as in RFC 3339; else now, or the end of the export.", metavar="INSTANT")
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(help="As of this revision, which every decision carries, and at its instant.", metavar="N"),
    ] = None,
    export: ExportFile = None,
    key: GivenKeys = None,
    as_json: AsJson = False,
) -> None:
    """Print whether this connection was allowed to receive this data at an instant, and why: the decision given then.

    Exit status 0 for an answer, yes or no; 1 if there is none; 2 for invalid options.
    """
    from api.cli import history

    asked = history.question(
        clientId=client_id,
        place=place,
        type=kind,
        scope=scope or [],
        field=field or [],
        purpose=purpose,
        at=at,
        revision=revision,
    )
    history.replay(asked, export, key, as_json=as_json)


def changes(
    since: Annotated[
        str | None, typer.Option(help="From then on, as in RFC 3339; else from the beginning.", metavar="INSTANT")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Before then; else up to now, or the end of the export.", metavar="INSTANT")
    ] = None,
    school: Annotated[
        str | None, typer.Option("--school", "--brin", help="Only of this school (BRIN4).", metavar="BRIN")
    ] = None,
    client_id: Annotated[str | None, typer.Option(help="Only of this connection.", metavar="ID")] = None,
    export: ExportFile = None,
    key: GivenKeys = None,
    as_json: AsJson = False,
) -> None:
    """Print the changes between two instants in order, one a line: the object that changed, and its changed members."""
    from api.cli import history

    wanted = history.wanted_changes(since=since, until=until, school=school, clientId=client_id)
    history.changes(wanted, export, key, as_json=as_json)
