"""What was decided, or would have been, at an instant of the past: made of the log's entries alone.

entries -> which of them concern the question -> Told -> decide()

Whoever has the entries can ask: the service has them in its store, a privacy officer in an export.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from models.decision.decision import Decision, Question, decide
from models.log.entry_states import ConnectionState, PartnerState
from models.past.differences import Thing, thing_of
from models.past.replay import State, Told
from models.vocabulary.event_kinds import AGREEMENTS, CONNECTIONS, GRANTS, PARTNERS, RULES, SCHOOLS
from models.vocabulary.refusals import InvalidInput


class DecidedThen(NamedTuple):
    """The decision of then, and the entries that it rests on: the last about the grant, and what it must keep."""

    decision: Decision
    because: tuple[State, ...]


#: What a change may take between its time and its commit: until then, decisions are still of the revision before it.
LONGEST_WRITE: Final = timedelta(minutes=1)
#: The kinds of which each thing's last entry is named, since it tells how that thing stood.
_TOLD: Final = GRANTS | CONNECTIONS | PARTNERS | RULES | AGREEMENTS


def decided_then(entries: Iterable[State], question: Question, at: datetime, revision: int | None) -> DecidedThen:
    """The decision on this question as of `at`, on what the log then held: up to `revision`, where that is given.

    `entries` are in order of their numbers: all of a log, or those that concern the question, the last that counted
    then and the next. Raises `InvalidInput` for a revision that there is not, or that was not the newest at `at`; and,
    for an entry that says what no change could, what `Told.hear` raises.
    """
    concerning, last, following = _read(entries, question, at, revision)
    if revision is not None:
        _require_newest(at, last, following)
    counted = [entry for entry in concerning if last is not None and entry["number"] <= last["number"]]
    told = Told.by(counted)
    told.revision = last["revision"] if last is not None else 0
    return DecidedThen(decide(told.snapshot, question, at), _because(counted, question))


def concerns(entry: State, question: Question) -> bool:
    """Whether such a decision can rest on the entry: on the connection and its grants of the school, any partner, and
    the schools."""
    if entry["kind"] in PARTNERS or entry["kind"] in SCHOOLS:
        return True
    return entry["clientId"] == question.client_id and entry["brin"] in (None, question.place[:4])


def _read(
    entries: Iterable[State], question: Question, at: datetime, revision: int | None
) -> tuple[list[State], State | None, State | None]:
    """What concerns the question, the last entry that counted then, and the one behind it; None where there is none."""
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
    """Raises `InvalidInput` where no decision at this instant can have rested on the revision that `last` is of."""
    if last is None:
        raise InvalidInput("There is no such revision.")
    if at < datetime.fromisoformat(last["at"]):
        raise InvalidInput(f"Revision {last['revision']} is of {last['at']}, which is later than at.")
    if following is not None and at - datetime.fromisoformat(following["at"]) > LONGEST_WRITE:
        newer = f"revision {following['revision']} took its place at {following['at']}"
        raise InvalidInput(f"Revision {last['revision']} was not the newest at this instant: {newer}.")


def _because(entries: Sequence[State], question: Question) -> tuple[State, ...]:
    """The last entry about each thing of this connection and school."""
    latest: dict[tuple[Thing, str | None, str] | None, State] = {}
    of_connection = [entry["state"] for entry in entries if entry["kind"] in CONNECTIONS]
    kvk_numbers = {ConnectionState.of(state).kvk_number for state in of_connection}
    for entry in entries:
        kind = entry["kind"]
        if kind in PARTNERS and PartnerState.of(entry["state"]).kvk_number not in kvk_numbers:
            continue
        if kind in _TOLD and (kind not in GRANTS or entry["brin"] == question.place[:4]):
            latest[thing_of(entry)] = entry
    return tuple(sorted(latest.values(), key=lambda entry: int(entry["number"])))
