"""What a board may do for its schools, and what stays a school's own: the one place where that is decided.

The school's last word counts above its board's. Of two that were given for a place the board's gives way, and what a
school took back itself it is left out of, until it grants anew. A grant for a location counts for that location, as
always.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from models.decision.grant_status import OPEN, Status
from models.vocabulary.event_kinds import EventKind


class Standing(StrEnum):
    """Whose word counts for a connection at a school as a whole."""

    #: Nobody's: nothing was given, or it ended by itself or by an operator's or the board's hand.
    NONE = "none"
    #: The board gave it, and the school let it be.
    BOARD = "board"
    #: The school gave it, or has changed, confirmed, suspended or resumed what the board gave.
    SCHOOL = "school"
    #: The school took it back, and is left out of what its board gives.
    EXCEPTED = "excepted"


#: What somebody says of a grant; the rest of what happens to it, time or the connection brings about.
SAID: Final = frozenset(
    {
        EventKind.GRANT_GRANTED,
        EventKind.GRANT_AMENDED,
        EventKind.GRANT_SUSPENDED,
        EventKind.GRANT_RESUMED,
        EventKind.GRANT_REVOKED,
    }
)
SCHOOL_ROLE: Final = "school"
BOARD_ROLE: Final = "board"


class Word(NamedTuple):
    """What was last said of a grant, and in which role."""

    kind: str
    role: str


def standing(status: Status | None, words: Sequence[Word]) -> Standing:
    """Whose word counts, for the latest grant for a whole school: where it stands, and what was said of it, in order.

    Without a grant `status` is None. What a school or a board said, counts; an operator speaks for neither.
    """
    if status is None:
        return Standing.NONE
    said = [word for word in words if word.kind in SAID and word.role in (SCHOOL_ROLE, BOARD_ROLE)]
    by_school = bool(said) and said[-1].role == SCHOOL_ROLE
    if status in OPEN:
        return Standing.SCHOOL if by_school else Standing.BOARD
    if status is Status.REVOKED and by_school and said[-1].kind == EventKind.GRANT_REVOKED:
        return Standing.EXCEPTED
    return Standing.NONE


def board_may_give(found: Standing) -> bool:
    """Whether a board's grant reaches a school where things stand so."""
    return found in (Standing.NONE, Standing.BOARD)


def board_may_revoke(found: Standing) -> bool:
    """Whether a board may take back what stands there: only what it gave, and the school let be."""
    return found is Standing.BOARD
