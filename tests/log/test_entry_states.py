"""Parsed states of entries: of this version, of the first versions, and invalid ones."""

from datetime import UTC, date, datetime
from typing import Any, Final

import pytest
from msgspec.structs import fields
from pydantic import BaseModel

from api.grants.grant_lifecycle import GrantView
from api.grants.offers import AgreementView
from api.registry.connection_routes import RegisteredConnection
from api.registry.ground_rule_routes import GroundRuleView
from api.registry.partner_routes import PartnerView
from api.registry.school_key_routes import SchoolKeyView
from models.consents.agreements import Agreement
from models.log import entry_states
from models.log.entry_states import (
    AgreementState,
    ConnectionState,
    DigestState,
    DutyState,
    ErasedActorState,
    ErasedReasonState,
    GrantState,
    LetterState,
    PartnerState,
    ReferenceState,
    RequestState,
    RuleState,
    SchoolKeyState,
    SchoolsState,
    StateInvalid,
    WebhookState,
    listed,
)
from models.log.events import PastEvent
from models.past.latest_states import LatestStates
from models.past.replay import ReplayedFacts

AT: Final = "2026-09-01T08:00:00.123456Z"
MOMENT: Final = datetime(2026, 9, 1, 8, 0, 0, 123456, tzinfo=UTC)
VERSIONED: Final = {"version": 1, "revision": 4, "createdAt": AT, "changedAt": AT}
SCOPES: Final = ["leerling.naam", "school.basis"]

#: States as written by the version before onboarding: the minimum that each form must still accept.
FIRST: Final[dict[type, dict[str, Any]]] = {
    GrantState: {
        "grantId": "g-1",
        "school": "16SW",
        "location": None,
        "clientId": "rekenrijk",
        "partner": {"name": "Uitgeverij De Eerste", "kvkNumber": "90000001"},
        "scopes": SCOPES,
        "purposes": ["leermiddel"],
        "status": "granted",
        "validFrom": AT,
        "validUntil": None,
        "suspendedUntil": None,
        **VERSIONED,
    },
    PartnerState: {"kvkNumber": "90000001", "name": "Uitgeverij De Eerste", **VERSIONED},
    ConnectionState: {
        "clientId": "rekenrijk",
        "kvkNumber": "90000001",
        "name": "Rekenrijk",
        "profile": "smalle-set@2.3",
        "recipientRole": "processor",
        "scopes": {"required": ["school.basis"], "optional": ["leerling.naam"]},
        "purposes": ["leermiddel"],
        "requestVersion": 1,
        **VERSIONED,
    },
    RuleState: {
        "groundRuleId": "r-1",
        "clientId": "rekenrijk",
        "rule": "kvk",
        "source": "KvK",
        "validFrom": AT,
        "validUntil": None,
        "revision": 4,
        "createdAt": AT,
    },
    AgreementState: {
        "agreementId": "a-1",
        "clientId": "rekenrijk",
        "boardNumber": None,
        "agreementVersion": "4.0",
        "privacybijsluiterVersion": "1",
        "scopes": SCOPES,
        "purposes": ["leermiddel"],
        "signedOn": "2026-08-01",
        "validFrom": AT,
        "validUntil": None,
    },
    SchoolsState: {},
    RequestState: {
        "requestId": "q-1",
        "clientId": "rekenrijk",
        "school": "16SW",
        "location": None,
        "scopes": {"required": [], "optional": SCOPES},
        "purposes": ["leermiddel"],
        "status": "open",
        "grantId": None,
        "requestVersion": 1,
        "version": 1,
    },
    DutyState: {
        "deletionOf": "g-1",
        "clientId": "rekenrijk",
        "school": "16SW",
        "location": "16SW01",
        "scopes": SCOPES,
        "endedAt": AT,
        "dueAt": AT,
        "confirmedAt": None,
    },
    ReferenceState: {
        "referenceId": "n-1",
        "clientId": "rekenrijk",
        "school": "16SW",
        "party": "consumer",
        "reference": "hun-naam",
        "requestId": None,
        "grantId": "g-1",
        "confirmedAt": "2026-09-01T08:00:00.123456+00:00",
    },
    WebhookState: {
        "subscriptionId": "s-1",
        "clientId": "rekenrijk",
        "urlVersion": 1,
        "types": None,
        "state": "active",
        "disabledReason": None,
        "seed": "zaad",
        "formerSeed": None,
        "version": 1,
        "disabledAt": None,
        "formerUntil": None,
    },
    SchoolKeyState: {"schoolkey": "las-1", "brin": "16SW", "location": None, "revision": 4, "createdAt": AT},
    LetterState: {"letterId": "l-1", "recipient": "school", "week": "2026-08-31", "parts": [{"subject": "due"}]},
    ErasedActorState: {"commitment": "hmac-sha256:00"},
    ErasedReasonState: {"number": 7, "commitment": "hmac-sha256:00"},
    DigestState: {"day": "2026-09-01", "lines": 3, "sha256": "00"},
}
FORMS: Final = list(FIRST)
REQUIRED: Final = [(form, name) for form, state in FIRST.items() for name in state]


