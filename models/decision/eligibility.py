"""Eligibility of a connection for a board's schools: whether anything may be released at all, and at most what.

A connection is eligible while it is live, keeps every ground rule, and has an agreement in force for the board. That
changes only when one of these facts changes, begins or ends. `eligibility_at` computes it once and caches it until
the next such instant.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from models.decision.agreement_in_force import agreement_in_force
from models.decision.kept_rules import ALL_RULES, rules_kept
from models.decision.snapshot import Snapshot
from models.vocabulary.periods import Dated

_UNBOUNDED: Final = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
#: Cache entries: each of many connections may have agreements with many boards.
_MOST_CACHED: Final = 32_768


class Eligibility(NamedTuple):
    """The most that a connection may receive, from `since` (inclusive) to `until` (exclusive)."""

    since: datetime
    until: datetime
    eligible: bool
    scopes: frozenset[str] = frozenset()
    purposes: frozenset[str] = frozenset()


def eligibility_at(snapshot: Snapshot, client_id: str, board_number: str | None, now: datetime) -> Eligibility:
    """The eligibility of a known connection for a board's schools at `now`, from the snapshot's cache if present."""
    key = client_id, board_number
    eligibility: Eligibility | None = snapshot.eligibility.get(key)
    if eligibility is None or not eligibility.since <= now < eligibility.until:
        if len(snapshot.eligibility) >= _MOST_CACHED:
            snapshot.eligibility.clear()
        eligibility = snapshot.eligibility[key] = compute_eligibility(snapshot, client_id, board_number, now)
    return eligibility


def compute_eligibility(snapshot: Snapshot, client_id: str, board_number: str | None, now: datetime) -> Eligibility:
    """Computes the eligibility from the facts, with the instants between which it stays the same."""
    connection = snapshot.connections[client_id]
    rules, agreements = snapshot.ground_rules.get(client_id, ()), snapshot.agreements.get(client_id, ())
    since, until = _constant_period((*rules, *agreements), now)
    agreement = agreement_in_force(agreements, board_number, now)
    if agreement is None or not connection.live or rules_kept(rules, now) != ALL_RULES:
        return Eligibility(since, until, eligible=False)
    scopes, purposes = connection.scopes & agreement.scopes, connection.purposes & agreement.purposes
    return Eligibility(since, until, True, scopes, purposes)


def _constant_period(facts: Iterable[Dated], now: datetime) -> tuple[datetime, datetime]:
    """The period around `now` in which none of the facts begins or ends."""
    boundaries = [instant for fact in facts for instant in (fact.valid_from, fact.valid_until) if instant is not None]
    passed, ahead = (
        [boundary for boundary in boundaries if boundary <= now],
        [boundary for boundary in boundaries if boundary > now],
    )
    return max(passed, default=_UNBOUNDED[0]), min(ahead, default=_UNBOUNDED[1])
