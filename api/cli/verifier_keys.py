"""By whose signatures a command takes a log: the keys that it is given, else those of this installation."""

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
    """Those of the option, else those of this installation; none where its file of keys is not there.

    Raises `typer.BadParameter` and `KeysInvalid`.
    """
    return given(keys) or _of_installation()


def tell_when_unknown(keys: Sequence[VerifierKey]) -> None:
    """Says on standard error that an export was verified by nothing but itself, where no key was known."""
    if not keys:
        typer.echo(
            "The export was verified by a key that it names itself; with --key it is known whose it is.", err=True
        )


def _of_installation() -> tuple[VerifierKey, ...]:
    path = Settings().evidence_keys_file
    return evidence_keys.read(path).verifiers if path.exists() else ()
