"""The checker of histories: what is wrong is found, its right neighbour passes, and a search of all orders agrees."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.faults.history import (
    NOTHING,
    Key,
    Kind,
    Operation,
    Outcome,
    Scopes,
    Search,
    State,
    TooManyPossibilities,
    after,
    answered,
    explains,
    from_json,
    of_scope,
    violations,
)

KEY: Final = Key("16SW", "rekenrijk")
OTHER: Final = Key("17TX", "rekenrijk")
ALL: Final[Scopes] = frozenset("abc")


def names(text: str) -> Scopes:
    return frozenset(text.split())


def write(kind: Kind, called: float, returned: float, scopes: str = "", **more: Any) -> Operation:
    """An acknowledged write, unless `more` says otherwise."""
    return Operation("school", more.pop("key", KEY), kind, called, returned, scopes=names(scopes), **more)


def grant(scopes: str, called: float, returned: float, **more: Any) -> Operation:
    return write(Kind.GRANT, called, returned, scopes, **more)


def amend(scopes: str, called: float, returned: float, **more: Any) -> Operation:
    return write(Kind.AMEND, called, returned, scopes, **more)


def revoke(called: float, returned: float, **more: Any) -> Operation:
    return write(Kind.REVOKE, called, returned, **more)


def suspend(called: float, returned: float, **more: Any) -> Operation:
    return write(Kind.SUSPEND, called, returned, **more)


def resume(called: float, returned: float, **more: Any) -> Operation:
    return write(Kind.RESUME, called, returned, **more)


def permit(scopes: str, called: float, returned: float, **more: Any) -> Operation:
    return deny("granted", called, returned, scopes=names(scopes), **more)


def deny(reason: str, called: float, returned: float, **more: Any) -> Operation:
    asked = names(more.pop("asked", ""))
    key = more.pop("key", KEY)
    return Operation("gateway", key, Kind.READ, called, returned, within=ALL, asked=asked, reason=reason, **more)


MAYBE: Final[dict[str, Any]] = {"outcome": Outcome.UNKNOWN}
REFUSED: Final[dict[str, Any]] = {"outcome": Outcome.FAILED}


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


# -- made-up histories -----------------------------------------------------------------------------------------------

#: What a made-up client does, how long before the instant of its effect it calls and how long after that it returns,
#: and what becomes of its answer.
Step = tuple[Kind, int, int, int, str]
STEPS: Final = st.tuples(
    st.sampled_from([*[Kind.READ] * 5, Kind.GRANT, Kind.AMEND, Kind.AMEND, Kind.REVOKE, Kind.SUSPEND, Kind.RESUME]),
    st.sampled_from([1, 1, 3, 9, 25]),
    st.sampled_from([1, 1, 3, 9, 25]),
    st.integers(0, 7),
    st.sampled_from([*["answered"] * 6, "lost", "given up", "never arrived"]),
)
#: Which scopes a question is narrowed to.
QUESTIONS: Final = tuple(map(names, ("", "", "a", "a b", "c")))
SPACE: Final = 10


@dataclass
class Register:
    """A register that is right: everything takes effect at one instant, `SPACE` apart from the next."""

    state: State = field(default_factory=State)
    revision: int = 1
    number: int = 0
    operations: list[Operation] = field(default_factory=list)

    def take(self, step: Step) -> None:
        kind, before, behind, bits, fate = step
        self.number += 1
        at = self.number * SPACE
        called, returned = at - before, at + behind
        if fate == "given up" and kind is not Kind.READ:
            # Its client had gone before it took effect.
            called, returned = called - 2 * SPACE, at - before - SPACE
        scopes = frozenset(name for bit, name in enumerate("abc") if bits >> bit & 1)
        if kind is Kind.READ:
            self._read(called, returned, QUESTIONS[bits % len(QUESTIONS)], fate)
        else:
            wanted = scopes | {f"only {self.number}"} if kind in (Kind.GRANT, Kind.AMEND) else NOTHING
            self._write(Operation(f"client {self.number}", KEY, kind, called, returned, scopes=wanted), fate)

    def _read(self, called: float, returned: float, asked: Scopes, fate: str) -> None:
        within = ALL | {f"only {number}" for number in range(1, 100)}
        read = deny("", called, returned)
        read = replace(read, within=within, asked=asked, revision=self.revision)
        reason, scopes = answered(self.state, read)
        outcome = Outcome.OK if fate == "answered" else Outcome.UNKNOWN
        self.operations.append(replace(read, reason=reason, scopes=scopes, outcome=outcome))

    def _write(self, wish: Operation, fate: str) -> None:
        led = None if fate == "never arrived" else after(self.state, wish)
        if fate != "answered":
            wish = replace(wish, outcome=Outcome.UNKNOWN)
        elif led is None:
            wish = replace(wish, outcome=Outcome.FAILED)
        if led is not None:
            self.revision += 1
            self.state = led
            if fate == "answered":
                wish = replace(wish, revision=self.revision)
        self.operations.append(wish)


def recorded(steps: Iterable[Step]) -> list[Operation]:
    register = Register()
    for step in steps:
        register.take(step)
    return register.operations


def unnumbered(history: Iterable[Operation]) -> list[Operation]:
    return [replace(operation, revision=None) for operation in history]


#: Each value is granted once only, so what was overwritten cannot be seen again.
OVERWRITES: Final = (Kind.GRANT, Kind.AMEND, Kind.REVOKE)


def overwritten(history: Sequence[Operation]) -> list[tuple[Operation, Operation]]:
    """Each acknowledged choice of scopes, with an acknowledged write that came after it and took it away."""
    acknowledged = [each for each in history if each.outcome is Outcome.OK and each.kind in OVERWRITES]
    return [
        (old, new)
        for old in acknowledged
        for new in acknowledged
        if old.kind is not Kind.REVOKE and old.returned < new.called
    ]


def stale(old: Operation, new: Operation, later: float) -> Operation:
    """A permit of the old by a read that began when the new was acknowledged."""
    called = new.returned + later
    return replace(permit("", called, called + 5), within=old.scopes, scopes=old.scopes)


HISTORIES: Final = st.lists(STEPS, min_size=4, max_size=40)
relaxed: Final = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow]
)


@relaxed
@given(HISTORIES)
def test_what_a_right_register_answers_passes(steps: list[Step]) -> None:
    history = recorded(steps)
    assert violations(history) == []
    assert violations(unnumbered(history)) == []


@relaxed
@given(HISTORIES)
def test_each_scope_of_a_right_register_passes(steps: list[Step]) -> None:
    history = [operation for operation in recorded(steps) if not operation.says_nothing]
    for scope in sorted(ALL):
        assert Search(of_scope(unnumbered(history), scope)).run() is None


@relaxed
@given(HISTORIES, st.data())
def test_a_stale_read_is_found_wherever_it_is(steps: list[Step], data: st.DataObject) -> None:
    history = recorded(steps)
    pairs = overwritten(history)
    assume(pairs)
    read = stale(*data.draw(st.sampled_from(pairs)), later=data.draw(st.sampled_from([0.5, 2, 30])))
    assert violations(unnumbered([*history, read]))


@relaxed
@given(HISTORIES, st.integers(0, 40), st.integers(1, 8))
def test_a_lost_write_is_found(steps: list[Step], at: int, reads: int) -> None:
    """An amendment that is acknowledged and never written, after a grant and before reads of the same client."""
    history = recorded([(Kind.GRANT, 1, 1, 0, "answered"), (Kind.AMEND, 1, 1, 1, "answered"), *steps[:at]])
    last = [each for each in history if each.outcome is Outcome.OK and each.kind in (Kind.GRANT, Kind.AMEND)][-1]
    end = max(operation.returned for operation in history)
    lost = amend("only lost", end + 1, end + 2)
    seen = [stale(last, lost, 10 * number + 1) for number in range(reads)]
    assert violations(unnumbered([*history, lost, *seen]))


def by_all_orders(history: Sequence[Operation]) -> bool:
    """Whether some order of all that was answered and some of what was not is one that the register could take."""
    telling = [each for each in history if not each.says_nothing]
    surely = [each for each in telling if each.outcome is Outcome.OK]
    maybe = [each for each in telling if each.outcome is Outcome.UNKNOWN]
    for chosen in range(1 << len(maybe)):
        taken = [*surely, *(each for bit, each in enumerate(maybe) if chosen >> bit & 1)]
        if any(_could_be(order) for order in permutations(taken)):
            return True
    return False


def _could_be(order: Sequence[Operation]) -> bool:
    for number, operation in enumerate(order):
        later = order[number + 1 :]
        if any(each.outcome is Outcome.OK and each.returned < operation.called for each in later):
            return False
    state = State()
    for operation in order:
        if operation.is_read:
            if not explains(state, operation, None):
                return False
            continue
        led = after(state, operation)
        if led is None:
            return False
        state = led
    return True


@st.composite
def small_histories(draw: st.DrawFn) -> list[Operation]:
    """At most six calls that overlap anyhow, with answers that may be right or wrong."""
    history = []
    for _ in range(draw(st.integers(2, 6))):
        called = draw(st.integers(0, 12))
        times: dict[str, Any] = {"called": called, "returned": called + draw(st.integers(1, 6)) + 0.5}
        outcome = draw(st.sampled_from([Outcome.OK, Outcome.OK, Outcome.UNKNOWN]))
        kind = draw(st.sampled_from([Kind.READ, Kind.READ, *Kind]))
        scopes = draw(st.sampled_from(["a", "b", "a b"]))
        if kind is Kind.READ:
            reason = draw(st.sampled_from(["granted", "granted", "revoked", "no_grant", "suspended"]))
            history.append(permit(scopes, **times) if reason == "granted" else deny(reason, **times))
        else:
            chosen = scopes if kind in (Kind.GRANT, Kind.AMEND) else ""
            history.append(write(kind, scopes=chosen, outcome=outcome, **times))
    return history


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(small_histories())
def test_a_search_of_all_orders_agrees(history: list[Operation]) -> None:
    assert (violations(history) == []) is by_all_orders(history)
