"""The register of processing, by events that are older than some of what events tell now: what they lack is open."""

from datetime import timedelta
from typing import Any, Final

import pytest

from models.decision.grant_status import Status
from models.log.events import Event
from models.past.latest_states import LatestStates
from models.past.processing_register import Controller, Register, register_of
from models.past.register_texts import BOARD_OF_NOW
from tests.worlds.world import PURPOSE, START

AT: Final = START + timedelta(days=1)
GRANTED: Final[dict[str, Any]] = {
    "grantId": "g",
    "school": "16SW",
    "location": None,
    "clientId": "oud",
    "partner": {"name": "Oude Uitgever", "kvkNumber": "90000009"},
    "scopes": ["leerling.naam", "leerling.vervallen"],
    "purposes": [PURPOSE, "vervallen-doel"],
    "status": "granted",
    "validFrom": "2026-09-01T08:00:00Z",
    "validUntil": None,
    "suspendedUntil": None,
    "version": 1,
    "revision": 1,
    "createdAt": "2026-09-01T08:00:00Z",
    "changedAt": "2026-09-01T08:00:00Z",
}
AGREED: Final[dict[str, Any]] = {
    "agreementId": "a",
    "clientId": "oud",
    "boardNumber": None,
    "agreementVersion": "3.0",
    "privacybijsluiterVersion": "0.9",
    "scopes": ["leerling.naam"],
    "purposes": [PURPOSE],
    "signedOn": "2026-08-01",
    "validFrom": "2026-08-01T00:00:00Z",
    "validUntil": None,
}


def told_by(*told: tuple[str, dict[str, Any]]) -> Register:
    """The register that these events make."""
    events = [
        Event(number=number, revision=number, mark="", at=START, kind=kind, actor="", actor_role="", state=state)
        for number, (kind, state) in enumerate(told, 1)
    ]
    controller = Controller("16SW", "School 16SW", None, None, BOARD_OF_NOW, {})
    return register_of(controller, LatestStates.of(events), AT, AT, len(events))


def test_what_the_log_does_not_tell_is_left_open() -> None:
    (processing,) = told_by(("grant.granted", GRANTED)).processings
    recipient = processing.recipient
    assert (recipient.name, recipient.kvk_number, recipient.connection) == ("Oude Uitgever", "90000009", "oud")
    assert (recipient.stage, processing.agreement) == (None, None)
    assert [(data.scope, bool(data.fields)) for data in processing.data] == [
        ("leerling.naam", True),
        ("leerling.vervallen", False),
    ]
    assert processing.purposes[1].title == "vervallen-doel"


def test_a_grant_that_names_no_agreement_rests_on_the_one_that_counted_when_it_was_given() -> None:
    later = {**AGREED, "agreementId": "b", "retentionDays": 30}
    events = [("agreement.signed", AGREED), ("grant.granted", GRANTED), ("agreement.signed", later)]
    (processing,) = told_by(*events).processings
    assert processing.agreement is not None
    assert (processing.agreement.agreement_id, processing.agreement.retention_days) == ("a", None)
    assert (processing.agreement.categories, processing.agreement.outside_eea) == (None, None)
    assert processing.agreement.replaced_by is not None
    (ended,) = told_by(*events, ("grant.revoked", {**GRANTED, "status": "revoked"})).ended
    assert (ended.ended_at, ended.delete_by) == (START, None)


@pytest.mark.parametrize("status", [Status.REQUESTED, Status.DECLINED])
def test_what_was_never_permitted_is_no_processing(status: Status) -> None:
    shown = told_by(("grant.granted", {**GRANTED, "status": status.value}))
    assert (shown.processings, shown.ended) == ((), ())
