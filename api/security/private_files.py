"""Files with secrets: written atomically, and readable by their owner only."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def publish(path: Path, content: bytes) -> None:
    """Creates the file; an existing one stays as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary_file(path) as (temporary, file):
        file.write(content)
        _sync(file)
        # A link, not a rename: it fails when the name is taken.
        with suppress(FileExistsError):
            os.link(temporary, path)


def replace(path: Path, content: bytes) -> None:
    """Replaces the content of the file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that replaces the one at `path` (or a link there) once it is written completely. Until then, and if
    writing fails, the old one stays. Raises `OSError`, also when `path` is no regular file."""
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{path} is there, and is no file")
    with _temporary_file(path) as (temporary, file):
        yield file
        _sync(file)
        temporary.replace(path)


@contextmanager
def _temporary_file(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A temporary file in the same folder, with a new, unguessable name."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield temporary, file
    finally:
        temporary.unlink(missing_ok=True)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
