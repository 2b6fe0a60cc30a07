"""The log's entries: what of an event everybody may see, byte for byte, and the hash that it is known by.

An entry is a JSON object in the canonical form of RFC 8785, so that whoever reads one can hash it again. Who acted and
why are commitments in it (`models/log/sealed_texts.py`); nothing else of an event is about a person.
"""

import json
from datetime import UTC
from typing import Any, Final

from models.log.events import Event, PastEvent
from models.log.merkle import leaf_hash
from models.vocabulary.instants import SQLITE_INSTANT

#: What comes of reading an entry, or a row, that was tampered with.
NO_SENSE: Final = (ArithmeticError, AttributeError, KeyError, TypeError, ValueError)


def entry_of(event: Event | PastEvent) -> dict[str, Any]:
    """The entry of an event: numbers, texts, lists and objects of them, null. `at` has six decimals."""
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
    """An entry's bytes, by RFC 8785 (JCS)."""
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def leaf_of(event: Event) -> bytes:
    """The hash of an event's entry as a leaf of the tree, RFC 9162 section 2.1.1."""
    return leaf_hash(canonical(entry_of(event)))
