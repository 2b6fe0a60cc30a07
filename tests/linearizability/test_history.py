"""The checker of histories: what is wrong is found, its right neighbour passes, and a search of all orders agrees."""

import json
from dataclasses import dataclass, replace
from typing import Final

import pytest

from tests.faults.operations import MAYBE, OTHER, REFUSED, amend, deny, grant, names, permit, resume, revoke, suspend
from tests.linearizability.history import Operation, TooManyPossibilities, from_json
from tests.linearizability.search import Search, violations


@dataclass(frozen=True)
class Case:
    """A history that is wrong, words of the sentence that says so, and one that differs little and is right."""

    title: str
    bad: list[Operation]
    says: str
    good: list[Operation]


CASES: Final = [
    Case(
        "a permit after a revocation was acknowledged",
        [grant("a", 0, 1), revoke(2, 3), permit("a", 4, 5)],
        "Possible was: revoked.",
        [grant("a", 0, 1), revoke(2, 3), permit("a", 2.9, 5)],
    ),
    Case(
        "a permit of what was amended away",
        [grant("a b", 0, 1), amend("a", 2, 3), permit("a b", 4, 5)],
        "the answers about b.",
        [grant("a b", 0, 1), amend("a", 2, 3), permit("a", 4, 5)],
    ),
    Case(
        "a reader sees the old after another saw the new",
        [grant("a", 0, 1), revoke(2, 9), deny("revoked", 3, 4), permit("a", 5, 6)],
        "Possible was: revoked.",
        [grant("a", 0, 1), revoke(2, 9), permit("a", 3, 4), deny("revoked", 5, 6)],
    ),
    Case(
        "a reader sees the old of a write of unknown outcome after another saw the new",
        [grant("a", 0, 1), revoke(2, 3, **MAYBE), deny("revoked", 4, 5), permit("a", 6, 7)],
        "Possible was: revoked.",
        [grant("a", 0, 1), revoke(2, 3, **MAYBE), permit("a", 4, 5), deny("revoked", 6, 7)],
    ),
    Case(
        "the union of two grants",
        [grant("a", 0, 1), revoke(2, 3), grant("b", 4, 9), permit("a b", 5, 6)],
        "Possible was: revoked, or granted {b}.",
        [grant("a", 0, 1), revoke(2, 3), grant("b", 4, 9), permit("b", 5, 6)],
    ),
    Case(
        "a mixture that each scope by itself explains",
        [grant("a", 0, 1), amend("b", 2, 9), permit("a b", 3, 4)],
        "Each scope can be explained by itself",
        [grant("a", 0, 1), amend("b", 2, 9), permit("b", 3, 4)],
    ),
    Case(
        "an acknowledged write that is lost",
        [grant("a", 0, 1), amend("b", 2, 3), permit("a", 4, 5), permit("a", 6, 7)],
        "the answers about a, b.",
        [grant("a", 0, 1), amend("b", 2, 3, **REFUSED), permit("a", 4, 5), permit("a", 6, 7)],
    ),
    Case(
        "a deny after a grant was acknowledged, which stays",
        [grant("a", 0, 1), deny("no_grant", 2, 3), deny("no_grant", 4, 5)],
        "Possible was: granted {a}.",
        [grant("a", 0, 3.5), deny("no_grant", 2, 3), permit("a", 4, 5)],
    ),
    Case(
        "a revocation of unknown outcome that is undone by nothing",
        [grant("a", 0, 1), revoke(2, 3, **MAYBE), permit("a", 4, 5), deny("revoked", 6, 7), permit("a", 8, 9)],
        "Possible was: revoked.",
        [
            grant("a", 0, 1),
            revoke(2, 3, **MAYBE),
            permit("a", 4, 5),
            deny("revoked", 6, 7),
            grant("a", 7, 7.5),
            permit("a", 8, 9),
        ],
    ),
    Case(
        "one write of unknown outcome that takes effect twice",
        [grant("a", 0, 1), suspend(2, 3, **MAYBE), deny("suspended", 4, 5), resume(6, 7), deny("suspended", 8, 9)],
        "Possible was: granted {a}.",
        [
            grant("a", 0, 1),
            suspend(2, 3, **MAYBE),
            suspend(2, 4, **MAYBE),
            deny("suspended", 4, 5),
            resume(6, 7),
            deny("suspended", 8, 9),
        ],
    ),
    Case(
        "the effect of a write before it was called",
        [grant("a", 0, 1), deny("revoked", 2, 3), revoke(4, 5)],
        "Possible was: granted {a}.",
        [grant("a", 0, 1), deny("revoked", 2, 3), revoke(2.5, 5)],
    ),
    Case(
        "the effect of a write that was refused",
        [grant("a", 0, 1), revoke(2, 3, **REFUSED), deny("revoked", 4, 5)],
        "Possible was: granted {a}.",
        [grant("a", 0, 1), revoke(2, 3, **MAYBE), deny("revoked", 4, 5)],
    ),
    Case(
        "a permit of a scope that was never granted",
        [grant("a", 0, 1), permit("a c", 2, 3)],
        "the answers about c.",
        [grant("a", 0, 1), amend("a c", 1.5, 1.7, **MAYBE), permit("a c", 2, 3)],
    ),
    Case(
        "a permit where nothing was ever granted",
        [permit("a", 0, 1)],
        "Possible was: no_grant.",
        [deny("no_grant", 0, 1)],
    ),
    Case(
        "a permit during a suspension",
        [grant("a", 0, 1), suspend(2, 3), permit("a", 4, 5)],
        "Possible was: suspended {a}.",
        [grant("a", 0, 1), suspend(2, 3), deny("suspended", 4, 5), resume(6, 7), permit("a", 8, 9)],
    ),
    Case(
        "a reason that was not so",
        [grant("a", 0, 1), suspend(2, 3), deny("revoked", 4, 5)],
        "Possible was: suspended {a}.",
        [grant("a", 0, 1), suspend(2, 3), revoke(3, 5), deny("revoked", 4, 5)],
    ),
    Case(
        "a reason that nothing here brings about",
        [grant("a", 0, 1), deny("partner_not_eligible", 2, 3)],
        "Possible was: granted {a}.",
        [grant("a", 0, 1), deny("scope_not_granted", 2, 3, asked="a b")],
    ),
    Case(
        "a grant that is there and has not begun",
        [grant("a", 0, 2.5), deny("not_yet_valid", 2, 3)],
        "Possible was:",
        [grant("a", 0, 2.5), deny("no_grant", 2, 3)],
    ),
    Case(
        "a scope denied that was granted",
        [grant("a b", 0, 1), deny("scope_not_granted", 2, 3, asked="b")],
        "the answers about b.",
        [grant("a b", 0, 1), amend("a", 2, 3), deny("scope_not_granted", 2, 3, asked="b")],
    ),
    Case(
        "two grants acknowledged at once",
        [grant("a", 0, 1), grant("b", 2, 3)],
        "Possible was: granted {a}.",
        [grant("a", 0, 1), revoke(2, 3, **MAYBE), grant("b", 2, 3)],
    ),
    Case(
        "a revocation of a grant that is not the one",
        [
            grant("a", 0, 1, grant="1"),
            revoke(2, 3, grant="1"),
            grant("a", 4, 5, grant="2"),
            revoke(6, 7, grant="1"),
        ],
        "Possible was: granted {a}.",
        [
            grant("a", 0, 1, grant="1"),
            revoke(2, 3, grant="1"),
            grant("a", 4, 5, grant="2"),
            revoke(6, 7, grant="2"),
        ],
    ),
    Case(
        "an answer that names a grant that has ended",
        [
            grant("a", 0, 1, grant="1"),
            revoke(2, 3, grant="1"),
            grant("a", 4, 5, grant="2"),
            permit("a", 6, 7, grant="1"),
        ],
        "Possible was: granted {a}.",
        [
            grant("a", 0, 1, grant="1"),
            revoke(2, 3, grant="1"),
            grant("a", 4, 5, **MAYBE),
            permit("a", 6, 7, grant="2"),
        ],
    ),
    Case(
        "two acknowledged writes that carry one revision",
        [grant("a", 0, 1, revision=2), grant("a", 2, 3, key=OTHER, revision=2)],
        "Two acknowledged writes carry one revision.",
        [grant("a", 0, 1, revision=2), grant("a", 2, 3, key=OTHER, revision=3)],
    ),
    Case(
        "a read with a revision from before an acknowledged write",
        [grant("a", 0, 1, key=OTHER, revision=5), deny("no_grant", 2, 3, revision=4)],
        "A revision had been seen before an older one was given.",
        [grant("a", 0, 2.5, key=OTHER, revision=5), deny("no_grant", 2, 3, revision=4)],
    ),
    Case(
        "a revision that goes back from one reader to another",
        [deny("no_grant", 0, 1, revision=5), deny("no_grant", 2, 3, key=OTHER, revision=4)],
        "A revision had been seen before an older one was given.",
        [deny("no_grant", 0, 2.5, revision=5), deny("no_grant", 2, 3, key=OTHER, revision=4)],
    ),
    Case(
        "a write with a revision that was seen before it was sent",
        [deny("no_grant", 0, 1, revision=5), grant("a", 2, 3, key=OTHER, revision=5)],
        "A revision had been seen before an older one was given.",
        [deny("no_grant", 0, 2.5, revision=5), grant("a", 2, 3, key=OTHER, revision=5)],
    ),
    Case(
        "a revision that was answered in two ways",
        [grant("a", 0, 1, revision=2), revoke(2, 9), deny("revoked", 3, 6, revision=3), permit("a", 4, 5, revision=3)],
        "Of one revision two different things were answered.",
        [grant("a", 0, 1, revision=2), revoke(2, 9), deny("revoked", 3, 6, revision=3), permit("a", 4, 5, revision=2)],
    ),
    Case(
        "an answer that does not hold the write of its own revision",
        [grant("a", 0, 1, revision=2), revoke(2, 9, revision=3), permit("a", 3, 4, revision=3)],
        "not in that of their revisions",
        [grant("a", 0, 1, revision=2), revoke(2, 9, revision=3), permit("a", 3, 4, revision=2)],
    ),
    Case(
        "writes whose revisions tell another order than their effects",
        [
            grant("a", 0, 1, revision=2),
            amend("b", 2, 9, revision=3),
            amend("c", 2, 9, revision=4),
            permit("c", 10, 11, revision=4),
            permit("b", 12, 13, revision=4),
        ],
        "Of one revision two different things were answered.",
        [
            grant("a", 0, 1, revision=2),
            amend("b", 2, 9, revision=4),
            amend("c", 2, 9, revision=3),
            permit("c", 5, 6, revision=3),
            permit("b", 12, 13, revision=4),
        ],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_a_wrong_history_is_found_and_its_neighbour_passes(case: Case) -> None:
    found = [str(violation) for violation in violations(case.bad)]
    assert any(case.says in each for each in found), found
    assert violations(case.good) == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_the_order_in_which_it_was_written_down_says_nothing(case: Case) -> None:
    assert violations(case.bad[::-1])
    assert violations(case.good[::-1]) == []


def test_a_read_under_way_sees_any_of_the_states_meanwhile() -> None:
    during = [grant("a", 0, 1), revoke(2, 3), grant("b", 4, 5), amend("c", 6, 7)]
    for seen in (permit("a", 1, 9), deny("revoked", 1, 9), permit("b", 1, 9), permit("c", 1, 9)):
        assert violations([*during, seen]) == []
    assert violations([*during, deny("suspended", 1, 9)])


def test_what_was_not_answered_says_nothing() -> None:
    assert violations([permit("a", 0, 1, **MAYBE), revoke(2, 3, **REFUSED), deny("revoked", 4, 5, **MAYBE)]) == []


def test_a_violation_says_who_saw_what_and_what_was_possible() -> None:
    (violation,) = violations([grant("a", 0, 1), revoke(2, 3), permit("a", 4, 5, replica="replica 2", revision=7)])
    assert str(violation).split("\n    ") == [
        "No order of the calls explains the answers about a. Possible was: revoked. Not explained:",
        "gateway by replica 2, 16SW/rekenrijk, from 4.0000 to 5.0000 s: permit {a}, revision 7",
    ]


def test_what_cannot_be_searched_does_not_pass() -> None:
    open_ended = [grant("a", 0, 1)]
    open_ended += [amend(f"a {number}", 2, 3, **MAYBE) for number in range(12)]
    seen = deny("scope_not_granted", 4, 5, asked="c")
    assert Search([*open_ended, seen]).run() is None
    with pytest.raises(TooManyPossibilities, match="More than 10 possibilities at: gateway"):
        Search([*open_ended, replace(seen, asked=names("a"))], most=10).run()


def test_an_operation_is_read_back_from_json_as_it_was() -> None:
    for case in CASES:
        for operation in case.bad:
            assert from_json(json.loads(json.dumps(operation.as_json()))) == operation
