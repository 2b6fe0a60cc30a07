"""The commands about the evidence: its keys, a witness, an export, and whether all of it is as it was."""

import asyncio
import json
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeVar

import httpx2
import typer
from pydantic import BaseModel, ValidationError
from sqlmodel import col, select

from api import evidence_keys, receipts
from api import restore as restoring
from api.evidence_keys import EvidenceKeys
from api.proofs import checkpoint
from api.receipts import ReceiptRefused
from api.restore import ReplayRefused
from api.settings import Settings
from api.store import Store
from api.strict_json import Malformed, strict_object
from api.verification import faults, log_faults
from api.witness import Witness, follow
from models.audit import Audit, Kept, audited
from models.events import Event
from models.log_entries import canonical, entry_of
from models.signed_notes import Checkpoint, NoteInvalid, VerifierKey, checkpoint_in

Result = TypeVar("Result")

keys = typer.Typer(no_args_is_help=True, help="The keys of the evidence.")

Checkpoints = Annotated[
    list[Path] | None, typer.Option("--checkpoint", help="An older checkpoint, a signed note.", metavar="FILE")
]
WitnessFolder = Annotated[Path | None, typer.Option("--witness", help="The folder of a witness.", metavar="FOLDER")]
VerifierKeys = Annotated[
    list[str] | None, typer.Option("--key", help="A verifier key; else those of this installation.", metavar="KEY")
]
Export = Annotated[Path | None, typer.Option("--export", help="An export, instead of the store.", metavar="FILE")]


@keys.command("show")
def show_keys() -> None:
    """Print the public keys: of checkpoints a verifier key a line, then the JWK set of receipts."""
    _print_public(evidence_keys.read(Settings().evidence_keys_file))


@keys.command("rotate")
def rotate_keys() -> None:
    """Add a new key of each kind. Copy the file to every machine, restart, and retire the old one later."""
    _print_public(evidence_keys.rotate(Settings().evidence_keys_file))


@keys.command("retire")
def retire_keys() -> None:
    """End a rotation: of the older keys only the public halves are kept."""
    _print_public(evidence_keys.retire(Settings().evidence_keys_file))


def witness(
    folder: Annotated[Path, typer.Argument(help="Where it keeps what it has seen.", metavar="FOLDER")],
    url: Annotated[str, typer.Option(help="The privacy manager's address.")],
    token_file: Annotated[Path, typer.Option(help="A file with an operator's access token, read each time.")],
    interval: Annotated[float, typer.Option(help="Seconds between two looks; 0 for a single one.", min=0)] = 0,
    key: VerifierKeys = None,
) -> None:
    """Keep the log's entries and checkpoints here, and refuse a log that forked or was rolled back."""
    kept = Witness(folder, [VerifierKey.parse(each) for each in key or ()])
    while True:
        try:
            taken = follow(kept, url, token_file.read_text(encoding="ascii").strip())
            typer.echo(f"{taken.origin}: {taken.size} entries")
        except (httpx2.HTTPError, OSError) as error:
            # Who keeps looking looks again; a log that is refused ends it.
            if not interval:
                raise
            typer.echo(f"not this time: {error}", err=True)
        if not interval:
            return
        time.sleep(interval)


def export(file: Annotated[Path, typer.Argument(help="The file to write.", metavar="FILE")]) -> None:
    """Write the log, its checkpoint and the public keys to a file of JSON lines, which can be verified anywhere."""
    settings = Settings()
    found = evidence_keys.read(settings.evidence_keys_file)
    store = Store(settings.store_url)
    size = asyncio.run(_closing(store, write_export(store, found, file)))
    typer.echo(f"{size} entries in {file}")


def verify(
    older: Checkpoints = None, witness: WitnessFolder = None, key: VerifierKeys = None, export: Export = None
) -> None:
    """Check that all is as it was: the log and its tree, the grants, and every fact that decisions rest on.

    With an older checkpoint, or a witness, also that nothing before it was changed since, by anyone.
    """
    known = [VerifierKey.parse(each) for each in key or ()]
    audit = Audit()
    if witness is not None:
        kept = Witness(witness)
        audit = Audit(older=kept.checkpoints(), known=list(kept.entries()))
    if export is not None:
        found = _of_export(export, audit, older or [], known)
        what = "The export"
    else:
        known = known or list(_own_keys())
        audit.older = [*audit.older, *(checkpoint_in(path.read_bytes(), known) for path in older or ())]
        store = Store(Settings().store_url)
        found = asyncio.run(_closing(store, _of_store(store, audit)))
        what = "The store"
    for line in found:
        typer.echo(line)
    if found:
        raise typer.Exit(1)
    typer.echo(f"{what} is whole.")


