"""The facts that a decision needs, as values: immutable, tagged with the revision that they hold for.

    schools[brin]             its board
    locations                 the codes (BRIN6) that are listed
    connections[clientId]     what a connection asks for
    ground_rules[clientId]    when it keeps which ground rule
    agreements[clientId]      what was signed for it, by which board, and when it holds
    grants[clientId][brin]    the latest grant of each place of that school

`Snapshot.after(changes)` copies only the maps that a change touches: changing one grant copies one connection's
map of schools, however many grants there are in all.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, TypeVar

from models.agreements import Agreement
from models.grants import NOT_YET, Grant, Status
from models.ground_rules import GroundRule
from models.partners import Connection, Partner, is_live
from models.schools import Location, School


@dataclass(frozen=True, slots=True)
class SchoolFacts:
    brin: str
    board_number: str | None
    gone: bool


@dataclass(frozen=True, slots=True)
class LocationFacts:
    code: str
    gone: bool


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    client_id: str
    scopes: frozenset[str]
    purposes: frozenset[str]
    #: Whether its road has led it to live, and no emergency stop denies it or its partner.
    live: bool


@dataclass(frozen=True, slots=True)
class GroundRuleFacts:
    ground_rule_id: str
    client_id: str
    rule: str
    valid_from: datetime
    valid_until: datetime | None
    ended: bool


@dataclass(frozen=True, slots=True)
class AgreementFacts:
    agreement_id: str
    client_id: str
    board_number: str | None
    scopes: frozenset[str]
    purposes: frozenset[str]
    valid_from: datetime
    valid_until: datetime | None
    registered_at_revision: int
    ended: bool


@dataclass(frozen=True, slots=True)
class GrantFacts:
    grant_id: str
    client_id: str
    brin: str
    location: str | None
    scopes: frozenset[str]
    purposes: frozenset[str]
    status: str
    valid_from: datetime
    valid_until: datetime | None
    suspended_until: datetime | None
    reconfirm_by: datetime | None
    granted_at_revision: int
    revision: int


@dataclass(frozen=True, slots=True)
class Changes:
    """Every row that changed since some revision, each as `revision` has it.

    `mark` tells `revision` from the same number in another history, `mark_before` the revision that they start from.
    """

    revision: int
    mark: str = ""
    mark_before: str = ""
    schools: tuple[SchoolFacts, ...] = ()
    locations: tuple[LocationFacts, ...] = ()
    connections: tuple[ConnectionFacts, ...] = ()
    ground_rules: tuple[GroundRuleFacts, ...] = ()
    agreements: tuple[AgreementFacts, ...] = ()
    grants: tuple[GrantFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was true at `revision`, complete. Nobody changes it; a later one replaces it whole."""

    revision: int = 0
    mark: str = ""
    schools: Mapping[str, SchoolFacts] = field(default_factory=dict)
    locations: frozenset[str] = frozenset()
    connections: Mapping[str, ConnectionFacts] = field(default_factory=dict)
    ground_rules: Mapping[str, tuple[GroundRuleFacts, ...]] = field(default_factory=dict)
    agreements: Mapping[str, tuple[AgreementFacts, ...]] = field(default_factory=dict)
    grants: Mapping[str, Mapping[str, tuple[GrantFacts, ...]]] = field(default_factory=dict)

    def lists(self, place: str) -> bool:
        """Whether this school (BRIN4) or location (BRIN6) exists and is not gone."""
        school = self.schools.get(place[:4])
        return school is not None and not school.gone and (len(place) == 4 or place in self.locations)

    def after(self, changes: Changes) -> "Snapshot":
        """The snapshot that holds once `changes` are applied to this one."""
        return Snapshot(
            revision=changes.revision,
            mark=changes.mark,
            schools={**self.schools, **{s.brin: s for s in changes.schools}} if changes.schools else self.schools,
            locations=_locations_after(self.locations, changes.locations),
            connections={**self.connections, **{c.client_id: c for c in changes.connections}},
            ground_rules=_rules_after(self.ground_rules, changes.ground_rules),
            agreements=_agreements_after(self.agreements, changes.agreements),
            grants=_grants_after(self.grants, changes.grants),
        )


