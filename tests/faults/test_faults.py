"""After an acknowledged revocation nobody permits, whatever fails: the short form of `make stress`."""

import asyncio
import contextlib
import os
import random
import signal
from pathlib import Path

import httpx2

from tests.faults.cases import CASES, UNPROTECTED
from tests.faults.replicas import Replica, fresh_store, site_on
from tests.faults.rounds import ROUNDS_AT_ONCE, Tally, probe
from tests.faults.workload import furnish

SCHOOLS = 20  # histories' worth, which is twice as many schools


async def test_nothing_is_permitted_after_a_revocation_was_acknowledged(tmp_path: Path) -> None:
    async with fresh_store() as postgresql:
        await furnish(postgresql.url, SCHOOLS)
        async with site_on(postgresql, tmp_path) as site:
            rounds = ROUNDS_AT_ONCE * (len(CASES) + 6)
            tallies = await probe(site, CASES, rounds, random.Random(4), lambda _: None)
    for name, tally in tallies.items():
        assert_held(name, tally)


def assert_held(name: str, tally: Tally) -> None:
    assert tally.rounds > 0, name
    assert tally.leaks == 0, (name, tally.wrong)
    assert not tally.wrong, (name, tally.wrong)
    # Not each: a machine that is busy with other things lets some deadlines pass.
    assert tally.permits_before > tally.rounds / 2, f"{name}: little was permitted that could have leaked"
    assert sum(tally.after.values()) > 0, name
    assert tally.after["200 revoked"] > 0, (name, tally.after)
    # Promised are 2 seconds on a machine that has nothing else to do: `make stress` prints what it took.
    assert tally.slowest_return < 10, (name, tally.slowest_return)


async def test_the_same_probe_finds_the_leaks_of_a_cache_that_only_listens(tmp_path: Path) -> None:
    async with fresh_store() as postgresql:
        await furnish(postgresql.url, SCHOOLS)
        async with site_on(postgresql, tmp_path, (1, 1, 1), protected=False) as site:
            tallies = await probe(site, UNPROTECTED, 4 * ROUNDS_AT_ONCE, random.Random(4), lambda _: None)
    assert sum(tally.leaks for tally in tallies.values()) > 0, tallies


async def test_a_worker_that_is_replaced_while_the_store_is_away_waits_for_it(tmp_path: Path) -> None:
    """If it failed to start, the server would stop the workers that are well, too."""
    async with fresh_store() as postgresql, site_on(postgresql, tmp_path, (2,)) as site:
        (replica,) = site.replicas
        (killed, *others) = replica.workers()
        # The other one serves as well: one that was still starting would wait for the store, and answer nobody.
        os.kill(killed, signal.SIGSTOP)
        await _until_ready_again(replica)
        replica.proxy.refuse()
        os.kill(killed, signal.SIGKILL)
        while killed in replica.workers() or len(replica.workers()) < 2:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)
        # Longer than a worker needs to start, and to find the store away.
        await asyncio.sleep(5)
        assert replica.process.returncode is None
        assert set(others) < set(replica.workers())
        assert (await replica.client.get("/health/ready")).status_code == 503
        replica.proxy.restore()
        (replacing,) = set(replica.workers()) - set(others)
        os.kill(others[0], signal.SIGSTOP)
        try:
            await _until_ready_again(replica)
            assert replacing in replica.workers()
        finally:
            os.kill(others[0], signal.SIGCONT)


async def _until_ready_again(replica: Replica) -> None:
    """By a connection of its own each time, which no worker that stands still has taken already."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(httpx2.TransportError):
                async with httpx2.AsyncClient(base_url=replica.url, timeout=1) as client:
                    if (await client.get("/health/ready")).status_code == 200:
                        return
            await asyncio.sleep(0.1)
