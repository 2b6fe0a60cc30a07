"""Connections that may be granted everything that they ask for, straight into a store that other processes serve."""

import uuid
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from api.store import Write
from models.agreements import Agreement
from models.ground_rules import GroundRule, GroundRuleName
from models.partners import Connection, Partner, Stage
from tests.world import PURPOSE


async def add_connections(
    write: Write, client_ids: Sequence[str], *, required: Sequence[str], optional: Sequence[str] = ()
) -> None:
    """A partner with these connections, live, each with an agreement and every ground rule."""
    dated: dict[str, Any] = {"revision": write.revision, "created_at": write.now}
    write.session.add(Partner(kvk_number="90000001", name="Uitgeverij", changed_at=write.now, **dated))
    await write.session.flush()
    write.session.add_all(_connection(each, required, optional, write.now, dated) for each in client_ids)
    await write.session.flush()
    for client_id in client_ids:
        write.session.add(_agreement(client_id, [*required, *optional], write.now, dated))
        write.session.add_all(_ground_rule(client_id, rule, write.now, dated) for rule in GroundRuleName)


def _connection(
    client_id: str, required: Sequence[str], optional: Sequence[str], now: datetime, dated: dict[str, Any]
) -> Connection:
    return Connection(
        client_id=client_id,
        kvk_number="90000001",
        name=client_id,
        profile="smalle-set@2.3",
        recipient_role="processor",
        required_scopes=list(required),
        optional_scopes=list(optional),
        purposes=[PURPOSE],
        stage=Stage.LIVE,
        changed_at=now,
        **dated,
    )


def _agreement(client_id: str, scopes: Sequence[str], now: datetime, dated: dict[str, Any]) -> Agreement:
    return Agreement(
        agreement_id=str(uuid.uuid4()),
        client_id=client_id,
        agreement_version="4.0",
        privacybijsluiter_version="1.0",
        scopes=list(scopes),
        purposes=[PURPOSE],
        signed_on=date(2026, 8, 1),
        valid_from=now,
        registered_at_revision=dated["revision"],
        **dated,
    )


def _ground_rule(client_id: str, rule: GroundRuleName, now: datetime, dated: dict[str, Any]) -> GroundRule:
    return GroundRule(
        ground_rule_id=str(uuid.uuid4()),
        client_id=client_id,
        rule=rule,
        evidence="Gezien.",
        source="Edu-K",
        valid_from=now,
        checked_by="iemand",
        checked_at=now,
        **dated,
    )
