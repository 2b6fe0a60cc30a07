"""The decision a second time, straight from the rows: slow, plain, and sharing no code with the one that answers.

Written from the contract alone, section "The decision". It knows the catalogue as JSON, and of the rows only their
columns. It collects every reason that applies and then picks the first in the contract's order.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from models.consents.agreements import Agreement
from models.consents.grants import Grant
from models.consents.ground_rules import GroundRule
from models.consents.partners import Connection, Partner
from models.consents.schools import Location, School

CATALOGUE: Final = json.loads((Path(__file__).parents[2] / "models/catalogue/scopes.json").read_text("utf-8"))
ENTRIES: Final[dict[str, Any]] = {entry["name"]: entry for entry in CATALOGUE["scopes"]}
TYPES: Final = {"leerling", "docent", "groep", "school", "vestiging"}
GROUND_RULES: Final = {"privacyconvenant", "verwerkersovereenkomst", "doelbinding", "kvk"}
ORDER: Final = (
    "revision_behind",
    "unknown_partner",
    "unknown_school",
    "unknown_scope",
    "partner_not_eligible",
    "no_grant",
    "location_not_granted",
    "revoked",
    "expired",
    "suspended",
    "needs_reconfirmation",
    "not_yet_valid",
    "purpose_not_granted",
    "scope_not_granted",
)


@dataclass(frozen=True)
class Rows:
    """Everything that a decision may rest on, as the tables hold it at one revision."""

    revision: int
    schools: Sequence[School]
    locations: Sequence[Location]
    partners: Sequence[Partner]
    connections: Sequence[Connection]
    ground_rules: Sequence[GroundRule]
    agreements: Sequence[Agreement]
    grants: Sequence[Grant]


@dataclass(frozen=True)
class Asked:
    """A question, member by member as AuthZEN has it."""

    client_id: str
    place: str
    type: str
    scopes: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    purpose: str | None = None
    min_revision: int = 0
    subject: str = "partner"
    action: str = "release"


@dataclass(frozen=True)
class Answer:
    reason: str
    scopes: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()


def answer(rows: Rows, asked: Asked, now: datetime) -> Answer:
    """What the contract says to `asked`, at `now`."""
    reasons = set(_all_reasons(rows, asked, now))
    if reasons:
        return Answer(min(reasons, key=ORDER.index))
    scopes = _of_type(_covered(rows, asked, now), asked.type)
    return Answer("granted", scopes, frozenset(name for scope in scopes for name in ENTRIES[scope]["fields"]))


def _all_reasons(rows: Rows, asked: Asked, now: datetime) -> Iterator[str]:
    if asked.min_revision > rows.revision:
        yield "revision_behind"
    if asked.subject != "partner" or not any(row.client_id == asked.client_id for row in rows.connections):
        yield "unknown_partner"
    if not _is_listed(rows, asked.place):
        yield "unknown_school"
    if not _is_known(asked):
        yield "unknown_scope"
    if not _is_eligible(rows, asked, now):
        yield "partner_not_eligible"
    grant = _grant_that_counts(rows, asked, now)
    if grant is None:
        yield _without_a_grant(rows, asked, now)
        return
    yield from _faults(grant, now)
    if not _purposes(rows, asked, now) or (asked.purpose and asked.purpose not in _purposes(rows, asked, now)):
        yield "purpose_not_granted"
    if not _is_covered(_covered(rows, asked, now), asked):
        yield "scope_not_granted"


# -- what is known ----------------------------------------------------------------------------------------------------


def _is_listed(rows: Rows, place: str) -> bool:
    if not re.match(r"[0-9][0-9][A-Z][A-Z]([0-9][0-9])?\Z", place):
        return False
    schools = {row.brin for row in rows.schools if row.gone_at is None}
    locations = {row.code for row in rows.locations if row.gone_at is None}
    return place[:4] in schools and (len(place) == 4 or place in locations)


def _is_known(asked: Asked) -> bool:
    of_type = [entry for entry in CATALOGUE["scopes"] if entry["type"] == asked.type]
    scopes = {entry["name"] for entry in of_type}
    fields = {name for entry in of_type for name in entry["fields"]}
    known = asked.type in TYPES and asked.action == "release"
    return known and scopes.issuperset(asked.scopes) and fields.issuperset(asked.fields)


# -- who may receive --------------------------------------------------------------------------------------------------


def _is_eligible(rows: Rows, asked: Asked, now: datetime) -> bool:
    kept = {row.rule for row in rows.ground_rules if row.client_id == asked.client_id and _lies_within(row, now)}
    return kept >= GROUND_RULES and _agreement(rows, asked, now) is not None and _is_live(rows, asked)


def _is_live(rows: Rows, asked: Asked) -> bool:
    """Its road has led it there, and neither it nor the company behind it was stopped."""
    connection = _connection(rows, asked)
    if connection is None or connection.stage != "live" or connection.stopped_at is not None:
        return False
    return not any(row.kvk_number == connection.kvk_number and row.stopped_at is not None for row in rows.partners)


def _agreement(rows: Rows, asked: Asked, now: datetime) -> Agreement | None:
    """The board's own, else the general one; of several in force, the one that was registered last."""
    boards = {row.brin: row.board_number for row in rows.schools}
    board = boards.get(asked.place[:4])
    in_force = [row for row in rows.agreements if row.client_id == asked.client_id and _lies_within(row, now)]
    own = [row for row in in_force if row.board_number is not None and row.board_number == board]
    general = [row for row in in_force if row.board_number is None]
    counting = sorted(own or general, key=lambda row: row.registered_at_revision)
    return counting[-1] if counting else None


