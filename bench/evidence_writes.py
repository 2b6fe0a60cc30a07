"""Measures grants and revocations by API, with and without events: `python -m bench.evidence_writes URL TIMES`, on a
filled store. Prints the seconds of each as JSON.

The service runs in this process, so that neither network nor client is measured. The minimal write, made on the store
directly, is measured too.
"""

import asyncio
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncpg
from sqlalchemy.engine import make_url

from api.app import Service, create_app
from api.security import evidence_keys
from api.security.sealing import Sealing
from api.security.tokens import EmbeddedIssuer
from api.settings import Mode, Settings
from api.snapshot.current import CurrentSnapshot
from api.store.events import Actor, record
from api.store.store import Store
from api.store.unit_of_work import Write
from bench.filling import driver_url
from bench.world import PURPOSES, SCOPES
from models.consents.schools import Board
from models.vocabulary.event_kinds import EventKind

WITH, WITHOUT = "with", "without"
REASON: Final = "Niet meer nodig."
_WARM_UP: Final = 10
_GRANTS_IN_FORCE: Final = (
    "SELECT brin, client_id, grant_id FROM grants WHERE status = 'granted' ORDER BY grant_id LIMIT "
)


class Caller:
    """A school's administrator, who grants a connection the same again, and revokes it."""

    def __init__(self, service: Service, issuer: EmbeddedIssuer) -> None:
        self._service = service
        self._issuer = issuer
        self._tokens: dict[str, bytes] = {}

    async def grant(self, school: str, client_id: str) -> str:
        """Grants the request. Returns the grant's id."""
        body = {"clientId": client_id, "scopes": SCOPES, "purposes": PURPOSES}
        identity: str = (await self._post(school, "", body, 201))["grantId"]
        return identity

    async def revoke(self, school: str, grant_id: str) -> None:
        await self._post(school, f"/{grant_id}/_revoke", {"reason": REASON}, 200)

    def prepare(self, school: str) -> None:
        """Mints the school's token."""
        minted = self._issuer.mint(
            "school", subject="bench", school=school, lifetime=timedelta(hours=12), now=datetime.now(UTC)
        )
        self._tokens[school] = f"Bearer {minted}".encode()

    async def _post(self, school: str, path: str, body: Any, expected: int) -> Any:
        sent: list[Any] = []
        received = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

        async def receive() -> Any:
            return received.pop() if received else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        target = f"/v1/schools/{school}/grants{path}"
        headers = [(b"authorization", self._tokens[school]), (b"content-type", b"application/json")]
        await self._service(_scope(target, headers), receive, send)
        answer = b"".join(message.get("body", b"") for message in sent)
        if sent[0]["status"] != expected:
            raise RuntimeError(f"{target}: {sent[0]['status']} {answer[:300].decode()}")
        return json.loads(answer)


def _scope(path: str, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }


async def _flush_only(writing: Write) -> None:
    """Replaces `Write.append`: flushes the rows of a write without an event."""
    await writing.session.flush()


@contextmanager
def _appending(how: Callable[[Write], Any]) -> Iterator[None]:
    usual = Write.append
    Write.append = how  # type: ignore[method-assign]
    try:
        yield
    finally:
        Write.append = usual  # type: ignore[method-assign]


def _skip_history_check(_: CurrentSnapshot, _same: bool, _revision: int) -> None:
    """Disables the check of the history, since a revision without an event has no mark."""


async def measured(url: str, times: int) -> dict[str, dict[str, float]]:
    """Seconds of each write, with and without events: medians of `times` alternating measurements."""
    CurrentSnapshot._require_same_history = _skip_history_check  # type: ignore[method-assign]
    held = await _grants_in_force(url, 2 * (times + _WARM_UP))
    ways = {WITH: Write.append, WITHOUT: _flush_only}
    taken: dict[str, dict[str, list[float]]] = defaultdict(lambda: {way: [] for way in ways})
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(mode=Mode.TEST, database_url=url, var_dir=Path(folder), store_deadline=5)
        service, store = create_app(settings), Store(url)
        caller = Caller(service, EmbeddedIssuer.at(settings.issuer_key))
        async with service.running():
            store.sealing = Sealing(evidence_keys.read(settings.evidence_keys_file))
            for number in range(times + _WARM_UP):
                for way, append in ways.items():
                    school, client_id, grant_id = held.pop()
                    caller.prepare(school)
                    writes: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
                        "revocation": partial(caller.revoke, school, grant_id),
                        "grant": partial(caller.grant, school, client_id),
                        "least write": partial(_minimal_write, store, number),
                    }
                    with _appending(append):
                        for what, write in writes.items():
                            started = time.perf_counter()
                            await write()
                            if number >= _WARM_UP:
                                taken[what][way].append(time.perf_counter() - started)
        await store.aclose()
    return {what: {way: statistics.median(each) for way, each in rows.items()} for what, rows in taken.items()}


async def _minimal_write(store: Store, number: int) -> None:
    """The minimal write: reads and changes one row, and records actor and reason."""
    async with store.writing() as write:
        board = await write.session.get(Board, "10001") or Board(number="10001")
        board.name = f"Bestuur {number}"
        write.session.add(board)
        state = {"grantId": "0" * 36, "status": "revoked", "scopes": SCOPES, "number": number}
        record(write, EventKind.SCHOOLS_IMPORTED, Actor("bench", "school"), state, brin="16SW", reason=REASON)


async def _grants_in_force(url: str, many: int) -> list[tuple[str, str, str]]:
    """Grants in force, as (school, connection, grant id)."""
    if make_url(url).get_backend_name() == "sqlite":
        connection = sqlite3.connect(str(make_url(url).database))
        rows = connection.execute(f"{_GRANTS_IN_FORCE}{many}").fetchall()
        connection.close()
    else:
        store = await asyncpg.connect(driver_url(url))
        rows = [tuple(row) for row in await store.fetch(f"{_GRANTS_IN_FORCE}{many}")]
        await store.close()
    return rows


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measured(sys.argv[1], int(sys.argv[2])))))
