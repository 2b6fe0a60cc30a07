"""The last word of the log, up to an instant, on each thing that a register of processing names."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from models.consents.agreements import Agreement
from models.log.events import Event, PastEvent
from models.vocabulary.event_kinds import AGREEMENTS, CONNECTIONS, GRANTS, PARTNERS, SCHOOLS, EventKind

State = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GrantThen:
    """A grant as its last event, at `changed_at`, left it. `granted_revision` is that of its first one.

    The boards are those that its school had when it was given, and at its last event; None where the log tells of none.
    """

    state: State
    granted_revision: int
    changed_at: datetime
    #: What tells where it stands by time: `status_at`.
    status: str
    valid_until: datetime | None
    suspended_until: datetime | None
    reconfirm_by: datetime | None
    board_when_granted: str | None
    board_when_changed: str | None


@dataclass
class Known:
    """What the events have told so far, the last word on each thing."""

    grants: dict[str, GrantThen] = field(default_factory=dict)
    connections: dict[str, State] = field(default_factory=dict)
    partners: dict[str, State] = field(default_factory=dict)
    agreements: dict[str, Agreement] = field(default_factory=dict)
    #: The board of each school that the log tells of, by its BRIN4.
    boards: dict[str, str | None] = field(default_factory=dict)
    #: How long each agreement lets data be kept, where the log tells.
    retention: dict[str, int | None] = field(default_factory=dict)

    @classmethod
    def by(cls, events: Iterable[Event | PastEvent]) -> "Known":
        """By these events, in order of their numbers."""
        known = cls()
        for event in events:
            known.hear(event)
        return known

    def hear(self, event: Event | PastEvent) -> None:
        """Takes in the next event; one of another kind changes nothing."""
        state = event.state
        if event.kind in GRANTS:
            self._grant(event)
        elif event.kind in CONNECTIONS:
            self.connections[state["clientId"]] = state
        elif event.kind in PARTNERS:
            self.partners[state["kvkNumber"]] = state
        elif event.kind in AGREEMENTS:
            self._agreement(event)
        elif event.kind in SCHOOLS:
            self.boards |= {brin: number for brin, number, _ in state.get("listed", {}).get("schools", ())}

    def _grant(self, event: Event | PastEvent) -> None:
        state, before = event.state, self.grants.get(event.state["grantId"])
        board = self.boards.get(state["school"])
        self.grants[state["grantId"]] = GrantThen(
            state=state,
            granted_revision=before.granted_revision if before is not None else event.revision,
            changed_at=event.at,
            status=state["status"],
            valid_until=_instant(state["validUntil"]),
            suspended_until=_instant(state["suspendedUntil"]),
            reconfirm_by=_instant(state.get("reconfirmBy")),
            board_when_granted=before.board_when_granted if before is not None else board,
            board_when_changed=board,
        )

    def _agreement(self, event: Event | PastEvent) -> None:
        state, before = event.state, self.agreements.get(event.state["agreementId"])
        # Events from before agreements told of these members lack them.
        self.retention[state["agreementId"]] = state.get("retentionDays")
        self.agreements[state["agreementId"]] = Agreement(
            agreement_id=state["agreementId"],
            client_id=state["clientId"],
            board_number=state["boardNumber"],
            agreement_version=state["agreementVersion"],
            privacybijsluiter_version=state["privacybijsluiterVersion"],
            scopes=state["scopes"],
            purposes=state["purposes"],
            signed_on=date.fromisoformat(state["signedOn"]),
            sub_processors=state.get("subProcessors", []),
            retention_days=state.get("retentionDays") or 0,
            categories=state.get("categories", []),
            storage_countries=state.get("storageCountries", []),
            valid_from=datetime.fromisoformat(state["validFrom"]),
            valid_until=_instant(state["validUntil"]),
            registered_at_revision=before.registered_at_revision if before is not None else event.revision,
            ended=event.kind == EventKind.AGREEMENT_ENDED,
            revision=event.revision,
            created_at=event.at,
        )


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
