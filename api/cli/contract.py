"""The command `openapi`: prints, writes or checks a published contract."""

import gc
from pathlib import Path

import typer

from api.contract.components import Document
from api.contract.text import as_text


def publish(*, write: Path | None, check: Path | None, edu_v: bool) -> None:
    """Prints or writes the contract, or raises `NotReadyToServe` if the file to check is not what the routes make."""
    text = as_text(_document(edu_v=edu_v))
    if check is not None:
        if check.read_text(encoding="utf-8") != text:
            from api.settings import NotReadyToServe

            raise NotReadyToServe(f"{check} is not the contract that the routes make: run `make openapi`.")
    elif write is not None:
        write.write_text(text, encoding="utf-8")
    else:
        typer.echo(text, nl=False)


def _document(*, edu_v: bool) -> Document:
    # Nearly all that is made here is kept: looking through it for garbage would be a twentieth of the time.
    gc.disable()
    try:
        if edu_v:
            from api.edu_v.door import documented_door

            return documented_door().openapi()
        from api.routes import documented_app

        return documented_app().openapi()
    finally:
        gc.enable()