def _locations_after(before: frozenset[str], changed: Iterable[LocationFacts]) -> frozenset[str]:
    gone = {location.code for location in changed if location.gone}
    listed = {location.code for location in changed if not location.gone}
    return (before - gone) | listed if gone or listed else before


def _rules_after(
    before: Mapping[str, tuple[GroundRuleFacts, ...]], changed: Iterable[GroundRuleFacts]
) -> Mapping[str, tuple[GroundRuleFacts, ...]]:
    rules = dict(before)
    for fact in changed:
        others = (rule for rule in rules.get(fact.client_id, ()) if rule.ground_rule_id != fact.ground_rule_id)
        rules[fact.client_id] = (*others, fact)
    return rules


def _agreements_after(
    before: Mapping[str, tuple[AgreementFacts, ...]], changed: Iterable[AgreementFacts]
) -> Mapping[str, tuple[AgreementFacts, ...]]:
    agreements = dict(before)
    for fact in changed:
        others = (known for known in agreements.get(fact.client_id, ()) if known.agreement_id != fact.agreement_id)
        agreements[fact.client_id] = (*others, fact)
    return agreements


def _grants_after(
    before: Mapping[str, Mapping[str, tuple[GrantFacts, ...]]], changed: Iterable[GrantFacts]
) -> Mapping[str, Mapping[str, tuple[GrantFacts, ...]]]:
    grants = dict(before)
    copied: dict[str, dict[str, tuple[GrantFacts, ...]]] = {}
    for grant in changed:
        if Status(grant.status) in NOT_YET:
            continue
        schools = copied.get(grant.client_id)
        if schools is None:
            schools = copied[grant.client_id] = dict(before.get(grant.client_id, {}))
            grants[grant.client_id] = schools
        schools[grant.brin] = _with_latest(schools.get(grant.brin, ()), grant)
    return grants


def _with_latest(known: tuple[GrantFacts, ...], grant: GrantFacts) -> tuple[GrantFacts, ...]:
    """The grants of a school, one a place, with `grant` in its place unless a later one stands there."""
    for place in known:
        if place.location == grant.location and place.granted_at_revision > grant.granted_at_revision:
            return known
    return (*(place for place in known if place.location != grant.location), grant)


def facts_of_rows(
    revision: int,
    schools: Iterable[School],
    locations: Iterable[Location],
    connections: Iterable[tuple[Connection, Partner]],
    ground_rules: Iterable[GroundRule],
    agreements: Iterable[Agreement],
    grants: Iterable[Grant],
) -> Changes:
    """The same facts from rows of the tables, for whoever has read just the ones that a question is about."""
    return Changes(
        revision=revision,
        schools=tuple(SchoolFacts(row.brin, row.board_number, row.gone_at is not None) for row in schools),
        locations=tuple(LocationFacts(row.code, row.gone_at is not None) for row in locations),
        connections=tuple(
            ConnectionFacts(row.client_id, row.requested_scopes, frozenset(row.purposes), is_live(row, partner))
            for row, partner in connections
        ),
        ground_rules=tuple(_facts(GroundRuleFacts, row) for row in ground_rules),
        agreements=tuple(_facts(AgreementFacts, row) for row in agreements),
        grants=tuple(_facts(GrantFacts, row) for row in grants),
    )


Facts = TypeVar("Facts", GroundRuleFacts, AgreementFacts, GrantFacts)


def _facts(kind: type[Facts], row: GroundRule | Agreement | Grant) -> Facts:
    values: dict[str, Any] = {}
    for member in fields(kind):
        value = getattr(row, member.name)
        values[member.name] = frozenset(value) if isinstance(value, list) else value
    return kind(**values)
