"""`decide()`, the only function that permits, tested alone: no store, no clock, no HTTP."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.decision.decision import Decision, Question, Reason, behind, decide, unreachable
from models.decision.kept_rules import GroundRuleName
from models.decision.packed_grants import Granted, GrantFacts
from models.decision.snapshot import (
    AgreementFacts,
    Changes,
    ConnectionFacts,
    GroundRuleFacts,
    LocationFacts,
    SchoolFacts,
    Snapshot,
)
from models.vocabulary import scopes
from tests.worlds.facts import GRANT, NOW, YESTERDAY
from tests.worlds.world import OFFERED, OTHER_PURPOSE, PURPOSE

TOMORROW: Final = NOW + timedelta(days=1)
REVISION: Final = 10

CONNECTION: Final = ConnectionFacts("rekenrijk", frozenset(OFFERED), frozenset({PURPOSE}), live=True)
AGREEMENT: Final = AgreementFacts(
    agreement_id="agreement",
    client_id="rekenrijk",
    board_number=None,
    scopes=frozenset(OFFERED),
    purposes=frozenset({PURPOSE}),
    valid_from=YESTERDAY,
    valid_until=None,
    registered_at_revision=3,
    ended=False,
)
RULES: Final = tuple(
    GroundRuleFacts(
        ground_rule_id=f"evidence-of-{rule}",
        client_id="rekenrijk",
        rule=rule,
        valid_from=YESTERDAY,
        valid_until=None,
        ended=False,
    )
    for rule in GroundRuleName
)
OF_LOCATION: Final = GRANT._replace(grant_id="of-the-location", location="16SW01", granted_at_revision=6)
ASKED: Final = Question("partner", "rekenrijk", "release", "leerling", "16SW01")


def snapshot(
    *grants: GrantFacts,
    connection: ConnectionFacts = CONNECTION,
    agreements: tuple[AgreementFacts, ...] = (AGREEMENT,),
    rules: tuple[GroundRuleFacts, ...] = RULES,
) -> Snapshot:
    """One school with two locations, one connection, and the facts about it."""
    return Snapshot().after(
        Changes(
            revision=REVISION,
            schools=(SchoolFacts("16SW", "10001", gone=False),),
            locations=(LocationFacts("16SW00", gone=False), LocationFacts("16SW01", gone=False)),
            connections=(connection,),
            ground_rules=rules,
            agreements=agreements,
            grants=Granted.latest(grants),
        )
    )


def reason(facts: Snapshot, now: datetime = NOW, **asked: Any) -> Reason:
    return decide(facts, ASKED._replace(**asked), now).reason


def test_a_permit_tells_what_may_be_released_by_which_grant_and_until_when() -> None:
    assert decide(snapshot(GRANT._replace(valid_until=TOMORROW)), ASKED, NOW) == Decision(
        reason=Reason.GRANTED,
        revision=REVISION,
        scopes=("leerling.pseudoniem", "leerling.naam"),
        fields=("@eckid", "@key", "achternaam", "voorvoegsel", "roepnaam"),
        grant_id="of-the-school",
        valid_until=TOMORROW,
    )


def test_a_deny_releases_nothing_and_names_the_grant_that_stands_in_the_way() -> None:
    assert decide(snapshot(GRANT._replace(status="revoked")), ASKED, NOW) == Decision(
        reason=Reason.REVOKED,
        revision=REVISION,
        grant_id="of-the-school",
        valid_until=None,
        uwlr_fault="Client.AutorisatieOngeldig",
    )


def test_an_empty_store_permits_nothing() -> None:
    assert decide(Snapshot(), ASKED, NOW).reason is Reason.UNKNOWN_PARTNER


def test_a_store_that_cannot_answer_never_permits() -> None:
    for decision, expected in ((unreachable(7), Reason.STORE_UNREACHABLE), (behind(7), Reason.REVISION_BEHIND)):
        assert not decision.permit
        assert (decision.reason, decision.revision, decision.scopes, decision.fields) == (expected, 7, (), ())
        assert decision.uwlr_fault == "Server.TijdelijkNietBeschikbaar"


# -- the order of the reasons -----------------------------------------------------------------------------------------

#: Reasons to deny, in the contract's order, each with ways to cause it (no fault comes first).
#: A way changes the question, the facts, or both.
WRONG: Final[dict[str, tuple[dict[str, Any], ...]]] = {
    "revision_behind": ({}, {"min_revision": REVISION + 1}),
    "unknown_partner": ({}, {"client_id": "nobody"}, {"subject_type": "user"}),
    "unknown_school": ({}, {"place": "99ZZ"}, {"place": "16SW99"}, {"place": "16sw"}, {"place": ""}),
    "unknown_scope": (
        {},
        {"resource_type": "ouder"},
        {"action": "delete"},
        {"scopes": ("leerling.hobby",)},
        {"scopes": ("docent.naam",)},
        {"fields": ("bsn",)},
    ),
    "partner_not_eligible": (
        {},
        {"agreements": ()},
        {"agreements": (replace(AGREEMENT, ended=True),)},
        {"rules": RULES[1:]},
        {"rules": (replace(RULES[0], ended=True), *RULES[1:])},
    ),
    "state": (
        {},
        {"state": "no_grant"},
        {"state": "location_not_granted"},
        {"state": "revoked"},
        {"state": "expired"},
        {"state": "suspended"},
        {"state": "needs_reconfirmation"},
        {"state": "not_yet_valid"},
    ),
    "purpose_not_granted": ({}, {"purpose": OTHER_PURPOSE}),
    "scope_not_granted": ({}, {"granted": frozenset({"school.basis"})}),
}

STATES: Final[dict[str | None, tuple[dict[str, Any], ...]]] = {
    None: ({},),
    "no_grant": (),
    "location_not_granted": ({"location": "16SW00"},),
    "revoked": ({"status": "revoked"},),
    "expired": ({"valid_until": NOW},),
    "suspended": ({"status": "suspended"},),
    "needs_reconfirmation": ({"status": "needs_reconfirmation"},),
    "not_yet_valid": ({"valid_from": TOMORROW},),
}


def combinations() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every combination of faults, with the reason of the first one."""
    for ways in product(*WRONG.values()):
        wrong = [name for name, way in zip(WRONG, ways, strict=True) if way]
        together = {member: value for way in ways for member, value in way.items()}
        first = wrong[0] if wrong else "granted"
        yield (together["state"] if first == "state" else first), together


