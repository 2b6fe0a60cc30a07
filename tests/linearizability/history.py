"""What several clients did and were told: the calls of a history, as they are recorded."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

Scopes = frozenset[str]
NOTHING: Final[Scopes] = frozenset()


class Kind(StrEnum):
    READ = "read"
    GRANT = "grant"
    AMEND = "amend"
    REVOKE = "revoke"
    SUSPEND = "suspend"
    RESUME = "resume"


class Phase(StrEnum):
    """Where a key stands; each but the first is the reason that a decision gives."""

    NEVER = "no_grant"
    GRANTED = "granted"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


class Outcome(StrEnum):
    """Acknowledged; refused, so certainly without effect; or neither: effect at any time after the call, or never."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


#: The writes that say which scopes are granted from then on.
SETS: Final = frozenset({Kind.GRANT, Kind.AMEND})


class Key(NamedTuple):
    """What one register is about."""

    brin: str
    client_id: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of one client, from just before it was sent until its answer was there or it was given up.

    `scopes` are those that a write grants, or that a permit releases. A read speaks of the scopes `within` only, and
    is a permit when all that are `asked` are granted; its `reason` is that of the answer. `grant` is the grant that a
    write made or means, or that an answer names.
    """

    client: str
    key: Key
    kind: Kind
    called: float
    returned: float
    outcome: Outcome = Outcome.OK
    scopes: Scopes = NOTHING
    within: Scopes = NOTHING
    asked: Scopes = NOTHING
    reason: str = ""
    revision: int | None = None
    grant: str | None = None
    replica: str = ""

    @property
    def is_read(self) -> bool:
        return self.kind is Kind.READ

    @property
    def is_acknowledged(self) -> bool:
        return self.outcome is Outcome.OK

    @property
    def says_nothing(self) -> bool:
        """A read that was not answered, or a write that was refused."""
        return self.outcome is Outcome.FAILED or (self.is_read and not self.is_acknowledged)

    @property
    def did(self) -> str:
        """What was done, or what was answered."""
        if not self.is_read:
            return f"{self.kind} {named(self.scopes)}" if self.kind in SETS else str(self.kind)
        what = f"permit {named(self.scopes)}" if self.reason == Phase.GRANTED else f"deny ({self.reason})"
        return f"{what} to {named(self.asked)}" if self.asked else what

    def __str__(self) -> str:
        by = f"{self.client} by {self.replica}" if self.replica else self.client
        when = f"from {self.called:.4f} to {self.returned:.4f} s"
        at = f", revision {self.revision}" if self.revision is not None else ""
        outcome = "" if self.is_acknowledged else f" ({self.outcome})"
        return f"{by}, {self.key.brin}/{self.key.client_id}, {when}: {self.did}{outcome}{at}"

    def as_json(self) -> dict[str, Any]:
        return {
            "client": self.client,
            "replica": self.replica,
            "school": self.key.brin,
            "connection": self.key.client_id,
            "kind": self.kind,
            "called": self.called,
            "returned": self.returned,
            "outcome": self.outcome,
            "scopes": sorted(self.scopes),
            "within": sorted(self.within),
            "asked": sorted(self.asked),
            "reason": self.reason,
            "revision": self.revision,
            "grant": self.grant,
        }


def from_json(told: dict[str, Any]) -> Operation:
    """The operation that `as_json` wrote down."""
    return Operation(
        client=told["client"],
        key=Key(told["school"], told["connection"]),
        kind=Kind(told["kind"]),
        called=told["called"],
        returned=told["returned"],
        outcome=Outcome(told["outcome"]),
        scopes=frozenset(told["scopes"]),
        within=frozenset(told["within"]),
        asked=frozenset(told["asked"]),
        reason=told["reason"],
        revision=told["revision"],
        grant=told["grant"],
        replica=told["replica"],
    )


def named(scopes: Scopes) -> str:
    return f"{{{', '.join(sorted(scopes))}}}"


class Violation(NamedTuple):
    """Why no register explains a history, and the operations that show it."""

    sentence: str
    shown_by: tuple[Operation, ...]

    def __str__(self) -> str:
        return "\n    ".join([self.sentence, *map(str, self.shown_by)])


class TooManyPossibilities(Exception):
    """The history leaves open more than can be searched: it is neither right nor wrong, and must not pass."""
