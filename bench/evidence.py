"""What is measured of the evidence, in a process of its own: `python -m bench.evidence write|proof URL NUMBER`."""

import asyncio
import json
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.engine import make_url

from api import evidence_keys
from api.appending import Write
from api.events import Actor, record
from api.proofs import inclusion
from api.sealing import Sealing
from api.store import Store
from bench.filling import driver_url
from models.columns import SQLITE_INSTANT
from models.events import EventKind
from models.merkle import Peaks
from models.schools import Board

PROOFS = 300
_AT_ONCE = 20_000
_EVENTS = ("number", "revision", "mark", "at", "kind", "actor", "actor_role", "state", "leaf")


def write(url: str, times: int) -> dict[str, float]:
    """Seconds that one write takes, with its event and without; they take turns."""

    async def run() -> dict[str, float]:
        store = Store(url)
        with tempfile.TemporaryDirectory() as folder:
            store.sealing = Sealing(evidence_keys.make(Path(folder) / "keys.json"))
        await _one(store, 0)
        append = Write.append
        taken: dict[str, list[float]] = {"with": [], "without": []}
        for number in range(1, times + 1):
            for name, appends in (("with", append), ("without", _nothing)):
                Write.append = appends  # type: ignore[method-assign]
                begun = time.perf_counter()
                await _one(store, number)
                taken[name].append(time.perf_counter() - begun)
        await store.aclose()
        medians = {name: statistics.median(each) for name, each in taken.items()}
        return {**medians, "ratio": medians["with"] / medians["without"]}

    return asyncio.run(run())


async def _one(store: Store, number: int) -> None:
    """A small write: one row is read and changed, as a revocation does; with who did it, and why."""
    async with store.writing() as writing:
        board = await writing.session.get(Board, "10001") or Board(number="10001")
        board.name = f"Bestuur {number}"
        writing.session.add(board)
        state = {"grantId": "0" * 36, "status": "revoked", "scopes": ["school.basis"], "number": number}
        record(
            writing, EventKind.GRANT_REVOKED, Actor("bench", "school"), state, brin="16SW", reason="Niet meer nodig."
        )


async def _nothing(writing: Write) -> None:
    await writing.session.flush()


def proof(url: str, size: int) -> dict[str, float]:
    """Seconds that an inclusion proof takes in a log of so many events: the median of proofs of random ones."""

    async def run() -> dict[str, float]:
        if make_url(url).get_backend_name() == "sqlite":
            _fill_sqlite(str(make_url(url).database), size)
        else:
            await _fill_postgresql(driver_url(url), size)
        store, chance, taken = Store(url), random.Random(1), []
        for _ in range(PROOFS):
            number = chance.randrange(size) + 1
            async with store.reading() as session:
                await session.exec(text("SELECT 1"))  # type: ignore[call-overload]
                begun = time.perf_counter()
                await inclusion(session, number, size)
                taken.append(time.perf_counter() - begun)
        await store.aclose()
        return {"seconds": statistics.median(taken)}

    return asyncio.run(run())


class _Log:
    """A log of invented leaves, and the nodes above them, in the order in which a store gets them."""

    def __init__(self, size: int) -> None:
        self.size, self.peaks, self.nodes = size, Peaks(), []  # type: ignore[var-annotated]

    def rows(self, at: Any) -> Iterator[tuple[Any, ...]]:
        for number in range(1, self.size + 1):
            leaf = os.urandom(32)
            self.peaks, completed = self.peaks.appended(leaf)
            self.nodes += [tuple(node) for node in completed]
            yield number, number, "0" * 32, at, "schools.imported", "bench", "system", "{}", leaf


def _fill_sqlite(path: str, size: int) -> None:
    log = _Log(size)
    with sqlite3.connect(path, isolation_level=None) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN")
        marks = ", ".join("?" * len(_EVENTS))
        at = datetime.now(UTC).strftime(SQLITE_INSTANT)
        connection.executemany(f"INSERT INTO events ({', '.join(_EVENTS)}) VALUES ({marks})", log.rows(at))
        connection.executemany("INSERT INTO log_nodes (level, position, hash) VALUES (?, ?, ?)", log.nodes)
        connection.execute(
            "UPDATE consent_revision SET revision = ?, events = ?, peaks = ?", (size, size, log.peaks.packed)
        )
        connection.execute("COMMIT")
        connection.execute("ANALYZE")
    connection.close()


async def _fill_postgresql(url: str, size: int) -> None:
    log = _Log(size)
    connection = await asyncpg.connect(url)
    rows = log.rows(datetime.now(UTC))
    while some := list(islice(rows, _AT_ONCE)):
        await connection.copy_records_to_table("events", records=some, columns=_EVENTS, timeout=600)
    await connection.copy_records_to_table("log_nodes", records=log.nodes, columns=("level", "position", "hash"))
    change = "UPDATE consent_revision SET revision = $1, events = $1, peaks = $2"
    await connection.execute(change, size, log.peaks.packed)
    await connection.execute("VACUUM ANALYZE", timeout=600)
    await connection.close()


if __name__ == "__main__":
    print(json.dumps({"write": write, "proof": proof}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))))
