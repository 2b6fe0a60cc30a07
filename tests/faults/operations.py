"""Operations of a history, in a word each: what was done or asked, when it was called, and when it returned."""

from typing import Any, Final

from tests.linearizability.history import (
    Key,
    Kind,
    Operation,
    Outcome,
    Scopes,
)

KEY: Final = Key("16SW", "rekenrijk")
OTHER: Final = Key("17TX", "rekenrijk")
ALL: Final[Scopes] = frozenset("abc")


def names(text: str) -> Scopes:
    return frozenset(text.split())


def write(kind: Kind, called: float, returned: float, scopes: str = "", **more: Any) -> Operation:
    """An acknowledged write, unless `more` says otherwise."""
    return Operation("school", more.pop("key", KEY), kind, called, returned, scopes=names(scopes), **more)


def grant(scopes: str, called: float, returned: float, **more: Any) -> Operation:
    return write(Kind.GRANT, called, returned, scopes, **more)


def amend(scopes: str, called: float, returned: float, **more: Any) -> Operation:
    return write(Kind.AMEND, called, returned, scopes, **more)


def revoke(called: float, returned: float, **more: Any) -> Operation:
    return write(Kind.REVOKE, called, returned, **more)


def suspend(called: float, returned: float, **more: Any) -> Operation:
    return write(Kind.SUSPEND, called, returned, **more)


def resume(called: float, returned: float, **more: Any) -> Operation:
    return write(Kind.RESUME, called, returned, **more)


def permit(scopes: str, called: float, returned: float, **more: Any) -> Operation:
    return deny("granted", called, returned, scopes=names(scopes), **more)


def deny(reason: str, called: float, returned: float, **more: Any) -> Operation:
    asked = names(more.pop("asked", ""))
    key = more.pop("key", KEY)
    return Operation("gateway", key, Kind.READ, called, returned, within=ALL, asked=asked, reason=reason, **more)


MAYBE: Final[dict[str, Any]] = {"outcome": Outcome.UNKNOWN}
REFUSED: Final[dict[str, Any]] = {"outcome": Outcome.FAILED}
