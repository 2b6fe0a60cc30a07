"""What was true at an instant of the past, told by the log alone: its entries up to then, and nothing of the tables.

    entries -> Told -> facts -> decide()

so that the same rules decide about the past as about the present.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
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
from models.vocabulary.event_kinds import AGREEMENTS, CONNECTIONS, GRANTS, PARTNERS, RULES, SCHOOLS, EventKind

State = Mapping[str, Any]


@dataclass
class Told:
    """What the entries have told so far, the last word on each thing."""

    revision: int = 0
    schools: dict[str, SchoolFacts] = field(default_factory=dict)
    locations: dict[str, LocationFacts] = field(default_factory=dict)
    stopped_partners: set[str] = field(default_factory=set)
    #: Each with its partner's KvK number; a stop of the partner's counts beside what is told of the connection.
    connections: dict[str, tuple[str, ConnectionFacts]] = field(default_factory=dict)
    rules: dict[str, GroundRuleFacts] = field(default_factory=dict)
    agreements: dict[str, AgreementFacts] = field(default_factory=dict)
    grants: dict[str, GrantFacts] = field(default_factory=dict)

    @classmethod
    def by(cls, entries: Iterable[State]) -> "Told":
        """By these entries, in order of their numbers."""
        told = cls()
        for entry in entries:
            told.hear(entry)
        return told

    def hear(self, entry: State) -> None:
        """Takes in the next entry. One of a kind that no decision rests on changes nothing but the revision.

        Raises `KeyError`, `TypeError`, `ValueError` or `AttributeError` for one that says what no change could.
        """
        self.revision = entry["revision"]
        kind, state = entry["kind"], entry["state"]
        if kind in GRANTS:
            self._grant(entry["revision"], state)
        elif kind in CONNECTIONS:
            self._connection(state)
        elif kind in PARTNERS:
            self._partner(state)
        elif kind in RULES:
            self._rule(kind, state)
        elif kind in AGREEMENTS:
            self._agreement(kind, entry["revision"], state)
        elif kind in SCHOOLS:
            self._schools(state)

    @property
    def facts(self) -> Changes:
        """All of it as the facts for decisions."""
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

    def _partner(self, state: State) -> None:
        if state["stoppedAt"] is not None:
            self.stopped_partners.add(state["kvkNumber"])
        else:
            self.stopped_partners.discard(state["kvkNumber"])

    def _connection(self, state: State) -> None:
        scopes = state["scopes"]
        facts = ConnectionFacts(
            state["clientId"],
            frozenset(scopes["required"]) | frozenset(scopes["optional"]),
            frozenset(state["purposes"]),
            state["stage"] == Stage.LIVE and state["stoppedAt"] is None,
        )
        self.connections[facts.client_id] = state["kvkNumber"], facts

    def _grant(self, revision: int, state: State) -> None:
        known = self.grants.get(state["grantId"])
        self.grants[state["grantId"]] = GrantFacts(
            grant_id=state["grantId"],
            client_id=state["clientId"],
            brin=state["school"],
            location=state["location"],
            scopes=frozenset(state["scopes"]),
            purposes=frozenset(state["purposes"]),
            status=state["status"],
            valid_from=_instant(state["validFrom"]),
            valid_until=_instant_or_none(state["validUntil"]),
            suspended_until=_instant_or_none(state["suspendedUntil"]),
            reconfirm_by=_instant_or_none(state.get("reconfirmBy")),
            granted_at_revision=known.granted_at_revision if known is not None else revision,
        )

    def _rule(self, kind: str, state: State) -> None:
        self.rules[state["groundRuleId"]] = GroundRuleFacts(
            ground_rule_id=state["groundRuleId"],
            client_id=state["clientId"],
            rule=state["rule"],
            valid_from=_instant(state["validFrom"]),
            valid_until=_instant_or_none(state["validUntil"]),
            ended=kind != EventKind.GROUND_RULE_MET,
        )

    def _agreement(self, kind: str, revision: int, state: State) -> None:
        known = self.agreements.get(state["agreementId"])
        self.agreements[state["agreementId"]] = AgreementFacts(
            agreement_id=state["agreementId"],
            client_id=state["clientId"],
            board_number=state["boardNumber"],
            scopes=frozenset(state["scopes"]),
            purposes=frozenset(state["purposes"]),
            valid_from=_instant(state["validFrom"]),
            valid_until=_instant_or_none(state["validUntil"]),
            registered_at_revision=known.registered_at_revision if known is not None else revision,
            ended=kind == EventKind.AGREEMENT_ENDED,
        )

    def _schools(self, state: State) -> None:
        listed = state.get("listed", {})
        for brin, board_number, gone in listed.get("schools", ()):
            self.schools[brin] = SchoolFacts(brin, board_number, gone)
        for code, gone in listed.get("locations", ()):
            self.locations[code] = LocationFacts(code, gone)


def listed(
    schools: Iterable[tuple[str, str | None, datetime | None]], locations: Iterable[tuple[str, datetime | None]]
) -> dict[str, Any]:
    """How an entry tells which schools, of which boards, and which locations are listed, or are no longer."""
    return {
        "schools": sorted([brin, board_number, gone_at is not None] for brin, board_number, gone_at in schools),
        "locations": sorted([code, gone_at is not None] for code, gone_at in locations),
    }


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _instant_or_none(text: str | None) -> datetime | None:
    return None if text is None else _instant(text)
