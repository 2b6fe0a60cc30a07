"""What clients are told while things fail is linearizable: the short form of `python -m tests.faults.histories`."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.faults.cases import Case, connection_stalled, notification_lost
from tests.faults.histories import Total, record_all
from tests.faults.workload import Plan, keys_of, record_history, running_site
from tests.linearizability.history import NOTHING, Operation, Phase
from tests.linearizability.search import violations

HISTORIES: Final = 3
OPERATIONS: Final = 200
ATTEMPTS: Final = 3
#: A cache that is told of nothing for a while is told of everything afterwards.
UNHEARD: Final = (Case("connection stalled", connection_stalled), Case("notification lost", notification_lost))


async def test_what_clients_are_told_while_things_fail_is_linearizable(tmp_path: Path) -> None:
    async with running_site(tmp_path, HISTORIES) as site:
        total = await record_all(site, HISTORIES, OPERATIONS, seed=1)
    assert total.violations == 0
    assert_much_was_seen(total)


async def test_the_same_search_finds_what_is_wrong_with_one_answer_of_many(tmp_path: Path) -> None:
    async with running_site(tmp_path, ATTEMPTS) as site:
        for attempt in range(ATTEMPTS):
            recording = await record_history(site, Plan(OPERATIONS, keys_of(attempt), "peaceful", faults=()))
            assert violations(recording.operations) == []
            # A write whose outcome nobody knows, as on a machine that is busy with other things, could explain a lot.
            if recording.tally["writes unknown"] == 0:
                return assert_forgeries_are_found(recording.operations)
    pytest.skip(
        "this machine is too busy for a history in which every write is acknowledged: run it with nothing beside it"
    )


async def test_the_same_check_finds_what_is_wrong_with_a_cache_that_only_listens(tmp_path: Path) -> None:
    async with running_site(tmp_path, 1, protected=False) as site:
        recording = await record_history(site, Plan(OPERATIONS, keys_of(0), "unprotected", UNHEARD))
    assert violations(recording.operations)


def assert_much_was_seen(total: Total) -> None:
    """A run in which nothing failed, or nothing but failures came back, would show nothing."""
    least = Counter({"operations": HISTORIES * OPERATIONS, "writes ok": 30, "reads permit": 30, "reads deny": 30})
    assert total.counted >= least, total.line()
    assert total.counted["reads none"] + total.counted["writes unknown"] > 0, total.line()
    assert total.faults, "nothing failed"


def assert_forgeries_are_found(history: list[Operation]) -> None:
    """Each answer after which a permit would be a breach, made into that permit, is found; and so is a lost grant."""
    permits = {(each.key, each.scopes): each for each in history if each.is_read and each.reason == Phase.GRANTED}
    revoked = [each for each in history if each.is_read and each.reason == Phase.REVOKED]
    assert permits
    assert revoked
    for number, read in enumerate(history):
        seen = next(
            (each for (key, _), each in permits.items() if key == read.key and each.returned < read.called), None
        )
        if read in revoked and seen is not None:
            forged = replace(read, reason=Phase.GRANTED, scopes=seen.scopes, grant=seen.grant)
            assert violations([*history[:number], forged, *history[number + 1 :]])
    last = next(each for each in reversed(history) if each.is_read and each.reason != Phase.NEVER)
    lost = replace(last, reason=Phase.NEVER, scopes=NOTHING, grant=None)
    assert violations([*(each for each in history if each is not last), lost])
