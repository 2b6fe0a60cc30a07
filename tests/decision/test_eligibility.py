"""Cached eligibility equals eligibility computed from the facts, at every instant."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.decision.eligibility import compute_eligibility, eligibility_at
from models.decision.kept_rules import GroundRuleName
from models.decision.snapshot import AgreementFacts, Changes, ConnectionFacts, GroundRuleFacts, SchoolFacts, Snapshot
from tests.worlds.world import NAMES, OTHER_PURPOSE, PURPOSE, START

HOURS = st.integers(-3, 3).map(lambda hours: START + timedelta(hours=hours))
BOARDS = ("10001", "10002", None)
SCOPES = st.frozensets(st.sampled_from(NAMES))

RULES = st.builds(
    GroundRuleFacts,
    ground_rule_id=st.uuids().map(str),
    client_id=st.just("rekenrijk"),
    rule=st.sampled_from([rule.value for rule in GroundRuleName]),
    valid_from=HOURS,
    valid_until=st.none() | HOURS,
    ended=st.booleans(),
)
AGREEMENTS = st.builds(
    AgreementFacts,
    agreement_id=st.uuids().map(str),
    client_id=st.just("rekenrijk"),
    board_number=st.sampled_from(BOARDS),
    scopes=SCOPES,
    purposes=st.just(frozenset({PURPOSE})),
    valid_from=HOURS,
    valid_until=st.none() | HOURS,
    registered_at_revision=st.integers(0, 9),
    ended=st.booleans(),
)
ALWAYS_KEPT = tuple(
    GroundRuleFacts(f"rule-{rule}", "rekenrijk", rule, START - timedelta(days=1), None, False)
    for rule in GroundRuleName
)


@given(
    st.lists(RULES, max_size=4),
    st.lists(AGREEMENTS, max_size=4),
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(BOARDS), st.integers(-8, 8)), min_size=1, max_size=12),
)
def test_remembered_terms_are_those_of_the_facts_however_the_clock_goes(
    rules: list[GroundRuleFacts], agreements: list[AgreementFacts], kept: bool, asked: list[tuple[str | None, int]]
) -> None:
    connection = ConnectionFacts("rekenrijk", frozenset(NAMES), frozenset({PURPOSE}), live=True)
    facts = Changes(
        1,
        connections=(connection,),
        ground_rules=(*rules, *(ALWAYS_KEPT if kept else ())),
        agreements=tuple(agreements),
    )
    snapshot = Snapshot().after(facts)
    for board_number, half_hours in asked:
        now = START + timedelta(minutes=30 * half_hours)
        # The cache belongs to the snapshot; the clock may go back, as when it is corrected.
        fresh = compute_eligibility(Snapshot().after(facts), "rekenrijk", board_number, now)
        assert eligibility_at(snapshot, "rekenrijk", board_number, now) == fresh


def test_what_was_worked_out_does_not_outlive_its_facts() -> None:
    connection = ConnectionFacts("rekenrijk", frozenset(NAMES), frozenset({PURPOSE}), live=True)
    agreement = AgreementFacts(
        "a", "rekenrijk", None, frozenset(NAMES), frozenset({PURPOSE}), START, None, 1, ended=False
    )
    before = Snapshot().after(Changes(1, connections=(connection,), ground_rules=ALWAYS_KEPT, agreements=(agreement,)))
    assert eligibility_at(before, "rekenrijk", None, START).eligible
    stopped = ConnectionFacts("rekenrijk", frozenset(NAMES), frozenset({PURPOSE}), live=False)
    assert not eligibility_at(before.after(Changes(2, connections=(stopped,))), "rekenrijk", None, START).eligible
    assert eligibility_at(before, "rekenrijk", None, START).eligible
    elsewhere = before.after(Changes(2, schools=(SchoolFacts("16SW", "10001", False),)))
    assert elsewhere.eligibility is before.eligibility


def test_eligibility_covers_what_the_connection_and_its_agreement_both_name() -> None:
    connection = ConnectionFacts("rekenrijk", frozenset(NAMES[:2]), frozenset({PURPOSE, OTHER_PURPOSE}), live=True)
    agreement = AgreementFacts(
        "a", "rekenrijk", None, frozenset(NAMES[1:]), frozenset({PURPOSE}), START, None, 1, ended=False
    )
    facts = Changes(1, connections=(connection,), ground_rules=ALWAYS_KEPT, agreements=(agreement,))
    eligibility = compute_eligibility(Snapshot().after(facts), "rekenrijk", "10001", START)
    assert (eligibility.eligible, eligibility.scopes, eligibility.purposes) == (
        True,
        frozenset({NAMES[1]}),
        frozenset({PURPOSE}),
    )


def test_only_so_many_eligibilities_are_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.decision.eligibility._MOST_CACHED", 3)
    connection = ConnectionFacts("rekenrijk", frozenset(NAMES), frozenset({PURPOSE}), live=True)
    snapshot = Snapshot().after(Changes(1, connections=(connection,)))
    for number in range(10_001, 10_011):
        eligibility_at(snapshot, "rekenrijk", str(number), START)
        assert 0 < len(snapshot.eligibility) <= 3


def test_an_eligibility_is_computed_once_until_it_ends() -> None:
    until = START + timedelta(hours=2)
    connection = ConnectionFacts("rekenrijk", frozenset(NAMES), frozenset({PURPOSE}), live=True)
    agreement = AgreementFacts(
        "a", "rekenrijk", None, frozenset(NAMES), frozenset({PURPOSE}), START, until, 1, ended=False
    )
    facts = Changes(1, connections=(connection,), ground_rules=ALWAYS_KEPT, agreements=(agreement,))
    snapshot = Snapshot().after(facts)
    first = eligibility_at(snapshot, "rekenrijk", "10001", START)
    assert (first.eligible, first.until) == (True, until)
    assert eligibility_at(snapshot, "rekenrijk", "10001", until - timedelta(microseconds=1)) is first
    assert not eligibility_at(snapshot, "rekenrijk", "10001", until).eligible
