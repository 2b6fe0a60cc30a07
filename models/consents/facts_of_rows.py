"""Converts rows of the tables to the facts of decisions."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, TypeVar

from models.consents.agreements import Agreement
from models.consents.grants import Grant
from models.consents.ground_rules import GroundRule
from models.consents.partners import Connection, Partner, is_live
from models.consents.schools import Location, School
from models.decision.packed_grants import Granted, GrantFacts
from models.decision.snapshot import (
    AgreementFacts,
    Changes,
    ConnectionFacts,
    GroundRuleFacts,
    LocationFacts,
    SchoolFacts,
)


def facts_of_rows(
    revision: int,
    schools: Iterable[School],
    locations: Iterable[Location],
    connections: Iterable[tuple[Connection, Partner]],
    ground_rules: Iterable[GroundRule],
    agreements: Iterable[Agreement],
    grants: Iterable[Grant],
) -> Changes:
    """Facts from rows, for callers that have read only those that a question is about."""
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
        grants=Granted.latest(GrantFacts(**_values(GrantFacts._fields, row)) for row in grants),
    )


Facts = TypeVar("Facts", GroundRuleFacts, AgreementFacts)


def _facts(kind: type[Facts], row: GroundRule | Agreement) -> Facts:
    return kind(**_values((member.name for member in fields(kind)), row))


def _values(names: Iterable[str], row: object) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in names}
    return {name: frozenset(value) if isinstance(value, list) else value for name, value in values.items()}
