"""The transitions of a grant: those in the table are possible, and no others."""

import itertools

import pytest

from models.consents.grants import TRANSITIONS, Step, after
from models.decision.grant_status import NOT_YET, OPEN, Status
from models.vocabulary.refusals import TransitionNotAllowed

ENDED = {Status.DECLINED, Status.REVOKED, Status.EXPIRED}

#: The transitions of the design, written a second time.
LIFE = """
requested -> granted declined
granted -> granted suspended needs_reconfirmation revoked expired
suspended -> granted revoked expired
needs_reconfirmation -> granted revoked expired
"""


def test_the_table_is_the_life_that_the_design_describes() -> None:
    described = {
        (Status(before), Status(reached))
        for before, reached_ones in (line.split(" -> ") for line in LIFE.strip().splitlines())
        for reached in reached_ones.split()
    }
    assert {(before, reached) for (before, _), reached in TRANSITIONS.items()} == described


@pytest.mark.parametrize(("status", "step"), list(itertools.product(Status, Step)))
def test_every_step_from_every_status_is_in_the_table_or_refused(status: Status, step: Step) -> None:
    if (status, step) in TRANSITIONS:
        assert after(status, step) is TRANSITIONS[status, step]
        return
    with pytest.raises(TransitionNotAllowed, match=status.value):
        after(status, step)


def test_a_refused_step_is_told_in_words() -> None:
    said = []
    for step in Step:
        with pytest.raises(TransitionNotAllowed) as refused:
            after(Status.EXPIRED, step)
        said.append(str(refused.value).removeprefix("A grant that is expired cannot ").removesuffix("."))
    assert said == ["grant", "decline", "amend", "suspend", "resume", "ask again", "revoke", "expire"]


def test_what_has_ended_never_comes_back() -> None:
    assert not [before for before, _ in TRANSITIONS if before in ENDED]


def test_everything_that_is_open_can_be_revoked_and_can_expire() -> None:
    assert all((status, step) in TRANSITIONS for status in OPEN for step in (Step.REVOKE, Step.EXPIRE))


def test_every_status_is_open_or_ended_or_not_yet_a_permission() -> None:
    assert set(Status) == OPEN | ENDED | NOT_YET
