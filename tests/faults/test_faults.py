"""After an acknowledged revocation nobody permits, whatever fails: the short form of `make stress`."""

import random
from pathlib import Path

from tests.faults.cases import CASES, UNPROTECTED
from tests.faults.replicas import fresh_store, site_on
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
