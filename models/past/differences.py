"""Changes: each entry of the log compared with the previous entry about the same object.

entries -> compared() -> Change(entry, before) -> differences(), one line for each
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


class ObjectKind(NamedTuple):
    """A kind of object: the kinds of entries that hold its state, and the member of the state that identifies it."""

    kinds: frozenset[EventKind]
    member: str


OBJECT_KINDS: Final = (
    ObjectKind(GRANTS, "grantId"),
    ObjectKind(CONNECTIONS, "clientId"),
    ObjectKind(PARTNERS, "kvkNumber"),
    ObjectKind(REQUESTS, "requestId"),
    ObjectKind(DELETIONS, "deletionOf"),
    ObjectKind(REFERENCES, "referenceId"),
    ObjectKind(RULES, "groundRuleId"),
    ObjectKind(AGREEMENTS, "agreementId"),
    ObjectKind(SUBSCRIPTIONS, "subscriptionId"),
    ObjectKind(frozenset({EventKind.AGREEMENT_DOCUMENT_KEPT}), "agreementId"),
    ObjectKind(frozenset({EventKind.CASE_APPLIED, EventKind.CASE_STEP_TAKEN}), "caseId"),
    ObjectKind(frozenset({EventKind.INCIDENT_OPENED, EventKind.INCIDENT_CHANGED}), "incidentId"),
    ObjectKind(frozenset({EventKind.SCHOOL_KEY_ADDED, EventKind.SCHOOL_KEY_REMOVED}), "schoolkey"),
)
_KIND_OF: Final = {str(kind): each for each in OBJECT_KINDS for kind in each.kinds}

#: Members that are not compared: they change with every entry, or the entry has them beside its state.
_NOT_COMPARED: Final = frozenset({"version", "revision", "changedAt", "createdAt", "grantId", "school", "clientId"})
#: Limits of a line: names of a list, and characters of a text.
MOST_NAMED: Final = 16
MOST_CHARACTERS: Final = 120


@dataclass(frozen=True, slots=True)
class ChangeFilter:
    """Selects entries from `since` on, before `until`, of this school (BRIN4) and this connection; None selects all."""

    since: datetime | None = None
    until: datetime | None = None
    school: str | None = None
    client_id: str | None = None

    def matches(self, entry: State) -> bool:
        """Whether the entry is selected; the query of a store selects the same."""
        if self.school not in (None, entry["brin"]) or self.client_id not in (None, entry["clientId"]):
            return False
        at = datetime.fromisoformat(entry["at"])
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)


@dataclass(frozen=True, slots=True)
class Change:
    """An entry, and the state of its object before it: None for a new object, or an entry about no single object."""

    entry: State
    before: State | None


def object_key(entry: State) -> tuple[ObjectKind, str | None, str] | None:
    """The object that an entry is about: its kind, its school if it has one, and its identifier. None for an entry
    about no single object.

    The school is part of the key: a schoolkey that another school had before is another object.
    """
    kind = _KIND_OF.get(entry["kind"])
    if kind is None or not isinstance(entry["state"].get(kind.member), str):
        return None
    return kind, entry["brin"], entry["state"][kind.member]


def compared(entries: Iterable[State]) -> Iterator[Change]:
    """Each entry with the state of its object before it. The entries are in order of number."""
    latest: dict[tuple[ObjectKind, str | None, str], State] = {}
    for entry in entries:
        key = object_key(entry)
        yield Change(entry, latest.get(key) if key is not None else None)
        if key is not None:
            latest[key] = entry["state"]


def differences(change: Change) -> list[str]:
    """The members of the state that changed, as `name: old -> new`, or for a set `name: -old +new`.

    For a new object, all members that have a value.
    """
    after = dict(_flat(change.entry["state"]))
    before = dict(_flat(change.before)) if change.before is not None else {}
    # Sorted: stores and files keep the members of an object in different orders.
    names = sorted({*before, *after} - _NOT_COMPARED)
    if change.before is None:
        return [f"{name}: {_text(after[name])}" for name in names if after[name] not in (None, [], "")]
    changed = [name for name in names if before.get(name) != after.get(name)]
    return [f"{name}: {_between(before.get(name), after.get(name))}" for name in changed]


def _flat(state: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The members of the state; those of a nested object have a name with a dot."""
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