def test_of_all_that_is_wrong_the_first_in_the_contracts_order_is_told() -> None:
    seen = set()
    for first, together in combinations():
        asked = {name: together[name] for name in Question._fields if name in together}
        facts = {name: together[name] for name in ("agreements", "rules") if name in together}
        granted = {"scopes": together["granted"]} if "granted" in together else {}
        grants = [GRANT._replace(**granted, **change) for change in STATES[together.get("state")]]
        assert reason(snapshot(*grants, **facts), **asked) == first, together
        seen.add(first)
    assert seen == set(Reason) - {Reason.STORE_UNREACHABLE}


@pytest.mark.parametrize("status", ["granted", "suspended", "needs_reconfirmation", "revoked", "expired"])
def test_of_all_that_keeps_a_grant_from_holding_the_first_in_the_contracts_order_is_told(status: str) -> None:
    for begins, ends, resumes in product((YESTERDAY, TOMORROW), (None, NOW, TOMORROW), (None, NOW, TOMORROW)):
        grant = GRANT._replace(status=status, valid_from=begins, valid_until=ends, suspended_until=resumes)
        applying = {
            "revoked": status == "revoked",
            "expired": status == "expired" or ends == NOW,
            "suspended": status == "suspended" and resumes != NOW,
            "needs_reconfirmation": status == "needs_reconfirmation",
            "not_yet_valid": begins == TOMORROW,
            "granted": True,
        }
        expected = next(name for name, applies in applying.items() if applies)
        assert reason(snapshot(grant)) == expected, grant


def test_only_a_place_that_is_no_brin_is_a_malformed_message() -> None:
    facts = snapshot(GRANT)
    for place in ("16sw", "16SW0", "16SW001", "", "16SW\n", "16SW٠١"):  # the last place ends in digits outside ASCII
        decision = decide(facts, ASKED._replace(place=place), NOW)
        assert (decision.reason, decision.uwlr_fault) == (Reason.UNKNOWN_SCHOOL, "Client.OngeldigBericht")
    for place in ("99ZZ", "16SW99"):
        decision = decide(facts, ASKED._replace(place=place), NOW)
        assert (decision.reason, decision.uwlr_fault) == (Reason.UNKNOWN_SCHOOL, "Client.AutorisatieOngeldig")
    decision = decide(facts, ASKED._replace(place="16sw", client_id="nobody"), NOW)
    assert decision.uwlr_fault == "Client.OngeldigeKlantIdentificatie"


# -- which grant applies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["granted", "suspended", "needs_reconfirmation"])
def test_a_locations_own_grant_counts_alone_while_it_is_not_ended(status: str) -> None:
    for school_first in (True, False):
        of_school = GRANT._replace(granted_at_revision=4 if school_first else 9)
        decision = decide(snapshot(of_school, OF_LOCATION._replace(status=status)), ASKED, NOW)
        assert decision.grant_id == "of-the-location"


