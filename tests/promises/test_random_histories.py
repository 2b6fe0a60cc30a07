"""Whatever happened, in whatever order: the snapshot says what the rows say.

Hypothesis makes up histories of changes, which go through the service's own routes, its import of schools and its
job. Every few steps many questions are answered in four ways that must agree at every instant that matters:

    followed    by a snapshot that has taken in one change after another, from the first on
    fresh       by a snapshot that was loaded whole, just now
    partner's   by the part that a partner's own view is made of
    oracle      by `oracle.py`, from the rows alone, without the code of any snapshot or decision
"""

from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.effort import share
from tests.worlds.histories import Step, Tally, history_on, step_of
from tests.worlds.oracle import ORDER
from tests.worlds.stores import Stores

#: With fewer there is a reason of a decision that none of them comes to. The first that hypothesis makes up is empty.
FEWEST: Final = 4

# -- the runs ---------------------------------------------------------------------------------------------------------


def run(stores: Stores, folder: Path, histories: int) -> Tally:
    """Tries so many histories, each of some eighty steps; the same ones every time."""
    tally = Tally()

    @settings(
        max_examples=histories,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(st.lists(st.integers(0, 2**48).map(step_of), min_size=60, max_size=100))
    def try_one(steps: list[Step]) -> None:
        with history_on(stores(), folder, tally) as history:
            for take, named in steps:
                take(history, **named)
            history.everything_agrees(0)

    try_one()
    return tally


def test_no_history_on_sqlite_makes_the_snapshot_and_the_rows_differ(sqlite_stores: Stores, tmp_path: Path) -> None:
    tally = run(sqlite_stores, tmp_path, share(16, FEWEST))

    assert set(tally.reasons) == {*ORDER, "granted"}, "histories that never get there show nothing"
    assert tally.steps["replayed a line"] > 100


def test_no_history_on_postgresql_makes_the_snapshot_and_the_rows_differ(
    postgresql_stores: Stores, tmp_path: Path
) -> None:
    tally = run(postgresql_stores, tmp_path, share(5, 2))
    assert tally.reasons["granted"] > 0
    assert tally.steps["replayed a line"] > 0
