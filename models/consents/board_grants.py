"""Precedence of a school and its board for the same connection. Decided here and nowhere else.

The school's latest action takes precedence over its board's. A school's grant replaces a board's grant for the same
place; a school that revoked is left out of its board's grants until it grants anew. A grant for a location counts for
that location, as always.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from models.decision.grant_status import OPEN, Status
from models.vocabulary.event_kinds import EventKind


class Standing(StrEnum):
    """Whose word counts for a connection at a school as a whole."""

    #: Neither party: nothing was granted, or it ended by time, by an operator or by the board.
    NONE = "none"
    #: The board granted, and the school did not act on it.
    BOARD = "board"
    #: The school granted, or it amended, confirmed, suspended or resumed the board's grant.
    SCHOOL = "school"
    #: The school revoked, and is left out of its board's grants.
    EXCEPTED = "excepted"


#: Events by which a party acts on a grant; all others come of time or of the connection.
PARTY_ACTIONS: Final = frozenset(
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


class GrantAction(NamedTuple):
    """An action on a grant: the kind of its event, and the role of the actor."""

    kind: str
    role: str


def standing_of(status: Status | None, actions: Sequence[GrantAction]) -> Standing:
    """The standing of the latest grant for a whole school, from its status and the actions on it, in order.

    `status` is None without a grant. Only actions of a school or a board count; an operator acts for neither.
    """
    if status is None:
        return Standing.NONE
    by_parties = [
        action for action in actions if action.kind in PARTY_ACTIONS and action.role in (SCHOOL_ROLE, BOARD_ROLE)
    ]
    by_school = bool(by_parties) and by_parties[-1].role == SCHOOL_ROLE
    if status in OPEN:
        return Standing.SCHOOL if by_school else Standing.BOARD
    if status is Status.REVOKED and by_school and by_parties[-1].kind == EventKind.GRANT_REVOKED:
        return Standing.EXCEPTED
    return Standing.NONE


def board_may_give(standing: Standing) -> bool:
    """Whether a board's grant includes a school with this standing."""
    return standing in (Standing.NONE, Standing.BOARD)


def board_may_revoke(standing: Standing) -> bool:
    """Whether a board may revoke the grant with this standing: only one of its own, on which the school did not act."""
    return standing is Standing.BOARD
