"""The latest states, up to an instant, of the objects that a register of processing names, read from the log."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from models.consents.agreements import Agreement
from models.log.entry_states import AgreementState, ConnectionState, GrantState, PartnerState, SchoolsState
from models.log.events import Event, PastEvent
from models.vocabulary.event_kinds import AGREEMENTS, CONNECTIONS, GRANTS, PARTNERS, SCHOOLS, EventKind


@dataclass(frozen=True, slots=True)
class LatestGrant:
    """A grant as its last event left it, at `changed_at`. `granted_revision` is the revision of its first event.

    `board_when_granted` and `board_when_changed` are the boards of its school at its first and its last event; None
    where the log names no board.
    """

    state: GrantState
    granted_revision: int
    changed_at: datetime
    #: This and the next three are what `status_at` reads.
    status: str
    valid_until: datetime | None
    suspended_until: datetime | None
    reconfirm_by: datetime | None
    board_when_granted: str | None
    board_when_changed: str | None


@dataclass
class LatestStates:
    """The last state of each object in the events applied so far."""

    grants: dict[str, LatestGrant] = field(default_factory=dict)
    connections: dict[str, ConnectionState] = field(default_factory=dict)
    partners: dict[str, PartnerState] = field(default_factory=dict)
    agreements: dict[str, Agreement] = field(default_factory=dict)
    #: The board of each school that the log names, by BRIN4.
    boards: dict[str, str | None] = field(default_factory=dict)
    #: The retention period of each agreement in days; None where the log does not hold it.
    retention: dict[str, int | None] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[Event | PastEvent]) -> "LatestStates":
        """The latest states in these events, which are in order of number."""
        states = cls()
        for event in events:
            states.apply(event)
        return states

    def apply(self, event: Event | PastEvent) -> None:
        """Applies the next event; an event of another kind changes nothing."""
        if event.kind in GRANTS:
            self._grant(event, GrantState.of(event.state))
        elif event.kind in CONNECTIONS:
            connection = ConnectionState.of(event.state)
            self.connections[connection.client_id] = connection
        elif event.kind in PARTNERS:
            partner = PartnerState.of(event.state)
            self.partners[partner.kvk_number] = partner
        elif event.kind in AGREEMENTS:
            self._agreement(event, AgreementState.of(event.state))
        elif event.kind in SCHOOLS:
            listed = SchoolsState.of(event.state).listed
            if listed is not None:
                self.boards |= {brin: number for brin, number, _ in listed.schools}

    def _grant(self, event: Event | PastEvent, grant: GrantState) -> None:
        before, board = self.grants.get(grant.grant_id), self.boards.get(grant.school)
        self.grants[grant.grant_id] = LatestGrant(
            state=grant,
            granted_revision=before.granted_revision if before is not None else event.revision,
            changed_at=event.at,
            status=grant.status,
            valid_until=grant.valid_until,
            suspended_until=grant.suspended_until,
            reconfirm_by=grant.reconfirm_by,
            board_when_granted=before.board_when_granted if before is not None else board,
            board_when_changed=board,
        )

    def _agreement(self, event: Event | PastEvent, agreement: AgreementState) -> None:
        before = self.agreements.get(agreement.agreement_id)
        self.retention[agreement.agreement_id] = agreement.retention_days
        self.agreements[agreement.agreement_id] = Agreement(
            agreement_id=agreement.agreement_id,
            client_id=agreement.client_id,
            board_number=agreement.board_number,
            agreement_version=agreement.agreement_version,
            privacybijsluiter_version=agreement.privacybijsluiter_version,
            scopes=list(agreement.scopes),
            purposes=list(agreement.purposes),
            signed_on=agreement.signed_on,
            sub_processors=list(agreement.sub_processors),
            retention_days=agreement.retention_days or 0,
            categories=list(agreement.categories),
            storage_countries=list(agreement.storage_countries),
            valid_from=agreement.valid_from,
            valid_until=agreement.valid_until,
            registered_at_revision=before.registered_at_revision if before is not None else event.revision,
            ended=event.kind == EventKind.AGREEMENT_ENDED,
            revision=event.revision,
            created_at=event.at,
        )
