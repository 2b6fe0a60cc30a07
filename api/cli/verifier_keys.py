"""The keys with which a command verifies a log's signatures: those of `--key`, else those of this installation."""

from collections.abc import Iterable, Sequence

import typer

from api.security import evidence_keys
from api.settings import Settings
from models.log.signed_notes import NoteInvalid, VerifierKey


def given(keys: Iterable[str] | None) -> tuple[VerifierKey, ...]:
    """The keys of the option `--key`. Raises `typer.BadParameter`."""
    try:
        return tuple(VerifierKey.parse(each) for each in keys or ())
    except NoteInvalid as invalid:
        raise typer.BadParameter(f"--key: {invalid}") from None


def known(keys: Iterable[str] | None) -> tuple[VerifierKey, ...]:
    """The keys of the option, else those of this installation; none if its file of keys does not exist.

    Raises `typer.BadParameter` and `KeysInvalid`.
    """
    return given(keys) or _of_installation()


def warn_when_unknown(keys: Sequence[VerifierKey]) -> None:
    """If no key was known: warns on standard error that an export was verified only by a key that it contains."""
    if not keys:
        typer.echo(
            "The export was verified by a key that it names itself; with --key it is known whose it is.", err=True
        )


def _of_installation() -> tuple[VerifierKey, ...]:
    path = Settings().evidence_keys_file
    return evidence_keys.read(path).verifiers if path.exists() else ()
