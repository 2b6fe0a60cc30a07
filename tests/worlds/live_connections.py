"""Connections that may be granted everything that they ask for, straight into a store that other processes serve."""

import uuid
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from api.grants.offers import AgreementView
from api.registry.connection_routes import registered
from api.registry.ground_rule_routes import GroundRuleView
from api.registry.partner_routes import PartnerView
from api.store.events import SYSTEM, record
from api.store.store import Write
from api.web.schemas import Wire
from models.consents.agreements import Agreement
from models.consents.ground_rules import GroundRule
from models.consents.partners import Connection, Partner, Stage
from models.decision.kept_rules import GroundRuleName
from models.vocabulary.event_kinds import EventKind
from tests.worlds.world import PURPOSE


async def add_connections(
    write: Write, client_ids: Sequence[str], *, required: Sequence[str], optional: Sequence[str] = ()
) -> None:
    """A partner with these connections, live, each with an agreement and every ground rule."""
    dated: dict[str, Any] = {"revision": write.revision, "created_at": write.now}
    partner = Partner(kvk_number="90000001", name="Uitgeverij", changed_at=write.now, **dated)
    write.session.add(partner)
    await write.session.flush()
    _tell(write, EventKind.PARTNER_REGISTERED, PartnerView.model_validate(partner))
    connections = [_connection(each, required, optional, write.now, dated) for each in client_ids]
    write.session.add_all(connections)
    await write.session.flush()
    for connection in connections:
        client_id = connection.client_id
        _tell(write, EventKind.CONNECTION_REGISTERED, registered(connection), client_id)
        agreement = _agreement(client_id, [*required, *optional], write.now, dated)
        write.session.add(agreement)
        _tell(write, EventKind.AGREEMENT_SIGNED, AgreementView.model_validate(agreement), client_id)
        for rule in (_ground_rule(client_id, name, write.now, dated) for name in GroundRuleName):
            write.session.add(rule)
            _tell(write, EventKind.GROUND_RULE_MET, GroundRuleView.model_validate(rule), client_id)


def _tell(write: Write, kind: EventKind, shown: Wire, client_id: str | None = None) -> None:
    """The log holds what the tables do, as if it had come by the service's own routes."""
    state = shown.model_dump(mode="json", by_alias=True, exclude={"checked_by", "evidence"})
    record(write, kind, SYSTEM, state, client_id=client_id)


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
