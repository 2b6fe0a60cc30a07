"""A partner's reader of the feed as a process that can be killed at any moment.

Run as `python -m tests.promises.feed_reader`.
It writes each change as one line, which holds the bookmark too: what was dealt with and where it got to are kept in one
step, as in a database of the partner's.
"""

import asyncio
import os
import sys
from pathlib import Path

from privacy_manager_client import Partner, Token


class Ledger:
    """The lines of a file. What a killed reader had not written to its end is not there."""

    def __init__(self, path: Path) -> None:
        whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
        self._last = whole.rpartition(b"\n")[2].decode().partition(" ")[0] or None
        self._file = path.open("ab", buffering=0)
        self._file.truncate(len(whole) + 1 if whole else 0)

    def enter(self, line: str) -> None:
        self._file.write(line.encode() + b"\n")

    async def read(self) -> str | None:
        return self._last

    async def keep(self, bookmark: str) -> None:
        self._last = bookmark


async def main(address: str, path: str, kind: str) -> None:
    ledger = Ledger(Path(path))
    async with Partner(address, Token(os.environ["TOKEN"])) as partner:
        async for change in partner.follow(ledger, streamed=kind == "streamed"):
            ledger.enter(f"{change.bookmark} {change.revision} {change.grant_id} {change.event}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
