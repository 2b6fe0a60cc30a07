"""Names and options of the commands about the evidence; `api/cli/evidence.py` is imported when one of them runs."""

from pathlib import Path
from typing import Annotated

import typer

keys = typer.Typer(no_args_is_help=True, help="The keys of the evidence.")

GivenKeys = Annotated[
    list[str] | None,
    typer.Option("--key", help="A verifier key of the log; else those of this installation.", metavar="KEY"),
]
Checkpoints = Annotated[
    list[Path] | None, typer.Option("--checkpoint", help="An older checkpoint, a signed note.", metavar="FILE")
]
WitnessFolder = Annotated[Path | None, typer.Option("--witness", help="The folder of a witness.", metavar="FOLDER")]
PinnedKeys = Annotated[
    list[str] | None,
    typer.Option("--key", help="A verifier key to pin; else those that it sees first.", metavar="KEY"),
]
Export = Annotated[Path | None, typer.Option("--export", help="An export, instead of the store.", metavar="FILE")]


def register(cli: typer.Typer) -> None:
    """Adds the commands."""
    cli.add_typer(keys, name="keys")
    for command in (verify, verify_receipt, witness, export, restore):
        cli.command()(command)


@keys.command("show")
def show_keys() -> None:
    """Print the public keys: of checkpoints a verifier key a line, then the JWK set of receipts."""
    from api.cli import evidence

    evidence.show_keys()


@keys.command("rotate")
def rotate_keys() -> None:
    """Add a new key of each kind. Copy the file to every machine, restart, and retire the old one later."""
    from api.cli import evidence

    evidence.rotate_keys()


@keys.command("retire")
def retire_keys() -> None:
    """End a rotation: of the older keys only the public halves are kept."""
    from api.cli import evidence

    evidence.retire_keys()


def witness(
    folder: Annotated[Path, typer.Argument(help="Where it keeps what it has seen.", metavar="FOLDER")],
    url: Annotated[str, typer.Option(help="The privacy manager's address.")],
    token_file: Annotated[Path, typer.Option(help="A file with an operator's access token, read each time.")],
    interval: Annotated[float, typer.Option(help="Seconds between two looks; 0 for a single one.", min=0)] = 0,
    key: PinnedKeys = None,
) -> None:
    """Keep the log's entries and checkpoints here, and refuse a log that forked or was rolled back."""
    from api.cli import evidence

    evidence.witness(folder, url, token_file, interval, key)


def export(file: Annotated[Path, typer.Argument(help="The file to write.", metavar="FILE")]) -> None:
    """Write the log, its checkpoint and the public keys to a file of JSON lines, which can be verified anywhere."""
    from api.cli import evidence

    evidence.export(file)


def verify(
    older: Checkpoints = None,
    witness: WitnessFolder = None,
    key: GivenKeys = None,
    export: Export = None,
    decisions: Annotated[
        bool, typer.Option(help="Whether to read the whole decision log too; an export has none.")
    ] = True,
) -> None:
    """Verify that the log and its tree, the grants, and all facts of decisions are unchanged.

    The decision log is verified too, against its daily digests. With an older checkpoint, or a witness, the log up to
    that point is verified against it, which shows a change by anyone, also by an administrator of the store.
    """
    from api.cli import evidence

    if export is not None:
        evidence.verify_export(export, older or [], witness, key)
    else:
        evidence.verify_store(older or [], witness, key, decisions=decisions)


def verify_receipt(
    file: Annotated[Path, typer.Argument(help="The receipt, a compact JWS.", metavar="FILE")],
    jwks: Annotated[Path, typer.Option(help="The public keys of receipts, a JWK set.", metavar="FILE")],
    key: GivenKeys = None,
) -> None:
    """Verify a receipt offline: its signature, its checkpoint, and that its entry is in the log."""
    from api.cli import evidence

    evidence.verify_receipt(file, jwks, key)


def restore(
    source: Annotated[
        Path | None, typer.Option("--from", help="A witness's folder, or an export.", metavar="FOLDER or FILE")
    ] = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="Take the store as it is.")] = False,
) -> None:
    """After an older backup was put back: replay the changes that it lacks, or confirm that they are lost."""
    if (source is None) is not confirm:
        raise typer.BadParameter("name where to replay from (--from), or confirm (--confirm)")
    from api.cli import evidence

    if source is None:
        evidence.confirm_restored()
    else:
        evidence.restore(source)
