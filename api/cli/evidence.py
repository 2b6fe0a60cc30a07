"""The commands about the evidence: keys, witness, export, verification, receipts and restore."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import typer

from api.cli import verifier_keys
from api.cli.open_store import closing, store_of
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


def show_keys() -> None:
    """Prints the public keys."""
    _print_public(evidence_keys.read(Settings().evidence_keys_file))


def rotate_keys() -> None:
    """Adds a key of each kind, and prints all public keys."""
    _print_public(evidence_keys.rotate(Settings().evidence_keys_file))


def retire_keys() -> None:
    """Deletes the private keys of the older key pairs, and prints all public keys."""
    _print_public(evidence_keys.retire(Settings().evidence_keys_file))


def witness(folder: Path, url: str, token_file: Path, interval: float, key: list[str] | None) -> None:
    """Follows the log at `url`, once or every `interval` seconds. Raises `LogRefused` for a log that forked."""
    kept = Witness(folder, verifier_keys.given(key))
    while True:
        try:
            taken = follow(kept, url, token_file.read_text(encoding="ascii").strip())
            typer.echo(printable(f"{taken.origin}: {taken.size} entries"))
        except (httpx2.HTTPError, OSError) as error:
            # With an interval an unreachable log is tried again at the next look; a refused log ends the command.
            if not interval:
                raise
            typer.echo(printable(f"not this time: {error}"), err=True)
        if not interval:
            return
        time.sleep(interval)


def export(file: Path) -> None:
    """Writes the export of the store of the settings."""
    settings = Settings()
    found = evidence_keys.read(settings.evidence_keys_file)
    store = store_of(settings)
    size = asyncio.run(closing(store, exports.write_export(store, found, file)))
    typer.echo(f"{size} entries in {file}")


def verify_store(older: list[Path], witness: Path | None, key: list[str] | None, *, decisions: bool) -> None:
    """Prints the faults of the store of the settings. Raises `typer.Exit` (1) if there are any."""
    known = verifier_keys.known(key)
    audit = _audit(witness, known)
    audit.older = [*audit.older, *(checkpoint_in(path.read_bytes(), known) for path in older)]
    settings = Settings()
    store = store_of(settings)
    days = settings.decision_log_days if decisions else None
    _conclude("The store", is_whole=asyncio.run(closing(store, _print_faults(_of_store(store, audit, days)))))


def verify_export(export: Path, older: list[Path], witness: Path | None, key: list[str] | None) -> None:
    """Prints the faults of an export. Raises `typer.Exit` (1) if there are any."""
    found = _of_export(export, older, witness, verifier_keys.known(key))
    for sentence in found:
        _tell(sentence)
    _conclude("The export", is_whole=not found)


def verify_receipt(file: Path, jwks: Path, key: list[str] | None) -> None:
    """Prints whether the receipt holds. Raises `typer.Exit` (1) when it does not."""
    try:
        payload = receipts.verified(
            file.read_text("ascii").strip(), json.loads(jwks.read_bytes()), verifier_keys.known(key)
        )
    except ReceiptRefused as refused:
        typer.echo(printable(f"The receipt does not hold: {refused}."))
        raise typer.Exit(1) from None
    entry = payload["entry"]
    typer.echo(printable(f"The receipt holds: {entry['kind']} of grant {entry['grantId']} at {entry['at']}."))


def confirm_restored() -> None:
    """Accepts the store of the settings as it is, after an older backup was put back."""
    settings = Settings()
    found = evidence_keys.read(settings.evidence_keys_file)
    store = store_of(settings)
    asyncio.run(closing(store, restoring.confirm(store, settings.known_checkpoint_file, found)))
    typer.echo("The store is taken as it is.")


def restore(source: Path) -> None:
    """Replays the entries that the store of the settings lacks from a witness's folder or an export.

    Raises `ReplayRefused`.
    """
    settings = Settings()
    found = evidence_keys.read(settings.evidence_keys_file)
    store = store_of(settings)
    with _source(source, found) as (until, entries):
        counted = asyncio.run(closing(store, restoring.replay(store, entries, until)))
    for kind, times in sorted(counted.items()):
        typer.echo(printable(f"{kind}: {times}"))
    typer.echo(f"The store has the {until.size} entries of the checkpoint.")


@contextmanager
def _source(path: Path, found: EvidenceKeys) -> Iterator[tuple[Checkpoint, Iterator[dict[str, Any]]]]:
    if path.is_dir():
        # Only keys of this installation count: with another key, the entries could be made up by the folder's writer.
        kept = WitnessRecords(path, found.verifiers)
        yield _last(kept), kept.entries()
        return
    with exports.opened(path, found.verifiers) as export:
        yield export.checkpoint, export.entries()


def _print_public(found: EvidenceKeys) -> None:
    for each in found.verifiers:
        typer.echo(str(each))
    typer.echo(json.dumps(found.jwks))


async def _of_store(store: Store, audit: Audit, decision_log_days: int | None) -> AsyncIterator[str]:
    """The faults of the store, and of its decision log if `decision_log_days`, the days that it is kept, is given."""
    async with store.reading() as session:
        for sentence in await log_faults(session, audit):
            yield sentence
        for sentence in await faults(session):
            yield sentence
    if decision_log_days is not None:
        async for sentence in decision_log_faults(store, decision_log_days):
            yield sentence


async def _print_faults(sentences: AsyncIterator[str]) -> bool:
    """Prints each fault when it is found, since finding the next one may fail. Returns whether there was none."""
    is_none = True
    async for sentence in sentences:
        _tell(sentence)
        is_none = False
    return is_none


def _conclude(what: str, *, is_whole: bool) -> None:
    if not is_whole:
        raise typer.Exit(1)
    typer.echo(f"{what} is whole.")


def _tell(sentence: str) -> None:
    typer.echo(printable(sentence))


def _of_export(path: Path, older: list[Path], witness: Path | None, known: tuple[VerifierKey, ...]) -> list[str]:
    if witness is not None and not known:
        # On the witness's own machine the only known keys are those that it pinned.
        known = tuple(WitnessRecords(witness).keys)
    with exports.opened(path, known) as export:
        audit = _audit(witness, export.known)
        audit.older = [*audit.older, *(checkpoint_in(each.read_bytes(), export.known) for each in older)]
        found = export.faults(audit)
    verifier_keys.warn_when_unknown(known)
    return found


def _audit(witness: Path | None, known: Sequence[VerifierKey]) -> Audit:
    """A verification against the records of a witness, if given: its entries, and checkpoints signed by these keys."""
    if witness is None:
        return Audit()
    kept = WitnessRecords(witness, known)
    _last(kept)
    return Audit(older=kept.checkpoints(), known=list(kept.entries()))


def _last(kept: WitnessRecords) -> Checkpoint:
    if kept.last is None:
        raise LogRefused(f"{kept.folder}: this witness has not seen anything")
    return kept.last
