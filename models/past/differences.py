"""What changed: each entry of the log beside the one before it about the same thing.

entries -> compared() -> Change(entry, before) -> differences(), a line each
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from models.past.replay import State
from models.vocabulary.event_kinds import (
    AGREEMENTS,
    CONNECTIONS,
    DELETIONS,
    GRANTS,
    PARTNERS,
    REFERENCES,
    REQUESTS,
    RULES,
    SUBSCRIPTIONS,
    EventKind,
)


class Thing(NamedTuple):
    """Things of one sort: the kinds of entries that tell how one stands, and the member of the state that names it."""

    kinds: frozenset[EventKind]
    member: str


THINGS: Final = (
    Thing(GRANTS, "grantId"),
    Thing(CONNECTIONS, "clientId"),
    Thing(PARTNERS, "kvkNumber"),
    Thing(REQUESTS, "requestId"),
    Thing(DELETIONS, "deletionOf"),
    Thing(REFERENCES, "referenceId"),
    Thing(RULES, "groundRuleId"),
    Thing(AGREEMENTS, "agreementId"),
    Thing(SUBSCRIPTIONS, "subscriptionId"),
    Thing(frozenset({EventKind.AGREEMENT_DOCUMENT_KEPT}), "agreementId"),
    Thing(frozenset({EventKind.CASE_APPLIED, EventKind.CASE_STEP_TAKEN}), "caseId"),
    Thing(frozenset({EventKind.INCIDENT_OPENED, EventKind.INCIDENT_CHANGED}), "incidentId"),
    Thing(frozenset({EventKind.SCHOOL_KEY_ADDED, EventKind.SCHOOL_KEY_REMOVED}), "schoolkey"),
)
_THING_OF: Final = {str(kind): thing for thing in THINGS for kind in thing.kinds}

#: What changes with every entry, or is said beside the state.
_SAID_BESIDE: Final = frozenset({"version", "revision", "changedAt", "createdAt", "grantId", "school", "clientId"})
#: So many names of a list are told, and so many characters of a text.
MOST_NAMED: Final = 16
MOST_CHARACTERS: Final = 120


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries: from `since` on and before `until`, with this school (BRIN4) and this connection beside them."""

    since: datetime | None = None
    until: datetime | None = None
    school: str | None = None
    client_id: str | None = None

    def has(self, entry: State) -> bool:
        """The same as the store selects."""
        if self.school not in (None, entry["brin"]) or self.client_id not in (None, entry["clientId"]):
            return False
        at = datetime.fromisoformat(entry["at"])
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)


@dataclass(frozen=True, slots=True)
class Change:
    """An entry, and the state of the same thing until then: None for what is new, or of which nothing stood before."""

    entry: State
    before: State | None


def thing_of(entry: State) -> tuple[Thing, str | None, str] | None:
    """Which thing an entry tells of: its sort, its school if it has one, its name. None for what is no one thing.

    A schoolkey that another school had before is another thing.
    """
    thing = _THING_OF.get(entry["kind"])
    if thing is None or not isinstance(entry["state"].get(thing.member), str):
        return None
    return thing, entry["brin"], entry["state"][thing.member]


def compared(entries: Iterable[State]) -> Iterator[Change]:
    """Each entry beside what was before it, of entries in order of their numbers."""
    stood: dict[tuple[Thing, str | None, str], State] = {}
    for entry in entries:
        thing = thing_of(entry)
        yield Change(entry, stood.get(thing) if thing is not None else None)
        if thing is not None:
            stood[thing] = entry["state"]


def differences(change: Change) -> list[str]:
    """What the state says differently from before, `name: old -> new` or, of a set, `name: -old +new`.

    Of what is new, all that it says.
    """
    after = dict(_flat(change.entry["state"]))
    before = dict(_flat(change.before)) if change.before is not None else {}
    # In an order that does not depend on how a store or a file keeps an object.
    names = sorted({*before, *after} - _SAID_BESIDE)
    if change.before is None:
        return [f"{name}: {_text(after[name])}" for name in names if after[name] not in (None, [], "")]
    changed = [name for name in names if before.get(name) != after.get(name)]
    return [f"{name}: {_between(before.get(name), after.get(name))}" for name in changed]


def _flat(state: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Its members, those of an object in it by a name with a dot."""
    for name, value in state.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _between(old: Any, new: Any) -> str:
    if isinstance(old, list) and isinstance(new, list):
        was, now = _names(old), _names(new)
        gone, come = set(was).difference(now), set(now).difference(was)
        if gone or come:
            return _some([f"-{name}" for name in was if name in gone] + [f"+{name}" for name in now if name in come])
    return f"{_text(old)} -> {_text(new)}"


def _text(value: Any) -> str:
    return _some(_names(value)) if isinstance(value, list) else _one(value)


def _names(values: list[Any]) -> list[str]:
    return [_one(each) for each in values]


def _one(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


def _some(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return " ".join(names) if more <= 0 else f"{' '.join(names[:MOST_NAMED])} and {more} more"