def _lies_within(row: GroundRule | Agreement, now: datetime) -> bool:
    return not row.ended and row.valid_from <= now and not (row.valid_until is not None and row.valid_until <= now)


# -- how the grant stands ---------------------------------------------------------------------------------------------


def _given(rows: Rows, asked: Asked) -> list[Grant]:
    """All that this school ever permitted this connection, oldest first."""
    own = [row for row in rows.grants if row.client_id == asked.client_id and row.brin == asked.place[:4]]
    permitted = [row for row in own if row.status not in ("requested", "declined")]
    return sorted(permitted, key=lambda row: row.granted_at_revision)


def _is_ended(grant: Grant, now: datetime) -> bool:
    return bool({"revoked", "expired"} & set(_faults(grant, now)))


def _grant_that_counts(rows: Rows, asked: Asked, now: datetime) -> Grant | None:
    of_location = [row for row in _given(rows, asked) if row.location is not None and row.location == asked.place]
    of_school = [row for row in _given(rows, asked) if row.location is None]
    for own in (of_location, of_school):
        lasting = [row for row in own if not _is_ended(row, now)]
        assert len(lasting) <= 1, "at most one grant that is not ended per connection and place"
        if lasting:
            return lasting[0]
    ended = sorted(of_location + of_school, key=lambda row: row.granted_at_revision)
    return ended[-1] if ended else None


def _without_a_grant(rows: Rows, asked: Asked, now: datetime) -> str:
    lasting = [row for row in _given(rows, asked) if not _is_ended(row, now)]
    return "location_not_granted" if lasting else "no_grant"


def _faults(grant: Grant, now: datetime) -> Iterator[str]:
    if grant.status == "revoked":
        yield "revoked"
    if grant.status == "expired" or (grant.valid_until is not None and grant.valid_until <= now):
        yield "expired"
    if grant.status == "suspended" and (grant.suspended_until is None or now < grant.suspended_until):
        yield "suspended"
    # A suspension that is over leaves a grant that holds, and must have been confirmed in time.
    overdue = grant.reconfirm_by is not None and grant.reconfirm_by <= now
    if grant.status == "needs_reconfirmation" or (overdue and grant.status in ("granted", "suspended")):
        yield "needs_reconfirmation"
    if now < grant.valid_from:
        yield "not_yet_valid"


# -- what it covers ---------------------------------------------------------------------------------------------------


def _purposes(rows: Rows, asked: Asked, now: datetime) -> set[str]:
    """What the school chose, the connection asks for and the agreement names."""
    grant, agreement = _grant_that_counts(rows, asked, now), _agreement(rows, asked, now)
    connection = _connection(rows, asked)
    if grant is None or agreement is None or connection is None:
        return set()
    return {code for code in grant.purposes if code in connection.purposes and code in agreement.purposes}


def _covered(rows: Rows, asked: Asked, now: datetime) -> set[str]:
    """The same of scopes; what lacks a scope that it needs is taken out, until nothing more is."""
    grant, agreement = _grant_that_counts(rows, asked, now), _agreement(rows, asked, now)
    connection = _connection(rows, asked)
    if grant is None or agreement is None or connection is None:
        return set()
    requested = [*connection.required_scopes, *connection.optional_scopes]
    left = {name for name in grant.scopes if name in requested and name in agreement.scopes}
    for _ in CATALOGUE["scopes"]:
        left = {name for name in left if all(any(one in left for one in need) for need in ENTRIES[name]["needs"])}
    return left


def _is_covered(covered: set[str], asked: Asked) -> bool:
    scopes = _of_type(covered, asked.type)
    fields = {name for scope in scopes for name in ENTRIES[scope]["fields"]}
    return bool(scopes) and scopes.issuperset(asked.scopes) and fields.issuperset(asked.fields)


def _connection(rows: Rows, asked: Asked) -> Connection | None:
    return next((row for row in rows.connections if row.client_id == asked.client_id), None)


def _of_type(scopes: set[str], resource_type: str) -> frozenset[str]:
    return frozenset(name for name in scopes if ENTRIES[name]["type"] == resource_type)
