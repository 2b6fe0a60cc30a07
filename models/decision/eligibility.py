"""Whether a connection may receive anything of a board's schools at all, and how far: its terms, before any grant.

A connection is eligible at an instant when it is live, keeps every ground rule, and has an agreement in force for the
board. That changes when one of these facts changes, or one of them begins or ends; in between it stays as it is, so
that `terms_at` works it out once for all the decisions until then.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from models.decision.agreement_in_force import agreement_in_force
from models.decision.kept_rules import ALL_RULES, rules_kept
from models.decision.snapshot import Snapshot
from models.vocabulary.periods import Dated

_ALWAYS: Final = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
#: Of boards with an agreement of their own there may be many for each of many connections.
_MOST_REMEMBERED: Final = 32_768


class Terms(NamedTuple):
    """What a connection may receive, if a school grants it, from `since` (inclusive) to `until` (exclusive)."""

    since: datetime
    until: datetime
    eligible: bool
    scopes: frozenset[str] = frozenset()
    purposes: frozenset[str] = frozenset()


def terms_at(snapshot: Snapshot, client_id: str, board_number: str | None, now: datetime) -> Terms:
    """The terms of a connection that is known, for a board's schools, at `now`."""
    key = client_id, board_number
    terms: Terms | None = snapshot.eligibility.get(key)
    if terms is None or not terms.since <= now < terms.until:
        if len(snapshot.eligibility) >= _MOST_REMEMBERED:
            snapshot.eligibility.clear()
        terms = snapshot.eligibility[key] = worked_out(snapshot, client_id, board_number, now)
    return terms


def worked_out(snapshot: Snapshot, client_id: str, board_number: str | None, now: datetime) -> Terms:
    """The same from the facts themselves, with the instants between which they say so."""
    connection = snapshot.connections[client_id]
    rules, agreements = snapshot.ground_rules.get(client_id, ()), snapshot.agreements.get(client_id, ())
    since, until = _unchanged((*rules, *agreements), now)
    agreement = agreement_in_force(agreements, board_number, now)
    if agreement is None or not connection.live or rules_kept(rules, now) != ALL_RULES:
        return Terms(since, until, eligible=False)
    scopes, purposes = connection.scopes & agreement.scopes, connection.purposes & agreement.purposes
    return Terms(since, until, True, scopes, purposes)


def _unchanged(facts: Iterable[Dated], now: datetime) -> tuple[datetime, datetime]:
    """Between which instants, around `now`, none of the facts begins or ends."""
    turns = [instant for fact in facts for instant in (fact.valid_from, fact.valid_until) if instant is not None]
    passed, ahead = [turn for turn in turns if turn <= now], [turn for turn in turns if turn > now]
    return max(passed, default=_ALWAYS[0]), min(ahead, default=_ALWAYS[1])
