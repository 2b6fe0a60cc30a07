"""The service as a process of its own, which can be killed and started again."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]


class Server:
    """Serves a store at one port. `tests/promises/server_launcher.py` starts its processes."""

    def __init__(self, store_url: str, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.is_up = asyncio.Event()
        self._log = folder / "server.log"
        self._launcher: asyncio.subprocess.Process | None = None
        self._pid: int | None = None
        self._environment = {
            **os.environ,
            "PRIVACY_MANAGER_MODE": "test",
            "PRIVACY_MANAGER_DATABASE_URL": store_url,
            "PRIVACY_MANAGER_VAR_DIR": str(folder),
            "PRIVACY_MANAGER_STORE_DEADLINE": "5",
            "PRIVACY_MANAGER_EXPIRY_INTERVAL": "0.5",
        }

    async def launch(self) -> None:
        """Starts the process that forks the servers."""
        with self._log.open("ab") as log:
            self._launcher = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "tests.promises.server_launcher", "serve", "--port", str(self.port)),
                cwd=ROOT,
                env=self._environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )

    async def start(self) -> None:
        assert self._launcher is not None
        assert self._launcher.stdin is not None
        self._launcher.stdin.write(b"serve\n")
        self._pid = await self._told()
        async with asyncio.timeout(60):
            while not await self._listens():
                assert _is_there(self._pid), self._log.read_text(encoding="utf-8")
                await asyncio.sleep(0.02)
        self.is_up.set()

    async def kill(self) -> None:
        await self.end(signal.SIGKILL)

    async def end(self, by: signal.Signals) -> int:
        """Asks it to end, in this way, and waits until it has; its exit status."""
        assert self._pid is not None
        self.is_up.clear()
        os.kill(self._pid, by)
        status = await self._told()
        self._pid = None
        return status

    async def stop(self) -> None:
        """Ends all of its processes."""
        if self._pid is not None and _is_there(self._pid):
            os.kill(self._pid, signal.SIGKILL)
        if self._launcher is not None and self._launcher.stdin is not None:
            self._launcher.stdin.close()
            await self._launcher.wait()

    async def _told(self) -> int:
        """The next number that the launcher writes."""
        assert self._launcher is not None
        assert self._launcher.stdout is not None
        async with asyncio.timeout(60):
            line = await self._launcher.stdout.readline()
        assert line, self._log.read_text(encoding="utf-8")
        return int(line)

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@asynccontextmanager
async def served(store_url: str, folder: Path) -> AsyncIterator[Server]:
    server = Server(store_url, folder)
    try:
        await server.launch()
        await server.start()
        yield server
    finally:
        await server.stop()