def of(form: Any, state: object) -> Any:
    return form.of(state)


def test_every_form_is_in_this_list() -> None:
    forms = {each for each in vars(entry_states).values() if isinstance(each, type) and hasattr(each, "of")}
    assert {form for form in forms if not form.__name__.startswith("_")} == set(FORMS)


@pytest.mark.parametrize("form", FORMS)
def test_the_first_form_is_read_and_what_came_later_has_a_default(form: Any) -> None:
    state = of(form, FIRST[form])
    given = {field.encode_name for field in fields(form)} & FIRST[form].keys()
    assert given == FIRST[form].keys()
    assert all(
        getattr(state, field.name) == field.default for field in fields(form) if field.encode_name not in FIRST[form]
    )


@pytest.mark.parametrize(("form", "name"), REQUIRED, ids=[f"{form.__name__}-{name}" for form, name in REQUIRED])
def test_a_member_that_was_always_there_must_be_there_and_be_of_its_type(form: Any, name: str) -> None:
    without = {member: value for member, value in FIRST[form].items() if member != name}
    for wrong in (without, {**without, name: 7.5}, {**without, name: [[]]}):
        with pytest.raises(StateInvalid, match=name):
            of(form, wrong)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("state", [[], "weg", None, 7])
def test_what_is_no_object_is_no_state(form: Any, state: Any) -> None:
    with pytest.raises(StateInvalid):
        of(form, state)


@pytest.mark.parametrize("form", FORMS)
def test_a_member_of_a_later_version_is_not_read(form: Any) -> None:
    assert of(form, {**FIRST[form], "confirmBy": {"nog": "onbekend"}}) == of(form, FIRST[form])


@pytest.mark.parametrize(
    ("form", "name", "wrong"),
    [
        (GrantState, "validFrom", "2026-09-01T08:00:00"),
        (GrantState, "validFrom", "gisteren"),
        (GrantState, "validUntil", 1_790_000_000),
        (GrantState, "reconfirmBy", "2026-09-01"),
        (GrantState, "scopes", "leerling.naam"),
        (GrantState, "scopes", [["leerling.naam"]]),
        (GrantState, "partner", {"name": "Zonder nummer"}),
        (GrantState, "revision", "4"),
        (GrantState, "revision", True),
        (ConnectionState, "scopes", SCOPES),
        (ConnectionState, "scopes", {"required": SCOPES}),
        (ConnectionState, "stage", 1),
        (PartnerState, "stoppedAt", False),
        (RuleState, "kept", "ja"),
        (RuleState, "checkAgainOn", AT),
        (AgreementState, "signedOn", "2026-02-30"),
        (AgreementState, "retentionDays", "30"),
        (AgreementState, "subProcessors", ["Een naam"]),
        (SchoolsState, "listed", []),
        (SchoolsState, "listed", {"schools": [7]}),
        (SchoolsState, "listed", {"schools": [["16SW", None]]}),
        (SchoolsState, "listed", {"locations": [["16SW01", None]]}),
        (DigestState, "lines", "3"),
    ],
)
def test_a_value_of_another_type_is_refused(form: Any, name: str, wrong: Any) -> None:
    with pytest.raises(StateInvalid):
        of(form, {**FIRST[form], name: wrong})


