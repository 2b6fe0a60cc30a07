"""The file of an SQLite store: made once, for nobody else to read, and known by its identity."""

import os
from pathlib import Path

from sqlalchemy.engine import URL


def make_file(url: URL) -> None:
    """Makes the SQLite file and its folder where there are none, for nobody else to read."""
    if url.get_backend_name() == "sqlite" and url.database:
        path = Path(url.database)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)


def file_identity(path: str) -> tuple[int, int]:
    """Which file is at `path` now. Raises `OSError` when there is none."""
    found = os.stat(path)
    return found.st_dev, found.st_ino
