"""The facts for decisions at an instant of the past, read from the log's entries up to then and from no table.

    entries -> ReplayedFacts -> facts -> decide()

So the same rules decide about the past as about the present.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from models.consents.partners import Stage
from models.decision.packed_grants import Granted, GrantFacts
from models.decision.snapshot import (
    AgreementFacts,
    Changes,
    ConnectionFacts,
    GroundRuleFacts,
    LocationFacts,
    SchoolFacts,
    Snapshot,
)
from models.log.entry_states import AgreementState, ConnectionState, GrantState, PartnerState, RuleState, SchoolsState
from models.vocabulary.event_kinds import AGREEMENTS, CONNECTIONS, GRANTS, PARTNERS, RULES, SCHOOLS, EventKind

State = Mapping[str, Any]


@dataclass
class ReplayedFacts:
    """The facts after the entries applied so far: the last state of each object."""

    revision: int = 0
    schools: dict[str, SchoolFacts] = field(default_factory=dict)
    locations: dict[str, LocationFacts] = field(default_factory=dict)
    stopped_partners: set[str] = field(default_factory=set)
    #: Each with its partner's KvK number. A connection of a stopped partner is not live, whatever its own state.
    connections: dict[str, tuple[str, ConnectionFacts]] = field(default_factory=dict)
    rules: dict[str, GroundRuleFacts] = field(default_factory=dict)
    agreements: dict[str, AgreementFacts] = field(default_factory=dict)
    grants: dict[str, GrantFacts] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Iterable[State]) -> "ReplayedFacts":
        """The facts after these entries, which are in order of number."""
        facts = cls()
        for entry in entries:
            facts.apply(entry)
        return facts

    def apply(self, entry: State) -> None:
        """Applies the next entry. An entry of a kind that no decision rests on changes the revision only.

        Raises `StateInvalid`, or another of `TAMPERING_ERRORS`, for an entry that no change can have written.
        """
        self.revision = entry["revision"]
        kind, state = entry["kind"], entry["state"]
        if kind in GRANTS:
            self._grant(entry["revision"], GrantState.of(state))
        elif kind in CONNECTIONS:
            self._connection(ConnectionState.of(state))
        elif kind in PARTNERS:
            self._partner(PartnerState.of(state))
        elif kind in RULES:
            self._rule(kind, RuleState.of(state))
        elif kind in AGREEMENTS:
            self._agreement(kind, entry["revision"], AgreementState.of(state))
        elif kind in SCHOOLS:
            self._schools(SchoolsState.of(state))

    @property
    def facts(self) -> Changes:
        """The facts in the form that a snapshot takes in."""
        return Changes(
            revision=self.revision,
            schools=tuple(self.schools.values()),
            locations=tuple(self.locations.values()),
            connections=tuple(
                replace(facts, live=facts.live and kvk_number not in self.stopped_partners)
                for kvk_number, facts in self.connections.values()
            ),
            ground_rules=tuple(self.rules.values()),
            agreements=tuple(self.agreements.values()),
            grants=Granted.latest(self.grants.values()),
        )

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot().after(self.facts)

    def _partner(self, partner: PartnerState) -> None:
        if partner.stopped_at is not None:
            self.stopped_partners.add(partner.kvk_number)
        else:
            self.stopped_partners.discard(partner.kvk_number)

    def _connection(self, connection: ConnectionState) -> None:
        facts = ConnectionFacts(
            connection.client_id,
            frozenset(connection.scopes.required) | frozenset(connection.scopes.optional),
            frozenset(connection.purposes),
            connection.stage in (None, Stage.LIVE) and connection.stopped_at is None,
        )
        self.connections[facts.client_id] = connection.kvk_number, facts

    def _grant(self, revision: int, grant: GrantState) -> None:
        known = self.grants.get(grant.grant_id)
        self.grants[grant.grant_id] = GrantFacts(
            grant_id=grant.grant_id,
            client_id=grant.client_id,
            brin=grant.school,
            location=grant.location,
            scopes=frozenset(grant.scopes),
            purposes=frozenset(grant.purposes),
            status=grant.status,
            valid_from=grant.valid_from,
            valid_until=grant.valid_until,
            suspended_until=grant.suspended_until,
            reconfirm_by=grant.reconfirm_by,
            granted_at_revision=known.granted_at_revision if known is not None else revision,
        )

    def _rule(self, kind: str, rule: RuleState) -> None:
        self.rules[rule.ground_rule_id] = GroundRuleFacts(
            ground_rule_id=rule.ground_rule_id,
            client_id=rule.client_id,
            rule=rule.rule,
            valid_from=rule.valid_from,
            valid_until=rule.valid_until,
            ended=kind != EventKind.GROUND_RULE_MET,
        )

    def _agreement(self, kind: str, revision: int, agreement: AgreementState) -> None:
        known = self.agreements.get(agreement.agreement_id)
        self.agreements[agreement.agreement_id] = AgreementFacts(
            agreement_id=agreement.agreement_id,
            client_id=agreement.client_id,
            board_number=agreement.board_number,
            scopes=frozenset(agreement.scopes),
            purposes=frozenset(agreement.purposes),
            valid_from=agreement.valid_from,
            valid_until=agreement.valid_until,
            registered_at_revision=known.registered_at_revision if known is not None else revision,
            ended=kind == EventKind.AGREEMENT_ENDED,
        )

    def _schools(self, state: SchoolsState) -> None:
        if state.listed is None:
            return
        for brin, board_number, gone in state.listed.schools:
            self.schools[brin] = SchoolFacts(brin, board_number, gone)
        for code, gone in state.listed.locations:
            self.locations[code] = LocationFacts(code, gone)
