"""The decision on a question at an instant of the past, made from the log's entries alone.

entries -> those that concern the question -> ReplayedFacts -> decide()

The entries are read from a store by the service, or from an export by a privacy officer.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from models.decision.decision import Decision, Question, decide
from models.log.entry_states import ConnectionState, PartnerState
from models.past.differences import ObjectKind, object_key
from models.past.replay import ReplayedFacts, State
from models.vocabulary.event_kinds import AGREEMENTS, CONNECTIONS, GRANTS, PARTNERS, RULES, SCHOOLS
from models.vocabulary.refusals import InvalidInput


class PastDecision(NamedTuple):
    """The decision at that instant, and the entries that it rests on: the last ones about the grant and about the facts
    that the grant depends on."""

    decision: Decision
    because: tuple[State, ...]


#: The longest time between the instant of a change and its commit. Until the commit, decisions use the revision before.
LONGEST_WRITE: Final = timedelta(minutes=1)
#: Kinds of entries that a replayed decision names: of each object the last one, which holds its state at the instant.
_NAMED: Final = GRANTS | CONNECTIONS | PARTNERS | RULES | AGREEMENTS


def decision_at(entries: Iterable[State], question: Question, at: datetime, revision: int | None) -> PastDecision:
    """The decision on this question at the instant `at`, from the entries up to then, or up to `revision` if given.

    `entries` are in order of number: the whole log, or the entries that concern the question, with the last entry that
    counted at `at` and the one after it. Raises `InvalidInput` for a revision that does not exist or was not the newest
    at `at`, and the errors of `ReplayedFacts.apply` for an entry that no change can have written.
    """
    concerning, last, following = _read(entries, question, at, revision)
    if revision is not None:
        _require_newest(at, last, following)
    counted = [entry for entry in concerning if last is not None and entry["number"] <= last["number"]]
    facts = ReplayedFacts.of(counted)
    facts.revision = last["revision"] if last is not None else 0
    return PastDecision(decide(facts.snapshot, question, at), _because(counted, question))


def concerns(entry: State, question: Question) -> bool:
    """Whether a decision on the question can rest on the entry: one about the connection or its grants of the school,
    about any partner, or about schools."""
    if entry["kind"] in PARTNERS or entry["kind"] in SCHOOLS:
        return True
    return entry["clientId"] == question.client_id and entry["brin"] in (None, question.place[:4])


def _read(
    entries: Iterable[State], question: Question, at: datetime, revision: int | None
) -> tuple[list[State], State | None, State | None]:
    """The entries that concern the question, the last entry that counted at `at`, and the one after it, or None."""
    concerning: list[State] = []
    last: State | None = None
    following: State | None = None
    for entry in entries:
        if concerns(entry, question):
            concerning.append(entry)
        if datetime.fromisoformat(entry["at"]) <= at if revision is None else entry["revision"] == revision:
            last, following = entry, None
        elif following is None:
            following = entry
    return concerning, last, following


def _require_newest(at: datetime, last: State | None, following: State | None) -> None:
    """Raises `InvalidInput` unless a decision at this instant can have used the revision of `last`."""
    if last is None:
        raise InvalidInput("There is no such revision.")
    if at < datetime.fromisoformat(last["at"]):
        raise InvalidInput(f"Revision {last['revision']} is of {last['at']}, which is later than at.")
    if following is not None and at - datetime.fromisoformat(following["at"]) > LONGEST_WRITE:
        newer = f"revision {following['revision']} took its place at {following['at']}"
        raise InvalidInput(f"Revision {last['revision']} was not the newest at this instant: {newer}.")


def _because(entries: Sequence[State], question: Question) -> tuple[State, ...]:
    """The last entry about each object of this connection and school, in order of number."""
    latest: dict[tuple[ObjectKind, str | None, str] | None, State] = {}
    of_connection = [entry["state"] for entry in entries if entry["kind"] in CONNECTIONS]
    kvk_numbers = {ConnectionState.of(state).kvk_number for state in of_connection}
    for entry in entries:
        kind = entry["kind"]
        if kind in PARTNERS and PartnerState.of(entry["state"]).kvk_number not in kvk_numbers:
            continue
        if kind in _NAMED and (kind not in GRANTS or entry["brin"] == question.place[:4]):
            latest[object_key(entry)] = entry
    return tuple(sorted(latest.values(), key=lambda entry: int(entry["number"])))
