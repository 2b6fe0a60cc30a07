"""The lines of the decision log: who asked what for whom, and what was answered. Never who the data are about.

A line holds words of ours, names of machines and ids of requests that look like ids. What a caller sends in the place
of one of them, say a pupil's number where a school's belongs, is not kept: `?9` says that there stood something else,
of nine characters.
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

#: How long what a caller chooses freely may be: cut there, and marked.
LONGEST: Final = 255
#: The same for the names that a question asks for, together.
LONGEST_NAMES: Final = 1000
CUT: Final = "…"
_LONGEST_ID: Final = 64

#: What stands for the decision in the line of an evaluation that had the wrong shape: none was made.
MALFORMED: Final = "invalid_input"

#: A UUID, a ULID, or hexadecimal as of a trace; never digits alone, which may be the number of a person.
_REQUEST_ID: Final = re.compile(
    r"(?=.*[A-Fa-f])(?:[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|[0-9A-Fa-f]{16,64})"
    r"|(?=.*[A-Z])[0-7][0-9A-HJKMNP-TV-Z]{25}"
)

_FIELDS: Final = frozenset(name for _, name in (*CATALOGUE.fields, *CATALOGUE.never_released))


class Door(StrEnum):
    """Where it was asked."""

    EVALUATION = "evaluation"
    EVALUATIONS = "evaluations"
    FORWARD_AUTH = "forward_auth"
    SEARCH = "search"


class Asker(NamedTuple):
    """Who asks, and in which request."""

    issuer: str
    subject: str
    request_id: str
    trace_id: str | None


class Line(NamedTuple):
    """A line as it is stored, but for its number, and but for its time where it rides along with a read."""

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


def line_of(asker: Asker, door: Door, now: datetime, question: Question, decision: Decision) -> Line:
    """The line of a decision that was made at `now`."""
    permit, reason, grant_id = decision.permit, decision.reason, decision.grant_id
    return _line(asker, door, now, decision.revision, question, permit, reason, grant_id)


def line_of_search(asker: Asker, now: datetime, revision: int, question: Question, reason: str) -> Line:
    """The line of a search, which permits nothing. `reason` says what was searched, or why it was not answered."""
    return _line(asker, Door.SEARCH, now, revision, question, False, reason, None)


def line_of_malformed(asker: Asker, now: datetime, revision: int) -> Line:
    """The line of an evaluation in a batch that asks nothing that could be decided."""
    return _line(asker, Door.EVALUATIONS, now, revision, Question("", "", "", "", ""), False, MALFORMED, None)


def _line(
    asker: Asker,
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
        asker.issuer,
        asker.subject,
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
        asker.request_id,
        asker.trace_id,
    )


def asker(issuer: str, subject: str, request_id: str, trace_id: str | None) -> Asker:
    """Who asks, in words of a bounded length; of a request's id that has no form of an id, how long it is."""
    kept = request_id if _REQUEST_ID.fullmatch(request_id) else _marked(request_id)
    return Asker(*_who(issuer, subject), kept, trace_id)


@lru_cache(maxsize=1024)
def _who(issuer: str, subject: str) -> tuple[str, str]:
    return bounded(issuer), bounded(subject)


# The same few are asked for again and again; what is longer than an identifier is not remembered.
@lru_cache(maxsize=16_384)
def _place(place: str) -> tuple[str, str]:
    return (place[:4], place) if is_place(place) else ("", _marked(place))


@lru_cache(maxsize=16_384)
def _client_id(client_id: str) -> str:
    return client_id if is_client_id(client_id) else _marked(client_id)


def bounded(text: str, longest: int = LONGEST) -> str:
    """The text, cut where it is too long; what no store keeps is replaced in it."""
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


#: A line's values by the names of its columns.
Members = Mapping[Any, Any]


@dataclass
class Digest:
    """Of one day's lines (in UTC), in order of time and then of number: how many, and the SHA-256 of their bytes."""

    lines: int = 0
    _hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def add(self, lines: Iterable[Members]) -> None:
        """Takes in the next lines."""
        for line in lines:
            self._hash.update(canonical(line) + b"\n")
            self.lines += 1

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def canonical(line: Members) -> bytes:
    """A line's bytes: a JSON object by RFC 8785 (JCS). Who has the lines can hash them again."""
    members = dict(line) | {"at": line["at"].astimezone(UTC).strftime(SQLITE_INSTANT)}
    return json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
