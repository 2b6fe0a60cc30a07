"""The only place that writes events. Every change has an event."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from api.store.unit_of_work import SYSTEM_ROLE, Write
from models.log.events import Event
from models.vocabulary.event_kinds import EventKind


@dataclass(frozen=True, slots=True)
class Actor:
    """The author of a change: the subject of the token, and the role it acted in."""

    subject: str
    role: str


#: Actor of changes by time.
SYSTEM: Final = Actor("privacy-manager", SYSTEM_ROLE)


def record(
    write: Write,
    kind: EventKind,
    actor: Actor,
    state: Mapping[str, Any],
    *,
    brin: str | None = None,
    client_id: str | None = None,
    grant_id: str | None = None,
    reason: str | None = None,
) -> None:
    """Appends the event of one change to `write`, which commits both or neither. `state` is the state after it."""
    write.events.append(
        Event(
            number=write.next_number,
            revision=write.revision,
            mark=write.mark,
            at=write.now,
            kind=kind,
            actor=actor.subject,
            actor_role=actor.role,
            reason=reason,
            brin=brin,
            client_id=client_id,
            grant_id=grant_id,
            state=dict(state),
        )
    )


def event_of(entry: Mapping[str, Any]) -> Event:
    """The event of an entry of the log. Raises `KeyError`, `ValueError` or `TypeError` for anything else."""
    return Event(
        number=entry["number"],
        revision=entry["revision"],
        mark=entry["mark"],
        at=datetime.fromisoformat(entry["at"]),
        kind=entry["kind"],
        actor=entry["actor"],
        actor_role=entry["actorRole"],
        reason=entry["reason"],
        brin=entry["brin"],
        client_id=entry["clientId"],
        grant_id=entry["grantId"],
        state=entry["state"],
    )
