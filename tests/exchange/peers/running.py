"""The privacy manager and the release layer as they run: each a process of its own, on this machine's loopback."""

import asyncio
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx2

from api.security.tokens import EmbeddedIssuer
from api.store.migrations import migrate
from api.store.store import Store
from models.consents.partners import Connection
from tests.worlds.live_connections import add_connections
from tests.worlds.world import PURPOSE, populate

ROOT: Final = Path(__file__).resolve().parents[3]
_STARTING_SECONDS: Final = 60
_COMMAND: Final = [sys.executable, "-c", "from api.cli.main import main; main()"]


@dataclass(frozen=True)
class Customer:
    """Who asks: what it says of itself to the release layer, and the connection that it is there."""

    client_id: str
    klantcode: str
    klantnaam: str
    sleutel: str

    def credential(self) -> dict[str, str]:
        digest = hashlib.sha256(self.sleutel.encode()).hexdigest()
        return {
            "klantcode": self.klantcode,
            "klantnaam": self.klantnaam,
            "sleutelSha256": digest,
            "clientId": self.client_id,
        }


@dataclass
class Process:
    """A process that serves at a port, and all that it wrote."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def written(self) -> str:
        return self.log.read_text("utf-8", errors="replace")

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()


@dataclass
class Manager(Process):
    """The privacy manager, with a school and connections that may be granted every scope of the profile."""

    issuer: EmbeddedIssuer = field(kw_only=True)

    def token(self, role: str, *, school: str | None = None) -> str:
        return self.issuer.mint(
            role,
            subject=f"{role}-subject",
            school=school,
            client_id=None,
            lifetime=timedelta(hours=1),
            now=datetime.now(UTC),
        )

    def grant(self, client_id: str, scopes: Iterable[str], *, brin: str = "16SW", location: str | None = None) -> str:
        """Grants these scopes; the grant's id."""
        body: dict[str, Any] = {"clientId": client_id, "scopes": sorted(scopes), "purposes": [PURPOSE]}
        if location is not None:
            body["location"] = location
        return str(self._school("", body, brin, 201)["grantId"])

    def revoke(self, grant_id: str, *, brin: str = "16SW") -> None:
        """Takes the grant back; when this returns, that was acknowledged."""
        self._school(f"/{grant_id}/_revoke", {"reason": "Niet meer nodig."}, brin, 200)

    def add_key(self, schoolkey: str, brin: str = "16SW", location: str | None = None) -> None:
        """An operator keeps this key with the school; when this returns, that was acknowledged."""
        self._operate(f"/v1/schools/{brin}/keys", {"schoolkey": schoolkey, "location": location}, 201)

    def remove_key(self, schoolkey: str, brin: str = "16SW") -> None:
        self._operate(f"/v1/schools/{brin}/keys/{schoolkey}/_remove", {}, 200)

    def _operate(self, path: str, body: dict[str, Any], status: int) -> None:
        headers = {"Authorization": f"Bearer {self.token('operator')}"}
        answer = httpx2.post(self.url + path, json=body, headers=headers, timeout=10)
        assert answer.status_code == status, answer.text

    def _school(self, path: str, body: dict[str, Any], brin: str, status: int) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.token('school', school=brin)}"}
        answer = httpx2.post(f"{self.url}/v1/schools/{brin}/grants{path}", json=body, headers=headers, timeout=10)
        assert answer.status_code == status, answer.text
        given: dict[str, Any] = answer.json()
        return given


@contextmanager
def manager_in(folder: Path, client_ids: Sequence[str], scopes: Sequence[str]) -> Iterator[Manager]:
    """The privacy manager on an SQLite file, with the schools of `tests.worlds.world` and these connections, live."""
    store_url = f"sqlite+aiosqlite:///{folder / 'privacy-manager.db'}"
    migrate(store_url)
    asyncio.run(_furnish(store_url, client_ids, scopes))
    environment = {
        "PRIVACY_MANAGER_MODE": "test",
        "PRIVACY_MANAGER_DATABASE_URL": store_url,
        "PRIVACY_MANAGER_VAR_DIR": str(folder),
        "PRIVACY_MANAGER_STORE_DEADLINE": "5",
    }
    with _serving(["serve"], environment, folder / "manager.log") as process:
        issuer = EmbeddedIssuer.at(folder / "embedded-issuer.jwk")
        yield Manager(process.process, process.port, process.log, issuer=issuer)


@contextmanager
def release_layer_in(
    folder: Path, *, las: str, manager: str, token: str, customers: Iterable[Customer], name: str = "exchange"
) -> Iterator[Process]:
    """The release layer between these two."""
    credentials = folder / f"{name}-credentials.json"
    credentials.write_text(json.dumps([customer.credential() for customer in customers]), "utf-8")
    credentials.chmod(0o600)
    environment = {
        "PRIVACY_MANAGER_EXCHANGE_TOKEN": token,
        "PRIVACY_MANAGER_EXCHANGE_CREDENTIALS": str(credentials),
    }
    arguments = ["exchange", "--upstream", las, "--manager", manager]
    with _serving(arguments, environment, folder / f"{name}.log") as process:
        yield process


@contextmanager
def _serving(arguments: Sequence[str], environment: dict[str, str], log: Path) -> Iterator[Process]:
    port = free_port()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PRIVACY_MANAGER_")}
    with log.open("ab") as written:
        process = subprocess.Popen(
            [*_COMMAND, *arguments, "--port", str(port)],
            cwd=ROOT,
            env=clean | environment,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
        )
    served = Process(process, port, log)
    try:
        wait_until(lambda: process.poll() is not None or _listens(port), _STARTING_SECONDS)
        assert process.poll() is None, served.written()
        yield served
    finally:
        served.stop()


async def _furnish(store_url: str, client_ids: Sequence[str], scopes: Sequence[str]) -> None:
    store = Store(store_url)
    try:
        await populate(store)
        async with store.writing() as write:
            await add_connections(write, client_ids, required=scopes[:1], optional=scopes[1:])
            for client_id in client_ids:
                # The date of birth is in the profile of 2.2 only.
                (await write.session.get_one(Connection, client_id)).profile = "smalle-set@2.2"
    finally:
        await store.aclose()


def free_port() -> int:
    """A port of the loopback at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it didn't happen in time"
        time.sleep(0.05)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def hanging_server() -> Iterator[str]:
    """A server that takes connections and says nothing; its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
