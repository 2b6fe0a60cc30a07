"""Files with secrets: made whole or not at all, for their owner only."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def publish(path: Path, content: bytes) -> None:
    """Makes the file; one that is there by then stays as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _draft(path) as (draft, file):
        file.write(content)
        _keep(file)
        # A link, not a rename: it fails when the name is taken.
        with suppress(FileExistsError):
            os.link(draft, path)


def replace(path: Path, content: bytes) -> None:
    """Puts this content in the file's place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of what is at `path`, be it a link, once all of it is written; until then, and where
    that fails, what is there stays as it is. Raises `OSError`, also where something other than a file is there."""
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{path} is there, and is no file")
    with _draft(path) as (draft, file):
        yield file
        _keep(file)
        draft.replace(path)


@contextmanager
def _draft(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A file beside it, by a name that nobody guesses and that nothing has yet."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield draft, file
    finally:
        draft.unlink(missing_ok=True)


def _keep(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
