"""Concurrent writers, each in a process of its own: `python -m bench.writers WHAT ARGUMENT...`.

`revoke ORIGIN TARGETS RATE SECONDS` sends RATE revocations a second, without waiting for answers; with RATE 0 one after
the other. `commit URL SECONDS` commits minimal changes. Both print `ready` and, at the end, as JSON the milliseconds of
each and the answers other than 200.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import asyncpg

REASON: Final = b'{"reason":"Niet meer nodig."}'

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Revoker:
    """Sends revocations over persistent connections."""

    def __init__(self, port: int, targets: list[list[str]]) -> None:
        self._port = port
        self._targets = targets
        self._idle: list[Connection] = []
        self.milliseconds: list[float] = []
        self.refused: list[str] = []

    async def revoke(self, due: float) -> None:
        """Revokes the next grant. The time counts from when it was due."""
        school, grant_id, token = self._targets.pop()
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(
            f"POST /v1/schools/{school}/grants/{grant_id}/_revoke HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(REASON)}\r\n\r\n".encode()
            + REASON
        )
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(_length(head))
        self.milliseconds.append(1000 * (time.perf_counter() - due))
        self._idle.append((reader, writer))
        if not head.startswith(b"HTTP/1.1 200"):
            self.refused.append(f"{head.split(b' ', 2)[1].decode()} {body[:200].decode()}")

    async def one_after_the_other(self, seconds: float) -> None:
        until = time.perf_counter() + seconds
        while self._targets and (now := time.perf_counter()) < until:
            await self.revoke(now)

    async def at_a_rate(self, rate: float, seconds: float) -> None:
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(min(round(rate * seconds), len(self._targets))):
                due = started + number / rate
                await asyncio.sleep(due - time.perf_counter())
                group.create_task(self.revoke(due))


def _length(head: bytes) -> int:
    lines = (line.lower() for line in head.split(b"\r\n"))
    return next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))


def revoke(origin: str, targets_file: str, rate: str, seconds: str) -> dict[str, Any]:
    targets = [line.split() for line in Path(targets_file).read_text(encoding="utf-8").splitlines()]
    revoker = Revoker(int(origin.rsplit(":", 1)[1]), targets)
    print("ready", flush=True)
    if float(rate):
        asyncio.run(revoker.at_a_rate(float(rate), float(seconds)))
    else:
        asyncio.run(revoker.one_after_the_other(float(seconds)))
    return {"milliseconds": revoker.milliseconds, "refused": revoker.refused}


def commit(url: str, seconds: str) -> dict[str, Any]:
    """Updates one row and inserts one in a transaction: the minimum of a revocation."""
    return {"milliseconds": asyncio.run(_commit(url, float(seconds))), "refused": []}


async def _commit(url: str, seconds: float) -> list[float]:
    connection = await asyncpg.connect(url)
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS bench_counted (id int PRIMARY KEY, number int);"
        "CREATE TABLE IF NOT EXISTS bench_added (number int PRIMARY KEY, said text);"
        "INSERT INTO bench_counted VALUES (1, 0) ON CONFLICT DO NOTHING"
    )
    count = await connection.prepare("UPDATE bench_counted SET number = number + 1 WHERE id = 1 RETURNING number")
    add = await connection.prepare("INSERT INTO bench_added VALUES ($1, $2)")
    print("ready", flush=True)
    milliseconds: list[float] = []
    until = time.perf_counter() + seconds
    while (started := time.perf_counter()) < until:
        async with connection.transaction():
            await add.fetch(await count.fetchval(), REASON.decode())
        milliseconds.append(1000 * (time.perf_counter() - started))
    await connection.close()
    return milliseconds


def main() -> None:
    what: dict[str, Any] = {"revoke": revoke, "commit": commit}
    print(json.dumps(what[sys.argv[1]](*sys.argv[2:])))


if __name__ == "__main__":
    main()
