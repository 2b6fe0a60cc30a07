"""The identity of the file behind an SQLite store."""

import os


def file_identity(path: str) -> tuple[int, int]:
    """Which file is at `path` now. Raises `OSError` when there is none."""
    found = os.stat(path)
    return found.st_dev, found.st_ino
