"""The register that a history is held against: what is granted for one key, what writes make of it, what reads see."""

from typing import Final, NamedTuple

from tests.linearizability.history import NOTHING, Kind, Operation, Phase, Scopes, named


class State(NamedTuple):
    """The state of a grant: its id where that is known, and the last revision that is known to be in it."""

    phase: Phase = Phase.NEVER
    scopes: Scopes = NOTHING
    grant: str | None = None
    revision: int = 0

    def __str__(self) -> str:
        scopes = f" {named(self.scopes)}" if self.phase in (Phase.GRANTED, Phase.SUSPENDED) else ""
        return f"{self.phase}{scopes}"


_STEPS: Final = {
    (Phase.NEVER, Kind.GRANT): Phase.GRANTED,
    (Phase.REVOKED, Kind.GRANT): Phase.GRANTED,
    (Phase.GRANTED, Kind.AMEND): Phase.GRANTED,
    (Phase.GRANTED, Kind.REVOKE): Phase.REVOKED,
    (Phase.SUSPENDED, Kind.REVOKE): Phase.REVOKED,
    (Phase.GRANTED, Kind.SUSPEND): Phase.SUSPENDED,
    (Phase.SUSPENDED, Kind.RESUME): Phase.GRANTED,
}


def after(state: State, write: Operation) -> State | None:
    """The state that a write leads to; none when it would have been refused."""
    phase = _STEPS.get((state.phase, write.kind))
    if phase is None or (write.revision is not None and write.revision <= state.revision):
        return None
    if write.kind is Kind.GRANT:
        return State(phase, write.scopes, write.grant, write.revision or state.revision)
    if not _may_be_one(state.grant, write.grant):
        return None
    kept = NOTHING if phase is Phase.REVOKED else state.scopes
    scopes = write.scopes if write.kind is Kind.AMEND else kept
    return State(phase, scopes, state.grant or write.grant, write.revision or state.revision)


def answered(state: State, read: Operation) -> tuple[str, Scopes]:
    """The reason and the scopes that a read is told in a state."""
    if state.phase is not Phase.GRANTED:
        return state.phase, NOTHING
    released = state.scopes & read.within
    if not released or not read.asked <= released:
        return "scope_not_granted", NOTHING
    return Phase.GRANTED, released


def explains(state: State, read: Operation, holds: int | None) -> bool:
    """Whether a read may have been answered in a state. `holds` is the last revision of its key that it must hold."""
    if holds not in (None, state.revision) or not _may_be_one(state.grant, read.grant):
        return False
    return answered(state, read) == (read.reason, read.scopes)


def _may_be_one(grant: str | None, other: str | None) -> bool:
    return grant is None or other is None or grant == other
