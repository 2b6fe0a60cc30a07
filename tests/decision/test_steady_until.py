"""`steady_until`: before that instant `decide` gives the same answer, while no fact changes."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.decision.decision import FOREVER, Question, Reason, decide, steady_until
from models.decision.grant_status import Status
from models.decision.kept_rules import GroundRuleName
from models.decision.packed_grants import Granted, GrantFacts
from models.decision.snapshot import AgreementFacts, ConnectionFacts, GroundRuleFacts, SchoolFacts, Snapshot
from tests.effort import share
from tests.worlds.facts import NOW
from tests.worlds.world import NAMES, OFFERED, PURPOSE

#: Few instants, so that facts often begin and end at the same one.
SECONDS: Final = range(-2, 8)
TICK: Final = timedelta(microseconds=1)


def at(second: int) -> datetime:
    return NOW + timedelta(seconds=second)


INSTANTS: Final = st.sampled_from(SECONDS).map(at)
SELDOM: Final = st.one_of(st.none(), st.none(), INSTANTS)
PAST: Final = at(-5)


@st.composite
def grants(draw: st.DrawFn) -> GrantFacts:
    return GrantFacts(
        grant_id=str(draw(st.uuids())),
        client_id="rekenrijk",
        brin="16SW",
        location=draw(st.sampled_from([None, "16SW00", "16SW01"])),
        scopes=frozenset(NAMES),
        purposes=frozenset({PURPOSE}),
        status=draw(st.sampled_from([Status.GRANTED, Status.GRANTED, Status.SUSPENDED, *Status])),
        valid_from=draw(st.one_of(st.just(PAST), INSTANTS)),
        valid_until=draw(SELDOM),
        suspended_until=draw(SELDOM),
        reconfirm_by=draw(SELDOM),
        granted_at_revision=draw(st.integers(1, 8)),
    )


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """A connection that is often permitted, and whose facts may all begin or end within seconds."""
    turning = draw(st.sets(st.sampled_from(list(GroundRuleName)), max_size=1))
    rules = tuple(
        GroundRuleFacts(
            rule,
            "rekenrijk",
            rule,
            draw(INSTANTS) if rule in turning else PAST,
            draw(SELDOM) if rule in turning else None,
            ended=False,
        )
        for rule in GroundRuleName
    )
    agreements = tuple(
        AgreementFacts(
            str(number),
            "rekenrijk",
            draw(st.sampled_from([None, "10001", "10002"])),
            frozenset(OFFERED),
            frozenset({PURPOSE}),
            draw(st.one_of(st.just(PAST), INSTANTS)),
            draw(SELDOM),
            number,
            ended=False,
        )
        for number in range(draw(st.integers(1, 2)))
    )
    return Snapshot(
        revision=9,
        schools={"16SW": SchoolFacts("16SW", "10001", gone=False)},
        locations=frozenset({"16SW00", "16SW01"}),
        connections={
            "rekenrijk": ConnectionFacts("rekenrijk", frozenset(OFFERED), frozenset({PURPOSE}), live=True),
        },
        ground_rules={"rekenrijk": rules},
        agreements={"rekenrijk": agreements},
        grants=Granted.latest(draw(st.lists(grants(), min_size=1, max_size=4))),
    )


QUESTIONS: Final = st.builds(
    Question,
    st.just("partner"),
    st.just("rekenrijk"),
    st.just("release"),
    st.sampled_from(["leerling", "docent"]),
    st.sampled_from(["16SW", "16SW00", "16SW01"]),
)


def test_no_answer_changes_before_the_instant_that_is_named() -> None:
    turned = Counter[tuple[Reason, Reason]]()

    @settings(
        max_examples=share(3000, 600), deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
    )
    @given(snapshots(), QUESTIONS, st.sampled_from(SECONDS), st.booleans())
    def hold(snapshot: Snapshot, question: Question, second: int, just_before: bool) -> None:
        now = at(second) - TICK if just_before else at(second)
        said, until = decide(snapshot, question, now), steady_until(snapshot, question, now)
        assert until > now
        for later in (at(each) - tick for each in SECONDS for tick in (TICK, timedelta(0))):
            if now <= later < until:
                assert decide(snapshot, question, later) == said, later
        if until != FOREVER:
            turned[said.reason, decide(snapshot, question, until).reason] += 1

    hold()
    became = {after for before, after in turned if before is not after}
    assert became >= {
        Reason.GRANTED,
        Reason.EXPIRED,
        Reason.NEEDS_RECONFIRMATION,
        Reason.PARTNER_NOT_ELIGIBLE,
        Reason.LOCATION_NOT_GRANTED,
    }, became


def test_what_rests_on_no_instant_stands_until_a_fact_changes() -> None:
    nothing = Snapshot(revision=1, schools={"16SW": SchoolFacts("16SW", None, gone=False)})
    for client_id, place in (("rekenrijk", "16SW"), ("rekenrijk", "99ZZ")):
        question = Question("partner", client_id, "release", "leerling", place)
        assert steady_until(nothing, question, NOW) == FOREVER