def verify_receipt(
    file: Annotated[Path, typer.Argument(help="The receipt, a compact JWS.", metavar="FILE")],
    jwks: Annotated[Path, typer.Option(help="The public keys of receipts, a JWK set.", metavar="FILE")],
    key: VerifierKeys = None,
) -> None:
    """Verify a receipt offline: its signature, its checkpoint, and that its entry is in the log."""
    known = [VerifierKey.parse(each) for each in key or ()] or list(_own_keys())
    try:
        payload = receipts.verified(file.read_text("ascii").strip(), json.loads(jwks.read_bytes()), known)
    except ReceiptRefused as refused:
        typer.echo(f"The receipt does not hold: {refused}.")
        raise typer.Exit(1) from None
    entry = payload["entry"]
    typer.echo(f"The receipt holds: {entry['kind']} of grant {entry['grantId']} at {entry['at']}.")


def restore(
    source: Annotated[
        Path | None, typer.Option("--from", help="A witness's folder, or an export.", metavar="FOLDER or FILE")
    ] = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="Take the store as it is.")] = False,
) -> None:
    """After an older backup was put back: replay the changes that it lacks, or confirm that they are lost."""
    if (source is None) is not confirm:
        raise typer.BadParameter("name where to replay from (--from), or confirm (--confirm)")
    settings = Settings()
    found = evidence_keys.read(settings.evidence_keys_file)
    store = Store(settings.store_url)
    if source is None:
        asyncio.run(_closing(store, restoring.confirm(store, settings.known_checkpoint_file, found)))
        typer.echo("The store is taken as it is.")
        return
    until, entries = _source(source, found)
    counted = asyncio.run(_closing(store, restoring.replay(store, entries, until)))
    for kind, times in sorted(counted.items()):
        typer.echo(f"{kind}: {times}")
    typer.echo(f"The store has the {until.size} entries of the checkpoint.")


async def _closing(store: Store, work: Coroutine[Any, Any, Result]) -> Result:
    try:
        return await work
    finally:
        await store.aclose()


def _source(path: Path, found: EvidenceKeys) -> tuple[Checkpoint, Iterator[dict[str, Any]]]:
    if path.is_dir():
        kept = Witness(path)
        if kept.last is None:
            raise ReplayRefused("This witness has not seen anything.")
        return kept.last, kept.entries()
    head, entries = _opened(path)
    return checkpoint_in(head.checkpoint.encode(), found.verifiers), entries


def register(cli: typer.Typer) -> None:
    """Adds the commands."""
    cli.add_typer(keys, name="keys")
    for command in (verify, verify_receipt, witness, export, restore):
        cli.command()(command)


def _print_public(found: EvidenceKeys) -> None:
    for each in found.verifiers:
        typer.echo(str(each))
    typer.echo(json.dumps(found.jwks))


def _own_keys() -> Iterator[VerifierKey]:
    path = Settings().evidence_keys_file
    if path.exists():
        yield from evidence_keys.read(path).verifiers


async def _of_store(store: Store, audit: Audit) -> list[str]:
    async with store.reading() as session:
        return [*await log_faults(session, audit), *await faults(session)]


def _of_export(path: Path, audit: Audit, older: list[Path], known: list[VerifierKey]) -> list[str]:
    head, entries = _opened(path)
    known = known or [VerifierKey.parse(each) for each in head.keys]
    notes = [head.checkpoint.encode(), *(each.read_bytes() for each in older)]
    audit.older = [*audit.older, *(checkpoint_in(note, known) for note in notes)]
    return audited((Kept(each) for each in entries), audit)


class _Head(BaseModel):
    """The first line of an export."""

    checkpoint: str
    keys: list[str]


def _opened(path: Path) -> tuple[_Head, Iterator[dict[str, Any]]]:
    """An export's first line, and its entries. Raises `NoteInvalid` for what is none."""
    lines = path.open("rb")
    try:
        return _Head.model_validate_json(lines.readline()), _entries(path, lines)
    except ValidationError:
        lines.close()
        raise NoteInvalid(f"{path} does not begin as an export") from None


def _entries(path: Path, lines: BinaryIO) -> Iterator[dict[str, Any]]:
    with lines:
        for number, line in enumerate(lines, start=2):
            try:
                found = strict_object(line)
            except Malformed as malformed:
                raise NoteInvalid(f"{path}, line {number}: {malformed}") from None
            if not isinstance(found.get("number"), int):
                raise NoteInvalid(f"{path}, line {number}: not an entry")
            yield found


async def write_export(store: Store, found: EvidenceKeys, path: Path) -> int:
    """Writes the log to a file; how many entries it has."""
    size = 0
    async with store.reading() as session:
        head = {"checkpoint": await checkpoint(session, found), "keys": [str(key) for key in found.verifiers]}
        with path.open("w", encoding="utf-8") as file:
            file.write(json.dumps(head) + "\n")
            query = select(Event).order_by(col(Event.number)).execution_options(yield_per=1000)
            async for event in await session.stream_scalars(query):
                file.write(canonical(entry_of(event)).decode() + "\n")
                size += 1
    return size
