"""Bookmarks: the position of a reader of changes, stored so that it resumes there after a crash."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Protocol


class Bookmarks(Protocol):
    """Stores the bookmark of the last change that was processed.

    Stored in the transaction that processes the change, every change counts exactly once. Stored elsewhere, the last
    change may be delivered again after a crash; none is missed.
    """

    async def read(self) -> str | None:
        """The last stored bookmark; None before the first."""

    async def keep(self, bookmark: str) -> None:
        """Stores a bookmark durably: on return it must survive a crash."""


class InFile:
    """Stores the bookmark in a file, which is replaced atomically."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    async def read(self) -> str | None:
        with contextlib.suppress(FileNotFoundError):
            return await asyncio.to_thread(self._path.read_text, encoding="ascii")
        return None

    async def keep(self, bookmark: str) -> None:
        await asyncio.to_thread(self._replace, bookmark)

    def _replace(self, bookmark: str) -> None:
        beside = self._path.with_name(f"{self._path.name}.new")
        with beside.open("w", encoding="ascii") as file:
            file.write(bookmark)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
