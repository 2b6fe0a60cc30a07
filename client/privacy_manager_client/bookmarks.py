"""Where a reader of the changes has got to, kept so that it goes on there after whatever stopped it."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Protocol


class Bookmarks(Protocol):
    """Keeps the bookmark of the last change that was dealt with.

    Where that lies in the database that the changes lead to, and is kept in the same transaction, every change counts
    exactly once. Elsewhere the last change may come again after a crash, and none is missed.
    """

    async def read(self) -> str | None:
        """The last that was kept; None before the first."""

    async def keep(self, bookmark: str) -> None:
        """Keeps it. Once this has returned, it must be there after a crash."""


class InFile:
    """Keeps the bookmark in a file, which holds the old one or the new one, whatever happens."""

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
