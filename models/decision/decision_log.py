"""The lines of the decision log: caller, question and answer. Never the person whom the data is about.

A line holds only words from known lists, names of machines, and request ids in the form of ids. Any other value that a
caller sends (say a pupil's number instead of a school's) is stored as `?` and its length: `?9`.
"""

import hashlib
import json
import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

from models.decision.decision import Decision, Question
from models.vocabulary.identifiers import is_client_id, is_place
from models.vocabulary.instants import SQLITE_INSTANT
from models.vocabulary.purposes import PURPOSES
from models.vocabulary.scopes import CATALOGUE, RESOURCE_TYPES

#: Longest value, in characters, that a caller chooses freely; longer ones are truncated and marked.
LONGEST: Final = 255
#: Longest list of scope or field names, in characters.
LONGEST_NAMES: Final = 1000
CUT: Final = "…"
_LONGEST_ID: Final = 64

#: The reason in the line of an evaluation that was malformed, for which no decision was made.
MALFORMED: Final = "invalid_input"

#: A UUID, a ULID, or a hexadecimal trace id; never digits alone, which may be a person's number.
_REQUEST_ID: Final = re.compile(
    r"(?=.*[A-Fa-f])(?:[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|[0-9A-Fa-f]{16,64})"
    r"|(?=.*[A-Z])[0-7][0-9A-HJKMNP-TV-Z]{25}"
)

_FIELDS: Final = frozenset(name for _, name in (*CATALOGUE.fields, *CATALOGUE.never_released))


class Door(StrEnum):
    """The route through which a question was asked."""

    EVALUATION = "evaluation"
    EVALUATIONS = "evaluations"
    FORWARD_AUTH = "forward_auth"
    SEARCH = "search"


class LoggedCaller(NamedTuple):
    """The caller and its request."""

    issuer: str
    subject: str
    request_id: str
    trace_id: str | None


class Line(NamedTuple):
    """A stored line, without its number; without its time where the statement that reads the revision sets it."""

    at: datetime
    revision: int
    issuer: str
    subject: str
    door: str
    client_id: str
    school: str
    place: str
    resource_type: str
    scopes: str
    fields: str
    purpose: str | None
    permit: bool
    reason: str
    grant_id: str | None
    request_id: str
    trace_id: str | None


def line_of(caller: LoggedCaller, door: Door, now: datetime, question: Question, decision: Decision) -> Line:
    """The line of a decision made at `now`."""
    permit, reason, grant_id = decision.permit, decision.reason, decision.grant_id
    return _line(caller, door, now, decision.revision, question, permit, reason, grant_id)


def line_of_search(caller: LoggedCaller, now: datetime, revision: int, question: Question, reason: str) -> Line:
    """The line of a search, which permits nothing. `reason` says what was searched, or why there was no answer."""
    return _line(caller, Door.SEARCH, now, revision, question, False, reason, None)


def line_of_malformed(caller: LoggedCaller, now: datetime, revision: int) -> Line:
    """The line of an evaluation in a batch that was malformed and could not be decided."""
    return _line(caller, Door.EVALUATIONS, now, revision, Question("", "", "", "", ""), False, MALFORMED, None)


def _line(
    caller: LoggedCaller,
    door: Door,
    now: datetime,
    revision: int,
    asked: Question,
    permit: bool,
    reason: str,
    grant_id: str | None,
) -> Line:
    purpose = asked.purpose
    school, place = _place(asked.place) if len(asked.place) <= _LONGEST_ID else ("", _marked(asked.place))
    return Line(
        now,
        revision,
        caller.issuer,
        caller.subject,
        door.value,
        _client_id(asked.client_id) if len(asked.client_id) <= _LONGEST_ID else _marked(asked.client_id),
        school,
        place,
        asked.resource_type if asked.resource_type in RESOURCE_TYPES else _marked(asked.resource_type),
        _named(asked.scopes, CATALOGUE.scopes) if asked.scopes else "",
        _named(asked.fields, _FIELDS) if asked.fields else "",
        purpose if purpose is None or purpose in PURPOSES else _marked(purpose),
        permit,
        reason,
        grant_id,
        caller.request_id,
        caller.trace_id,
    )


def logged_caller(issuer: str, subject: str, request_id: str, trace_id: str | None) -> LoggedCaller:
    """The caller, in bounded text. A request id that has not the form of an id is replaced by its length."""
    kept = request_id if _REQUEST_ID.fullmatch(request_id) else _marked(request_id)
    return LoggedCaller(*_who(issuer, subject), kept, trace_id)


@lru_cache(maxsize=1024)
def _who(issuer: str, subject: str) -> tuple[str, str]:
    return bounded(issuer), bounded(subject)


# Few values recur all the time. Texts longer than an identifier are kept out of the caches.
@lru_cache(maxsize=16_384)
def _place(place: str) -> tuple[str, str]:
    return (place[:4], place) if is_place(place) else ("", _marked(place))


@lru_cache(maxsize=16_384)
def _client_id(client_id: str) -> str:
    return client_id if is_client_id(client_id) else _marked(client_id)


def bounded(text: str, longest: int = LONGEST) -> str:
    """The text truncated to `longest` characters; characters that stores reject are replaced by `?`."""
    if len(text) <= longest and text.isprintable():
        return text
    printable = "".join(sign if sign.isprintable() else "?" for sign in text[:longest])
    return printable if len(text) <= longest else printable[:-1] + CUT


def _marked(text: str) -> str:
    return f"?{len(text)}" if text else ""


def _named(names: Iterable[str], known: Container[str]) -> str:
    text = " ".join(name if name in known else _marked(name) for name in names)
    if len(text) <= LONGEST_NAMES:
        return text
    return f"{text[: LONGEST_NAMES - 2].rpartition(' ')[0]} {CUT}"


#: A line's values by column name.
Members = Mapping[Any, Any]


@dataclass
class Digest:
    """Digest of one day's lines (UTC), ordered by time and number: their count, and the SHA-256 of their bytes."""

    lines: int = 0
    _hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def add(self, lines: Iterable[Members]) -> None:
        """Adds the next lines."""
        for line in lines:
            self._hash.update(canonical(line) + b"\n")
            self.lines += 1

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def canonical(line: Members) -> bytes:
    """A line as JSON in the canonical form of RFC 8785 (JCS), so that readers of the lines can hash them again."""
    members = dict(line) | {"at": line["at"].astimezone(UTC).strftime(SQLITE_INSTANT)}
    return json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
