"""The one place that writes events: no event, no change."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from api.store import Write
from models.events import Event, EventKind


@dataclass(frozen=True, slots=True)
class Actor:
    """Who made a change: the subject of the token, and the role that it acted in."""

    subject: str
    role: str


#: What time alone brings about.
SYSTEM: Final = Actor("privacy-manager", "system")


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
    """Appends the event of one change to `write`, which commits both or neither. `state` is what the change led to."""
    write.events.append(
        Event(
            number=write.events_before + len(write.events) + 1,
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
