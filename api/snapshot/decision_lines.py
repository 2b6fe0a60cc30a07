"""SQL that stores lines of the decision log: one statement for all waiting lines, durable when it returns."""

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
    """The statement that stores the lines in $1 on PostgreSQL, with their own times or with `at`."""
    stored = dict(zip(_FIELDS, values(_KINDS.get(name, "text") for name in _FIELDS), strict=True))
    if at is not None:
        stored["at"] = at
    return f"{_INSERT} {', '.join(stored.values())} FROM jsonb_array_elements($1::jsonb) AS line"


STORE_ON_POSTGRESQL: Final = _stored()
_SEEN: Final = (
    "SELECT revision, mark, coalesce($6::timestamptz, clock_timestamp()) AS at FROM consent_revision WHERE id = 1"
)
#: Reads, and stores the lines in $1 if revision $2 with mark $3 is current and the time is at least $4 and before $5.
#: The time is read once: the same one is compared, stored and returned. $6 is the clock of tests.
READ_AND_STORE: Final = " ".join(
    (
        f"WITH seen AS MATERIALIZED ({_SEEN}),",
        f"stored AS ({_stored('seen.at')}, seen",
        "WHERE revision = $2 AND mark = $3 AND $4 <= at AND at < $5 RETURNING 1)",
        "SELECT revision, mark, at, EXISTS (SELECT FROM stored) FROM seen",
    )
)
#: A single step for all lines: each step of SQLite releases Python's lock (GIL) and must acquire it again.
STORE_ON_SQLITE: Final = f"{_INSERT} {_ON_SQLITE} FROM json_each(?)"
#: With asynchronous commit, lines whose answers were sent could be lost.
DURABLE: Final = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)


#: Starts at random, so that processes do not collide; below 2^53, the limit of JSON numbers.
_NUMBERS: Final = itertools.count(1 + secrets.randbits(52))


def as_json(lines: Sequence[Line]) -> str:
    """A JSON array of the lines, each as an array of its number and its values."""
    return msgspec.json.encode([(next(_NUMBERS), *line) for line in lines]).decode()
