"""The commands about the evidence: its keys, a witness, an export, and whether all of it is as it was."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer

from api.cli import verifier_keys
from api.cli.open_store import closing, store_of
from api.cli.verifier_keys import GivenKeys
from api.evidence import backup_recovery as restoring
from api.evidence import exports, receipts
from api.evidence.receipts import ReceiptRefused
from api.evidence.verification import faults, log_faults
from api.evidence.witness import LogRefused, Witness, WitnessRecords, follow
from api.history.daily_digests import decision_log_faults
from api.printable_text import printable
from api.security import evidence_keys
from api.security.evidence_keys import EvidenceKeys
from api.settings import Settings
from api.store.store import Store
from models.log.signed_notes import Checkpoint, VerifierKey, checkpoint_in
from models.log.verification import Audit

keys = typer.Typer(no_args_is_help=True, help="The keys of the evidence.")

Checkpoints = Annotated[
    list[Path] | None, typer.Option("--checkpoint", help="An older checkpoint, a signed note.", metavar="FILE")
]
WitnessFolder = Annotated[Path | None, typer.Option("--witness", help="The folder of a witness.", metavar="FOLDER")]
PinnedKeys = Annotated[
    list[str] | None,
    typer.Option("--key", help="A verifier key to pin; else those that it sees first.", metavar="KEY"),
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
    key: PinnedKeys = None,
) -> None:
    """Keep the log's entries and checkpoints here, and refuse a log that forked or was rolled back."""
    kept = Witness(folder, verifier_keys.given(key))
    while True:
        try:
            taken = follow(kept, url, token_file.read_text(encoding="ascii").strip())
            typer.echo(printable(f"{taken.origin}: {taken.size} entries"))
        except (httpx2.HTTPError, OSError) as error:
            # Who keeps looking looks again; a log that is refused ends it.
            if not interval:
                raise
            typer.echo(printable(f"not this time: {error}"), err=True)
        if not interval:
            return
        time.sleep(interval)


def export(file: Annotated[Path, typer.Argument(help="The file to write.", metavar="FILE")]) -> None:
    """Write the log, its checkpoint and the public keys to a file of JSON lines, which can be verified anywhere."""
    settings = Settings()
    found = evidence_keys.read(settings.evidence_keys_file)
    store = store_of(settings)
    size = asyncio.run(closing(store, exports.write_export(store, found, file)))
    typer.echo(f"{size} entries in {file}")


def verify(
    older: Checkpoints = None,
    witness: WitnessFolder = None,
    key: GivenKeys = None,
    export: Export = None,
    decisions: Annotated[
        bool, typer.Option(help="Whether to read the whole decision log too; an export has none.")
    ] = True,
) -> None:
    """Check that all is as it was: the log and its tree, the grants, and every fact that decisions rest on.

    The decision log too, against the digests of its days. With an older checkpoint, or a witness, also that nothing
    before it was changed since, by anyone.
    """
    known = verifier_keys.known(key)
    if export is not None:
        found = _of_export(export, older or [], witness, known)
        is_whole = not found
        for sentence in found:
            _tell(sentence)
        what = "The export"
    else:
        audit = _audit(witness, known)
        audit.older = [*audit.older, *(checkpoint_in(path.read_bytes(), known) for path in older or ())]
        settings = Settings()
        store = store_of(settings)
        days = settings.decision_log_days if decisions else None
        is_whole = asyncio.run(closing(store, _all_told(_of_store(store, audit, days))))
        what = "The store"
    if not is_whole:
        raise typer.Exit(1)
    typer.echo(f"{what} is whole.")


def verify_receipt(
    file: Annotated[Path, typer.Argument(help="The receipt, a compact JWS.", metavar="FILE")],
    jwks: Annotated[Path, typer.Option(help="The public keys of receipts, a JWK set.", metavar="FILE")],
    key: GivenKeys = None,
) -> None:
    """Verify a receipt offline: its signature, its checkpoint, and that its entry is in the log."""
    try:
        payload = receipts.verified(
            file.read_text("ascii").strip(), json.loads(jwks.read_bytes()), verifier_keys.known(key)
        )
    except ReceiptRefused as refused:
        typer.echo(printable(f"The receipt does not hold: {refused}."))
        raise typer.Exit(1) from None
    entry = payload["entry"]
    typer.echo(printable(f"The receipt holds: {entry['kind']} of grant {entry['grantId']} at {entry['at']}."))


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
    store = store_of(settings)
    if source is None:
        asyncio.run(closing(store, restoring.confirm(store, settings.known_checkpoint_file, found)))
        typer.echo("The store is taken as it is.")
        return
    with _source(source, found) as (until, entries):
        counted = asyncio.run(closing(store, restoring.replay(store, entries, until)))
    for kind, times in sorted(counted.items()):
        typer.echo(printable(f"{kind}: {times}"))
    typer.echo(f"The store has the {until.size} entries of the checkpoint.")


@contextmanager
def _source(path: Path, found: EvidenceKeys) -> Iterator[tuple[Checkpoint, Iterator[dict[str, Any]]]]:
    if path.is_dir():
        # Signed by this installation: of any other checkpoint, whoever made the folder could have made the entries.
        kept = WitnessRecords(path, found.verifiers)
        yield _last(kept), kept.entries()
        return
    with exports.opened(path, found.verifiers) as export:
        yield export.checkpoint, export.entries()


def register(cli: typer.Typer) -> None:
    """Adds the commands."""
    cli.add_typer(keys, name="keys")
    for command in (verify, verify_receipt, witness, export, restore):
        cli.command()(command)


def _print_public(found: EvidenceKeys) -> None:
    for each in found.verifiers:
        typer.echo(str(each))
    typer.echo(json.dumps(found.jwks))


async def _of_store(store: Store, audit: Audit, decision_log_days: int | None) -> AsyncIterator[str]:
    """What is wrong with the store; of its decision log too, where it is said how many days that is kept."""
    async with store.reading() as session:
        for sentence in await log_faults(session, audit):
            yield sentence
        for sentence in await faults(session):
            yield sentence
    if decision_log_days is not None:
        async for sentence in decision_log_faults(store, decision_log_days):
            yield sentence


async def _all_told(sentences: AsyncIterator[str]) -> bool:
    """Prints each as it is found: what comes behind it may fail. Whether there was none."""
    is_none = True
    async for sentence in sentences:
        _tell(sentence)
        is_none = False
    return is_none


def _tell(sentence: str) -> None:
    typer.echo(printable(sentence))


def _of_export(path: Path, older: list[Path], witness: Path | None, known: tuple[VerifierKey, ...]) -> list[str]:
    if witness is not None and not known:
        # On the witness's own machine nothing else is known of the log than what it pinned.
        known = tuple(WitnessRecords(witness).keys)
    with exports.opened(path, known) as export:
        audit = _audit(witness, export.known)
        audit.older = [*audit.older, *(checkpoint_in(each.read_bytes(), export.known) for each in older)]
        found = export.faults(audit)
    verifier_keys.tell_when_unknown(known)
    return found


def _audit(witness: Path | None, known: Sequence[VerifierKey]) -> Audit:
    """One that knows what the witness has seen, where there is one, by checkpoints that these keys signed."""
    if witness is None:
        return Audit()
    kept = WitnessRecords(witness, known)
    _last(kept)
    return Audit(older=kept.checkpoints(), known=list(kept.entries()))


def _last(kept: WitnessRecords) -> Checkpoint:
    if kept.last is None:
        raise LogRefused(f"{kept.folder}: this witness has not seen anything")
    return kept.last
