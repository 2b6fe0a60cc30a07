"""Whether one register that changes at instants explains all that several clients were told.

The promise: the calls for one school and one connection are linearizable. Each took effect at one instant between its
call and its answer, so that whoever asks after a revocation was acknowledged is told of it, by whichever replica.

The search is that of Wing and Gong, taken up as each answer comes in (Lowe, "Testing for linearizability", 2017). It
keeps every way in which things may stand, and a way is no more than

    state    what is granted now, and by which grant
    done     the writes under way that have taken effect in it
    spent    the writes of unknown outcome that took effect in it, and the reads under way that it does not explain yet

When a call returns, the ways in which it has not taken effect yet are led on, by the writes that are under way and by
those whose outcome was never known, until it has or nothing is left to try. Of two ways that differ in `spent` only,
one that has spent no more than the other can do whatever the other can, and is kept alone. Where nothing is under way
little more is left than a state, so a history falls apart at its quiet moments by itself.

Other keys are other searches (linearizability is compositional); revisions, which all keys share, are compared apart.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from tests.linearizability.history import Key, Operation, Phase, TooManyPossibilities, Violation
from tests.linearizability.register import State, after, explains

#: More ways than this in which things may stand when one call returns are not searched: the checker says so.
MOST_POSSIBILITIES: Final = 200_000
_MOST_NAMED: Final = 8


def violations(history: Iterable[Operation]) -> list[Violation]:
    """Everything that is wrong with a history; nothing when one register explains it. Raises `TooManyPossibilities`."""
    telling = [operation for operation in history if not operation.says_nothing]
    of_keys: dict[Key, list[Operation]] = defaultdict(list)
    for operation in telling:
        of_keys[operation.key].append(operation)
    found = [*shared_revisions(telling), *revisions_that_go_back(telling), *revisions_with_two_answers(telling)]
    for operations in of_keys.values():
        found += not_linearizable(operations)
    return found


# -- one key ---------------------------------------------------------------------------------------------------------


def not_linearizable(operations: Sequence[Operation]) -> Iterator[Violation]:
    """At most one violation of one key: the first answer that no order of its calls explains.

    Looked at once with the revisions, which tell more of the order; and only when that fails without them, and for each
    scope apart, to say what it is that cannot be.
    """
    failure = Search(operations).run()
    if failure is None:
        return
    unnumbered = [replace(operation, revision=None) for operation in operations]
    if (plain := Search(unnumbered).run()) is None:
        yield failure.told("The answers can be put in an order, but not in that of their revisions.")
    elif scopes := [scope for scope in _scopes_of(unnumbered) if Search(of_scope(unnumbered, scope)).run()]:
        yield plain.of(operations).told(f"No order of the calls explains the answers about {', '.join(scopes)}.")
    else:
        yield plain.of(operations).told(
            "Each scope can be explained by itself, but the answers as a whole never held at one instant."
        )


def of_scope(operations: Iterable[Operation], scope: str) -> list[Operation]:
    """The same calls as if there were no other scope: a register that is on or off.

    A deny because one of several scopes is missing says nothing of any one of them.
    """
    one = frozenset({scope})
    projected = []
    for operation in operations:
        if operation.reason == "scope_not_granted":
            if operation.asked and operation.asked != one:
                continue
            operation = replace(operation, asked=one)
        elif operation.is_read and operation.reason == Phase.GRANTED and scope not in operation.scopes:
            operation = replace(operation, reason="scope_not_granted", asked=one)
        projected.append(
            replace(operation, **{name: getattr(operation, name) & one for name in ("scopes", "within", "asked")})
        )
    return projected


class Failure(NamedTuple):
    """The call that cannot have been answered as it was, and how things may have stood by then."""

    operation: Operation
    possible: tuple[State, ...]

    def of(self, operations: Iterable[Operation]) -> "Failure":
        """The same with the call as it was recorded, with its revision."""
        recorded = next(each for each in operations if replace(each, revision=None) == self.operation)
        return Failure(recorded, self.possible)

    def told(self, sentence: str) -> Violation:
        states = list(dict.fromkeys(map(str, self.possible)))
        more = f", or {len(states) - _MOST_NAMED} more" if len(states) > _MOST_NAMED else ""
        named = ", or ".join(states[:_MOST_NAMED]) + more
        return Violation(f"{sentence} Possible was: {named}. Not explained:", (self.operation,))


#: The state, and the acknowledged writes under way that have taken effect in it.
Way = tuple[State, int]
#: For each way, those sets of what it has spent of which none contains another.
Ways = dict[Way, list[int]]


class Search:
    """All the ways in which one key may stand, as its calls and answers come in. Operations are bits of a mask."""

    def __init__(self, operations: Sequence[Operation], most: int = MOST_POSSIBILITIES) -> None:
        self._operations = sorted(operations, key=lambda operation: operation.called)
        self._most = most
        self._under_way: list[int] = []
        self._in_doubt: list[int] = []
        self._twin = _twins(self._operations)
        self._holds = _held_by_reads(self._operations)
        self._explained: dict[State, int] = {}
        self._ways: Ways = {(State(), 0): [0]}

    def run(self) -> Failure | None:
        """The first answer that nothing explains. Raises `TooManyPossibilities`."""
        for returns, number in _moments(self._operations):
            operation = self._operations[number]
            if not returns:
                self._call(number, operation)
                continue
            reached = self._led_on(number, operation)
            self._ways = self._settled(reached, number, operation)
            if not self._ways:
                return Failure(operation, tuple(state for state, _ in reached))
        return None

    def _call(self, number: int, operation: Operation) -> None:
        if operation.is_read:
            for (state, _), spent in self._ways.items():
                unexplained = 1 << number & ~self._explained_by(state)
                spent[:] = [each | unexplained for each in spent]
        elif operation.is_acknowledged:
            self._under_way.append(number)
        else:
            self._in_doubt.append(number)

    def _led_on(self, number: int, operation: Operation) -> Ways:
        """Every way, and all that it can lead to up to where the operation has taken effect."""
        reached: Ways = {}
        waiting = [(way, spent) for way, each in self._ways.items() for spent in each if _admits(reached, way, spent)]
        steps = len(waiting)
        while waiting:
            way, spent = waiting.pop()
            if _has_happened(way, spent, number, operation):
                continue
            for following in self._next(way, spent):
                if _admits(reached, *following):
                    waiting.append(following)
                    steps += 1
            if steps > self._most:
                raise TooManyPossibilities(f"More than {self._most} possibilities at: {operation}")
        return reached

    def _next(self, way: Way, spent: int) -> Iterator[tuple[Way, int]]:
        """The ways that are one write further."""
        state, done = way
        for number in self._under_way:
            bit = 1 << number
            if not done & bit and (led := after(state, self._operations[number])) is not None:
                yield (led, done | bit), spent & ~self._explained_by(led)
        for number in self._in_doubt:
            bit = 1 << number
            if spent & bit or self._twin[number] & ~spent:
                continue
            led = after(state, self._operations[number])
            if led is not None and led != state:
                yield (led, done), (spent | bit) & ~self._explained_by(led)

    def _settled(self, reached: Ways, number: int, operation: Operation) -> Ways:
        """Those in which the operation has taken effect, which needs no longer be remembered of it."""
        settled: Ways = {}
        for way, each in reached.items():
            for spent in each:
                if _has_happened(way, spent, number, operation):
                    state, done = way
                    _admits(settled, (state, done & ~(1 << number)), spent)
        if not operation.is_read:
            self._under_way.remove(number)
        return settled

    def _explained_by(self, state: State) -> int:
        """The reads that a state explains."""
        if (known := self._explained.get(state)) is None:
            known = 0
            for number, holds in self._holds.items():
                if explains(state, self._operations[number], holds):
                    known |= 1 << number
            self._explained[state] = known
        return known


def _has_happened(way: Way, spent: int, number: int, operation: Operation) -> bool:
    return not spent >> number & 1 if operation.is_read else bool(way[1] >> number & 1)


def _admits(ways: Ways, way: Way, spent: int) -> bool:
    """Whether this is not a way that is known already, or one that has spent more than a known one."""
    known = ways.setdefault(way, [])
    if any(each & spent == each for each in known):
        return False
    known[:] = [each for each in known if each & spent != spent]
    known.append(spent)
    return True


def _moments(operations: Sequence[Operation]) -> list[tuple[bool, int]]:
    """Calls and returns in their order. At one instant calls come first: then the two were under way together."""
    moments = []
    for number, operation in enumerate(operations):
        moments.append((operation.called, False, number))
        if operation.is_acknowledged:
            moments.append((operation.returned, True, number))
    return [(returns, number) for _, returns, number in sorted(moments)]


def _twins(operations: Sequence[Operation]) -> dict[int, int]:
    """For each write of unknown outcome the last one before it that does the same, as a mask.

    Which of the two took effect makes no difference, so the later one is tried only when the earlier one is spent.
    """
    twins: dict[int, int] = {}
    last: dict[object, int] = {}
    for number, operation in enumerate(operations):
        if not operation.is_acknowledged:
            does = (operation.kind, operation.scopes, operation.grant)
            twins[number] = last.get(does, 0)
            last[does] = 1 << number
    return twins


def _held_by_reads(operations: Sequence[Operation]) -> dict[int, int | None]:
    """For each read the last acknowledged revision of the key that its own revision includes."""
    revisions = sorted(each.revision for each in operations if not each.is_read and each.revision is not None)
    held: dict[int, int | None] = {}
    for number, operation in enumerate(operations):
        if operation.is_read:
            at = bisect_right(revisions, operation.revision) if operation.revision is not None else None
            held[number] = None if at is None else revisions[at - 1] if at else 0
    return held


def _scopes_of(operations: Iterable[Operation]) -> list[str]:
    return sorted(frozenset().union(*(operation.scopes | operation.asked for operation in operations)))


# -- all keys: the revisions -----------------------------------------------------------------------------------------


def shared_revisions(history: Iterable[Operation]) -> Iterator[Violation]:
    """Acknowledged writes that carry one revision."""
    by_revision: dict[int, Operation] = {}
    for operation in history:
        if operation.is_read or operation.revision is None:
            continue
        other = by_revision.setdefault(operation.revision, operation)
        if other is not operation:
            yield Violation("Two acknowledged writes carry one revision.", (other, operation))


def revisions_that_go_back(history: Sequence[Operation]) -> Iterator[Violation]:
    """Answers with a revision that is older than one that had been seen by anyone when they were asked for.

    A write makes a revision of its own, so it must carry a later one.
    """
    numbered = sorted((each for each in history if each.revision is not None), key=lambda operation: operation.called)
    highest: Operation | None = None
    seen: dict[int, Operation] = {}
    for returns, number in _moments(numbered):
        operation = numbered[number]
        if not returns:
            if highest is not None:
                seen[number] = highest
        else:
            if number in seen and not _follows(operation, seen[number]):
                yield Violation("A revision had been seen before an older one was given.", (seen[number], operation))
            if highest is None or _revision(operation) > _revision(highest):
                highest = operation


def revisions_with_two_answers(history: Iterable[Operation]) -> Iterator[Violation]:
    """The same question about the same revision, answered in two ways."""
    first: dict[object, Operation] = {}
    for operation in history:
        if not operation.is_read or operation.revision is None:
            continue
        asked = (operation.key, operation.revision, operation.within, operation.asked)
        other = first.setdefault(asked, operation)
        if (other.reason, other.scopes) != (operation.reason, operation.scopes):
            yield Violation("Of one revision two different things were answered.", (other, operation))


def _follows(operation: Operation, seen: Operation) -> bool:
    least = _revision(seen) if operation.is_read else _revision(seen) + 1
    return _revision(operation) >= least


def _revision(operation: Operation) -> int:
    return operation.revision or 0
