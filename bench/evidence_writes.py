"""A grant and a revocation as callers send them, with their events and without: `python -m bench.evidence_writes URL
TIMES`, on a store that holds a world. Prints as JSON the seconds that each takes.

The service is asked in this process, so that nothing but the write is measured: no network, and no client. Beside them
stands the least write that there could be, which the store alone is asked for.
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
_HELD: Final = "SELECT brin, client_id, grant_id FROM grants WHERE status = 'granted' ORDER BY grant_id LIMIT "


class Caller:
    """A school's administrator, who gives a connection what it had again, and takes it back."""

    def __init__(self, service: Service, issuer: EmbeddedIssuer) -> None:
        self._service = service
        self._issuer = issuer
        self._tokens: dict[str, bytes] = {}

    async def grant(self, school: str, client_id: str) -> str:
        """Gives what was asked for; the grant's identity."""
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


async def _without(writing: Write) -> None:
    """What a write does at its end when it appends no event: its own rows go to the store."""
    await writing.session.flush()


@contextmanager
def _appending(how: Callable[[Write], Any]) -> Iterator[None]:
    usual = Write.append
    Write.append = how  # type: ignore[method-assign]
    try:
        yield
    finally:
        Write.append = usual  # type: ignore[method-assign]


def _trust(_: CurrentSnapshot, _same: bool, _revision: int) -> None:
    """A revision without an event has no mark, by which the snapshot knows the history: here it does not look."""


async def measured(url: str, times: int) -> dict[str, dict[str, float]]:
    """Seconds that each write takes, by how it was done: medians of so many, which took turns."""
    CurrentSnapshot._require_same_history = _trust  # type: ignore[method-assign]
    held = await _held(url, 2 * (times + _WARM_UP))
    ways = {WITH: Write.append, WITHOUT: _without}
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
                        "least write": partial(_least, store, number),
                    }
                    with _appending(append):
                        for what, write in writes.items():
                            begun = time.perf_counter()
                            await write()
                            if number >= _WARM_UP:
                                taken[what][way].append(time.perf_counter() - begun)
        await store.aclose()
    return {what: {way: statistics.median(each) for way, each in found.items()} for what, found in taken.items()}


async def _least(store: Store, number: int) -> None:
    """One row is read and changed; with who did it, and why."""
    async with store.writing() as write:
        board = await write.session.get(Board, "10001") or Board(number="10001")
        board.name = f"Bestuur {number}"
        write.session.add(board)
        state = {"grantId": "0" * 36, "status": "revoked", "scopes": SCOPES, "number": number}
        record(write, EventKind.SCHOOLS_IMPORTED, Actor("bench", "school"), state, brin="16SW", reason=REASON)


async def _held(url: str, many: int) -> list[tuple[str, str, str]]:
    """Grants that stand: school, connection and identity."""
    if make_url(url).get_backend_name() == "sqlite":
        connection = sqlite3.connect(str(make_url(url).database))
        found = connection.execute(f"{_HELD}{many}").fetchall()
        connection.close()
    else:
        store = await asyncpg.connect(driver_url(url))
        found = [tuple(row) for row in await store.fetch(f"{_HELD}{many}")]
        await store.close()
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measured(sys.argv[1], int(sys.argv[2])))))
