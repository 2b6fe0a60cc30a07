"""Measurements without a server, each in a process of its own: `python -m bench.in_process WHAT ARGUMENT...`.

load URL, stream URL, decide URL QUESTIONS SECONDS and change SIZE...; each prints one JSON value.
"""

import asyncio
import gc
import json
import os
import random
import sqlite3
import statistics
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy.engine import make_url

from api.app import source_for
from api.gateways.authzen import question_of
from api.snapshot.current import CurrentSnapshot
from api.snapshot.fact_rows import CHANGED, CHANGED_GRANTS
from api.snapshot.source import EVERYTHING
from api.store.store import Store
from bench.filling import driver_url
from bench.world import PURPOSES, SCOPES, brin, client_id
from models.decision.decision import decide
from models.decision.packed_grants import Granted, GrantFacts
from models.decision.snapshot import Changes, Snapshot

SCHOOLS = 8_000
CHANGES = 400
_PREFETCH = 2_000


def load(url: str) -> float:
    """Seconds to load the snapshot."""

    async def run() -> float:
        store = Store(url)
        current = CurrentSnapshot(source_for(store), 5)
        started = time.perf_counter()
        await current.load()
        taken = time.perf_counter() - started
        await current.aclose()
        await store.aclose()
        return taken

    return asyncio.run(run())


def stream(url: str) -> float:
    """Seconds for the driver alone to read and discard the same rows."""
    parts = make_url(url)
    started = time.perf_counter()
    if parts.get_backend_name() == "sqlite":
        connection = sqlite3.connect(str(parts.database))
        for query in (*CHANGED.values(), CHANGED_GRANTS):
            for _ in connection.execute(query.replace("$1", "?"), (EVERYTHING,)):
                pass
    else:
        asyncio.run(_stream_postgresql(driver_url(url)))
    return time.perf_counter() - started


async def _stream_postgresql(url: str) -> None:
    connection = await asyncpg.connect(url)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        for query in (*CHANGED.values(), CHANGED_GRANTS):
            async for _ in connection.cursor(query, EVERYTHING, prefetch=_PREFETCH):
                pass
    await connection.close()


def decisions(url: str, questions: str, seconds: str) -> dict[str, float]:
    """Decisions a second in this process, and the size and load time of its snapshot."""
    bodies = Path(questions).read_bytes().splitlines()
    asked = [question_of(body) for body in bodies]
    before = _resident_bytes()
    started = time.perf_counter()
    snapshot = Snapshot().after(asyncio.run(_changes(url)))
    loaded = time.perf_counter() - started
    gc.collect()
    gc.freeze()
    taken = _resident_bytes() - before
    now, done, permits = datetime.now(UTC), 0, 0
    started = time.perf_counter()
    while (spent := time.perf_counter() - started) < float(seconds):
        permits += sum(decide(snapshot, question, now).permit for question in asked)
        done += len(asked)
    return {"per_second": done / spent, "bytes": taken, "load_seconds": loaded, "permits": permits / done}


async def _changes(url: str) -> Changes:
    store = Store(url)
    source = source_for(store)
    try:
        return await source.changes(EVERYTHING)
    finally:
        await source.drop()
        await store.aclose()


def changes(*sizes: str) -> list[float]:
    """Microseconds to apply one changed grant, for each number of grants: the median of alternating runs."""
    snapshots = [_snapshot(int(size) // SCHOOLS) for size in sizes]
    gc.collect()
    gc.freeze()
    chance = random.Random("what changes")
    taken: list[list[float]] = [[] for _ in snapshots]
    for number in range(CHANGES):
        for index, snapshot in enumerate(snapshots):
            connections = int(sizes[index]) // SCHOOLS
            fact = _fact(chance.randrange(connections), chance.randrange(SCHOOLS), "revoked", 2)
            change = Changes(revision=2 + number, grants=Granted.latest([fact]))
            started = time.perf_counter()
            snapshots[index] = snapshot.after(change)
            taken[index].append(time.perf_counter() - started)
    return [1e6 * statistics.median(each) for each in taken]


def _snapshot(connections: int) -> Snapshot:
    return Snapshot().after(Changes(revision=1, grants=Granted.latest(_facts(connections))))


def _facts(connections: int) -> Iterator[GrantFacts]:
    for connection in range(connections):
        for school in range(SCHOOLS):
            yield _fact(connection, school, "granted" if (connection + school) % 2 else "revoked", 1)


_CHANCE, _SCOPES, _PURPOSES = random.Random("identities"), frozenset(SCOPES), frozenset(PURPOSES)
_NOW = datetime(2026, 8, 1, tzinfo=UTC)


def _fact(connection: int, school: int, status: str, revision: int) -> GrantFacts:
    return GrantFacts(
        grant_id=str(uuid.UUID(int=_CHANCE.getrandbits(128), version=4)),
        client_id=client_id(connection),
        brin=brin(school),
        location=None,
        scopes=_SCOPES,
        purposes=_PURPOSES,
        status=status,
        valid_from=_NOW - timedelta(seconds=_CHANCE.getrandbits(24)),
        valid_until=None,
        suspended_until=None,
        reconfirm_by=None,
        granted_at_revision=revision,
    )


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    what: dict[str, Any] = {"load": load, "stream": stream, "decide": decisions, "change": changes}
    print(json.dumps(what[sys.argv[1]](*sys.argv[2:])))


if __name__ == "__main__":
    main()
