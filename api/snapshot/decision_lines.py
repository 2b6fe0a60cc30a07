"""How the lines of the decision log are stored: one statement for all that wait, on the disk when it returns."""

import itertools
import secrets
from collections.abc import Sequence
from typing import Final

import msgspec

from api.store.json_rows import values
from models.decision.decision_log import Line

_FIELDS: Final = ("id", *Line._fields)
_COLUMNS: Final = ", ".join(_FIELDS)
_KINDS: Final = {"id": "bigint", "at": "timestamptz", "revision": "integer", "permit": "boolean"}
_ON_SQLITE: Final = ", ".join(f"json_extract(value, '$[{number}]')" for number in range(len(_FIELDS)))
_INSERT: Final = f"INSERT INTO decision_log ({_COLUMNS}) SELECT"


def _stored(at: str | None = None) -> str:
    """Stores the lines of $1 on PostgreSQL, each with its own time, or with this one."""
    stored = dict(zip(_FIELDS, values(_KINDS.get(name, "text") for name in _FIELDS), strict=True))
    if at is not None:
        stored["at"] = at
    return f"{_INSERT} {', '.join(stored.values())} FROM jsonb_array_elements($1::jsonb) AS line"


STORE_ON_POSTGRESQL: Final = _stored()
_SEEN: Final = (
    "SELECT revision, mark, coalesce($6::timestamptz, clock_timestamp()) AS at FROM consent_revision WHERE id = 1"
)
#: Reads, and stores the lines of $1 if revision $2 with mark $3 is the store's still, and the time is from $4 on and
#: before $5. The time is told once: what is compared is what is stored, and what is answered. $6 is a clock of tests.
READ_AND_STORE: Final = " ".join(
    (
        f"WITH seen AS MATERIALIZED ({_SEEN}),",
        f"stored AS ({_stored('seen.at')}, seen",
        "WHERE revision = $2 AND mark = $3 AND $4 <= at AND at < $5 RETURNING 1)",
        "SELECT revision, mark, at, EXISTS (SELECT FROM stored) FROM seen",
    )
)
#: One step for all lines: each step lets go of Python's lock, and must get it back.
STORE_ON_SQLITE: Final = f"{_INSERT} {_ON_SQLITE} FROM json_each(?)"
#: A commit that doesn't wait for the disk would lose lines whose answers have left.
DURABLE: Final = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)


#: From a number by chance, so that no two processes give the same; below 2^53, as a JSON number must be.
_NUMBERS: Final = itertools.count(1 + secrets.randbits(52))


def as_json(lines: Sequence[Line]) -> str:
    """An array of the lines, each an array of its number and its values."""
    return msgspec.json.encode([(next(_NUMBERS), *line) for line in lines]).decode()
