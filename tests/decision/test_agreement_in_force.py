"""Which of several agreements counts for the schools of a board."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from models.decision.agreement_in_force import agreement_in_force
from models.decision.snapshot import AgreementFacts
from tests.worlds.world import START

BOARDS = (None, "10001", "10002")


def signed(number: int, board_number: str | None, begins: int = -1, ends: int | None = None) -> AgreementFacts:
    """An agreement, with the hours from now in which it holds."""
    until = None if ends is None else START + timedelta(hours=ends)
    from_ = START + timedelta(hours=begins)
    return AgreementFacts(
        f"a{number}", "rekenrijk", board_number, frozenset(), frozenset(), from_, until, number, False
    )


def test_a_boards_own_comes_before_the_general_one_also_where_that_is_newer() -> None:
    own, general = signed(1, "10001"), signed(2, None)
    assert agreement_in_force([own, general], "10001", START) is own
    assert agreement_in_force([general, own], "10001", START) is own


def test_another_boards_agreement_never_counts() -> None:
    assert agreement_in_force([signed(1, "10002")], "10001", START) is None
    assert agreement_in_force([signed(1, "10002")], None, START) is None


@given(
    st.lists(
        st.builds(
            signed,
            st.integers(1, 99),
            st.sampled_from(BOARDS),
            st.integers(-2, 2),
            st.none() | st.integers(-2, 2),
        ),
        unique_by=lambda each: each.registered_at_revision,
        max_size=5,
    ),
    st.sampled_from(BOARDS),
)
def test_it_is_the_newest_of_the_boards_own_or_else_of_the_general_ones(
    agreements: list[AgreementFacts], board_number: str | None
) -> None:
    holding = [
        each
        for each in agreements
        if each.valid_from <= START and (each.valid_until is None or each.valid_until > START)
    ]
    own = [each for each in holding if each.board_number == board_number and board_number is not None]
    general = [each for each in holding if each.board_number is None]
    wanted = max(own or general, key=lambda each: each.registered_at_revision, default=None)
    assert agreement_in_force(agreements, board_number, START) is wanted
