"""The facts of decisions as immutable values, tagged with their revision.

    schools[brin]             its board
        locations                 the codes (BRIN6) that are listed
        connections[clientId]     the scopes and purposes that a connection requests
        ground_rules[clientId]    the periods in which it keeps each ground rule
        agreements[clientId]      the agreements signed for it, by board, with their periods
    grants                    the latest grant of each place, packed

`Snapshot.after(changes)` copies only the maps that a change touches: changing one grant copies one connection's
map of schools, however many grants there are in all.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from models.decision.packed_grants import NOTHING_GRANTED, Granted

#: The last two digits that a location's code may have.
_NUMBERS: Final = tuple(f"{number:02}" for number in range(100))


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
    #: Whether its onboarding has reached live, and no emergency stop denies it or its partner.
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
class Changes:
    """Every row that changed since some revision, each as of `revision`.

    `mark` distinguishes `revision` from the same number in another history; `mark_before` is that of the revision the
    changes start from. `seen_at` is the store's time of the read, used to decide on these facts at once.
    """

    revision: int
    mark: str = ""
    mark_before: str = ""
    seen_at: datetime | None = None
    schools: tuple[SchoolFacts, ...] = ()
    locations: tuple[LocationFacts, ...] = ()
    connections: tuple[ConnectionFacts, ...] = ()
    ground_rules: tuple[GroundRuleFacts, ...] = ()
    agreements: tuple[AgreementFacts, ...] = ()
    grants: Granted = NOTHING_GRANTED


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All facts at `revision`. A snapshot is never changed; a later one replaces it whole."""

    revision: int = 0
    mark: str = ""
    schools: Mapping[str, SchoolFacts] = field(default_factory=dict)
    locations: frozenset[str] = frozenset()
    connections: Mapping[str, ConnectionFacts] = field(default_factory=dict)
    ground_rules: Mapping[str, tuple[GroundRuleFacts, ...]] = field(default_factory=dict)
    agreements: Mapping[str, tuple[AgreementFacts, ...]] = field(default_factory=dict)
    grants: Granted = NOTHING_GRANTED
    #: Cache of eligibility, valid as long as the facts above: see `models/decision/eligibility.py`.
    eligibility: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def school_at(self, place: str) -> SchoolFacts | None:
        """The school with this BRIN4, or of the location with this BRIN6, if it exists and is not gone."""
        school = self.schools.get(place[:4])
        if school is None or school.gone or not (len(place) == 4 or place in self.locations):
            return None
        return school

    def places_of(self, client_id: str, after: str = "") -> Iterator[str]:
        """The places (BRIN4, BRIN6) after `after` that a grant of this connection may cover, in order.

        A grant for a whole school may cover the school and each listed location; no other place can be permitted.
        `decide` says whether it does at an instant.
        """
        for brin in self.grants.schools_of(client_id, after[:4]):
            granted = [grant.location for grant in self.grants.of(client_id, brin)]
            places = self._school_and_locations(brin) if None in granted else sorted(filter(None, granted))
            yield from (place for place in places if place > after)

    def _school_and_locations(self, brin: str) -> Iterator[str]:
        # At most 100 codes are looked up, instead of walking through all locations of the country.
        yield brin
        yield from (code for number in _NUMBERS if (code := brin + number) in self.locations)

    def after(self, changes: Changes) -> "Snapshot":
        """This snapshot with `changes` applied."""
        eligibility_changes = changes.connections or changes.ground_rules or changes.agreements
        return Snapshot(
            revision=changes.revision,
            mark=changes.mark,
            schools={**self.schools, **{s.brin: s for s in changes.schools}} if changes.schools else self.schools,
            locations=_locations_after(self.locations, changes.locations),
            connections={**self.connections, **{c.client_id: c for c in changes.connections}},
            ground_rules=_rules_after(self.ground_rules, changes.ground_rules),
            agreements=_agreements_after(self.agreements, changes.agreements),
            grants=self.grants.after(changes.grants),
            eligibility={} if eligibility_changes else self.eligibility,
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
