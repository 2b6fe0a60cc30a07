"""The check of histories against a register that is right, and against a search of all orders."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Any, Final

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.faults.operations import ALL, KEY, amend, deny, names, permit, write
from tests.linearizability.history import NOTHING, Kind, Operation, Outcome, Scopes
from tests.linearizability.register import State, after, answered, explains
from tests.linearizability.search import Search, of_scope, violations

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
