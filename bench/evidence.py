"""Measures inclusion proofs, in a process of its own: `python -m bench.evidence URL SIZE`."""

import asyncio
import json
import os
import random
import sqlite3
import statistics
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.engine import make_url

from api.evidence.proofs import inclusion
from api.store.store import Store
from bench.filling import driver_url
from models.log.merkle import Peaks
from models.vocabulary.instants import SQLITE_INSTANT

PROOFS = 300
_AT_ONCE = 20_000
_EVENTS = ("number", "revision", "mark", "at", "kind", "actor", "actor_role", "state", "leaf")


def proof(url: str, size: int) -> dict[str, float]:
    """Seconds for an inclusion proof in a log of `size` events: the median over random events."""

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
                started = time.perf_counter()
                await inclusion(session, number, size)
                taken.append(time.perf_counter() - started)
        await store.aclose()
        return {"seconds": statistics.median(taken)}

    return asyncio.run(run())


class _Log:
    """A log of random leaves with its inner nodes, in the order in which a store gets them."""

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
    print(json.dumps(proof(sys.argv[1], int(sys.argv[2]))))