@pytest.mark.parametrize("status", ["revoked", "expired"])
def test_the_schools_grant_counts_again_once_the_locations_own_is_ended(status: str) -> None:
    decision = decide(snapshot(GRANT, OF_LOCATION._replace(status=status)), ASKED, NOW)
    assert (decision.permit, decision.grant_id) == (True, "of-the-school")


def test_of_grants_that_are_all_ended_the_latest_is_told() -> None:
    of_school, of_location = GRANT._replace(status="revoked"), OF_LOCATION._replace(valid_until=NOW)
    assert reason(snapshot(of_school, of_location)) is Reason.EXPIRED
    assert reason(snapshot(of_school._replace(granted_at_revision=9), of_location)) is Reason.REVOKED


def test_of_two_grants_of_a_place_the_later_stands_in_whatever_order_they_are_read() -> None:
    ended = GRANT._replace(grant_id="ended", status="revoked", granted_at_revision=4)
    for grants in ((ended, GRANT), (GRANT, ended)):
        assert decide(snapshot(*grants), ASKED, NOW).grant_id == "of-the-school"
        assert decide(
            snapshot(*grants[:1]).after(Changes(REVISION, grants=Granted.latest(grants[1:]))), ASKED, NOW
        ).permit


def test_a_grant_that_was_only_requested_or_declined_is_none() -> None:
    for status in ("requested", "declined"):
        assert reason(snapshot(GRANT._replace(status=status))) is Reason.NO_GRANT


# -- removing facts never permits more --------------------------------------------------------------------------------

NAMES_OF_SCOPES: Final = sorted(scopes.CATALOGUE.scopes)
some_scopes = st.frozensets(st.sampled_from(NAMES_OF_SCOPES))
most_scopes = st.frozensets(st.sampled_from(NAMES_OF_SCOPES), max_size=4).map(frozenset(NAMES_OF_SCOPES).difference)
covered = some_scopes | most_scopes
questions = st.builds(
    ASKED._replace,
    resource_type=st.sampled_from(scopes.RESOURCE_TYPES),
    scopes=st.lists(st.sampled_from(NAMES_OF_SCOPES), max_size=1).map(tuple),
    fields=st.lists(st.sampled_from(sorted({name for _, name in scopes.CATALOGUE.fields})), max_size=2).map(tuple),
)


def covering(by_school: frozenset[str], by_request: frozenset[str], by_agreement: frozenset[str]) -> Snapshot:
    return snapshot(
        GRANT._replace(scopes=by_school),
        connection=replace(CONNECTION, scopes=by_request),
        agreements=(replace(AGREEMENT, scopes=by_agreement),),
    )


@settings(max_examples=400, derandomize=True, database=None, deadline=None)
@given(st.tuples(covered, covered, covered), st.tuples(some_scopes, some_scopes, some_scopes), questions)
def test_taking_scopes_away_never_permits_more(
    before: tuple[frozenset[str], ...], away: tuple[frozenset[str], ...], question: Question
) -> None:
    more = decide(covering(*before), question, NOW)
    less = decide(covering(*(each - gone for each, gone in zip(before, away, strict=True))), question, NOW)
    assert less.permit <= more.permit
    assert set(less.scopes) <= set(more.scopes)
    assert set(less.fields) <= set(more.fields)


@settings(max_examples=200, derandomize=True, database=None, deadline=None)
@given(covered, covered, covered, questions)
def test_nothing_is_released_that_grant_request_and_agreement_do_not_all_cover(
    by_school: frozenset[str], by_request: frozenset[str], by_agreement: frozenset[str], question: Question
) -> None:
    decision = decide(covering(by_school, by_request, by_agreement), question, NOW)
    assert set(decision.scopes) <= by_school & by_request & by_agreement
    allowed = {name for scope in decision.scopes for name in scopes.CATALOGUE.scopes[scope].fields}
    assert set(decision.fields) == allowed


@settings(max_examples=200, derandomize=True, database=None, deadline=None)
@given(covered, questions, some_scopes)
def test_asking_for_more_never_permits_more(
    by_school: frozenset[str], question: Question, also: frozenset[str]
) -> None:
    facts = covering(by_school, frozenset(NAMES_OF_SCOPES), frozenset(NAMES_OF_SCOPES))
    more = question._replace(scopes=(*question.scopes, *sorted(also)))
    assert decide(facts, more, NOW).permit <= decide(facts, question, NOW).permit