def test_values_are_typed() -> None:
    grant = GrantState.of({**FIRST[GrantState], "reconfirmBy": AT})
    assert (grant.valid_from, grant.reconfirm_by, grant.valid_until) == (MOMENT, MOMENT, None)
    assert (grant.scopes, grant.partner.kvk_number) == (tuple(SCOPES), "90000001")
    assert AgreementState.of(FIRST[AgreementState]).signed_on == date(2026, 8, 1)
    assert ReferenceState.of(FIRST[ReferenceState]).confirmed_at == MOMENT


def test_what_an_entry_lists_is_read_as_it_was_told() -> None:
    told = listed([("17TX", None, MOMENT), ("16SW", "10001", None)], [("16SW01", MOMENT), ("16SW00", None)])
    found = SchoolsState.of({"rows": 4, "listed": told}).listed
    assert found is not None
    assert found.schools == (("16SW", "10001", False), ("17TX", None, True))
    assert found.locations == (("16SW00", False), ("16SW01", True))


@pytest.mark.parametrize(
    ("form", "view", "left_out"),
    [
        (GrantState, GrantView, set()),
        (PartnerState, PartnerView, set()),
        (ConnectionState, RegisteredConnection, set()),
        # The log contains neither the checker nor the evidence.
        (RuleState, GroundRuleView, {"evidence", "checkedBy"}),
        (AgreementState, AgreementView, set()),
        (SchoolKeyState, SchoolKeyView, set()),
    ],
)
def test_a_form_has_every_member_that_is_written_today(form: Any, view: type[BaseModel], left_out: set[str]) -> None:
    written = {field.alias for field in view.model_fields.values()} - left_out
    assert {field.encode_name for field in fields(form)} == written


# -- readers of states ------------------------------------------------------------------------------------------------


def entry(number: int, kind: str, state: dict[str, Any]) -> dict[str, Any]:
    return {"number": number, "revision": number, "kind": kind, "state": state, "at": AT, "brin": None}


def test_a_replay_of_the_first_version_permits_what_that_version_permitted() -> None:
    told = ReplayedFacts.of(
        [
            entry(1, "schools.imported", {"rows": 1}),
            entry(2, "partner.registered", FIRST[PartnerState]),
            entry(3, "connection.registered", FIRST[ConnectionState]),
            entry(4, "ground_rule.met", FIRST[RuleState]),
            entry(5, "agreement.signed", FIRST[AgreementState]),
            entry(6, "grant.granted", FIRST[GrantState]),
        ]
    )
    (connection,), (rule,), (agreement,) = told.facts.connections, told.facts.ground_rules, told.facts.agreements
    assert (connection.live, connection.scopes) == (True, frozenset(SCOPES))
    assert (rule.ended, agreement.ended, agreement.registered_at_revision) == (False, False, 5)
    (grant,) = told.facts.grants.of("rekenrijk", "16SW")
    assert (grant.status, grant.valid_from, grant.reconfirm_by) == ("granted", MOMENT, None)


@pytest.mark.parametrize(("member", "value"), [("stage", "building"), ("stoppedAt", AT)])
def test_a_replay_does_not_permit_what_is_not_live_or_is_stopped(member: str, value: str) -> None:
    now = {**FIRST[ConnectionState], "stage": "live", "stoppedAt": None}
    assert [each.live for each in ReplayedFacts.of([entry(1, "connection.moved", now)]).facts.connections] == [True]
    told = ReplayedFacts.of([entry(1, "connection.moved", {**now, member: value})])
    assert [each.live for each in told.facts.connections] == [False]


def test_the_latest_states_of_the_first_version_say_what_it_told_and_no_more() -> None:
    def event(number: int, kind: str, state: dict[str, Any]) -> PastEvent:
        return PastEvent(number, number, "m", MOMENT, kind, "a", "operator", None, None, "rekenrijk", None, state)

    known = LatestStates.of(
        [
            event(1, "connection.registered", FIRST[ConnectionState]),
            event(2, "agreement.signed", FIRST[AgreementState]),
            event(3, "grant.granted", FIRST[GrantState]),
        ]
    )
    agreement, grant = known.agreements["a-1"], known.grants["g-1"]
    assert isinstance(agreement, Agreement)
    assert (known.retention["a-1"], agreement.retention_days, agreement.sub_processors) == (None, 0, [])
    assert (known.connections["rekenrijk"].stage, grant.state.agreement_id, grant.reconfirm_by) == (None, None, None)
