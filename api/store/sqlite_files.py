"""The identity of the file behind an SQLite store."""

import os


def file_identity(path: str) -> tuple[int, int]:
    """Device and inode of the file at `path`. Raises `OSError` when there is none."""
    status = os.stat(path)
    return status.st_dev, status.st_ino
