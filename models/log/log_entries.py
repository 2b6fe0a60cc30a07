"""The log's entries: the public part of events, as canonical bytes, and their leaf hashes.

An entry is a JSON object in the canonical form of RFC 8785, so that readers can hash it again. Actor and reason are
commitments in it (`models/log/sealed_texts.py`); nothing else in an event is about a person.
"""

import json
from datetime import UTC
from typing import Any, Final

from models.log.events import Event, PastEvent
from models.log.merkle import leaf_hash
from models.vocabulary.instants import SQLITE_INSTANT

#: Errors from reading an entry or a row that was tampered with.
TAMPERING_ERRORS: Final = (ArithmeticError, AttributeError, KeyError, TypeError, ValueError)


def entry_of(event: Event | PastEvent) -> dict[str, Any]:
    """The entry of an event: numbers, strings, null, and lists and objects of these. `at` has six decimals."""
    return {
        "number": event.number,
        "revision": event.revision,
        "mark": event.mark,
        "at": event.at.astimezone(UTC).strftime(SQLITE_INSTANT),
        "kind": str(event.kind),
        "actor": event.actor,
        "actorRole": event.actor_role,
        "reason": event.reason,
        "brin": event.brin,
        "clientId": event.client_id,
        "grantId": event.grant_id,
        "state": event.state,
    }


def canonical(entry: dict[str, Any]) -> bytes:
    """An entry's bytes in the canonical form of RFC 8785 (JCS)."""
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def leaf_of(event: Event) -> bytes:
    """The leaf hash of an event's entry: RFC 9162, section 2.1.1."""
    return leaf_hash(canonical(entry_of(event)))
