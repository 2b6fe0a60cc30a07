"""The data of the benchmarks, as rows of the tables.

Every pair of a school and a connection has one grant for the whole school. A random half of them, with a fixed seed,
is revoked, so that half of the answers are permits. As real grants do, each begins at another time, and half of them
have an end.
"""

import json
import random
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

from models.decision.kept_rules import GroundRuleName
from models.log.events import Event
from models.log.log_entries import leaf_of
from models.vocabulary.event_kinds import EventKind

SCOPES = ["school.basis", "leerling.pseudoniem", "leerling.naam"]
PURPOSES = ["onderwijs-en-begeleiding"]
KVK_NUMBER = "90000001"
MARK = "0" * 32
QUESTIONS = 20_000
_SCOPES, _PURPOSES = json.dumps(SCOPES), json.dumps(PURPOSES)
_AT_ONCE = 50_000


class AskedQuestion(NamedTuple):
    """An AuthZEN question, the number of its pair, and the right answer."""

    pair: int
    body: dict[str, Any]
    permit: bool


class Table(NamedTuple):
    """Rows of one table."""

    name: str
    columns: Sequence[str]
    rows: Iterable[tuple[Any, ...]]


@dataclass(frozen=True)
class World:
    schools: int
    connections: int

    @property
    def grants(self) -> int:
        return self.schools * self.connections

    @cached_property
    def _coins(self) -> bytes:
        return random.Random("half are revoked").randbytes(self.grants)

    def brin_of(self, pair: int) -> str:
        return brin(pair // self.connections)

    def client_of(self, pair: int) -> str:
        return client_id(pair % self.connections)

    def is_granted(self, pair: int) -> bool:
        return self._coins[pair] & 1 == 1

    def asked(self) -> list[AskedQuestion]:
        """Distinct questions about random grants."""
        pairs = random.Random("what is asked").sample(range(self.grants), min(QUESTIONS, self.grants))
        return [AskedQuestion(pair, self._question(pair), self.is_granted(pair)) for pair in pairs]

    def _question(self, pair: int) -> dict[str, Any]:
        return {
            "subject": {"type": "partner", "id": self.client_of(pair)},
            "action": {"name": "release"},
            "resource": {
                "type": "leerling",
                "id": self.brin_of(pair),
                "properties": {"scopes": ["leerling.naam"]},
            },
            "context": {"purpose": PURPOSES[0]},
        }

    def tables(self, now: datetime) -> Iterator[Table]:
        """All tables, in the order of the foreign keys."""
        dated: dict[str, Any] = {"revision": 1, "created_at": now}
        brins = [brin(number) for number in range(self.schools)]
        clients = [client_id(number) for number in range(self.connections)]
        yield _table("schools", [{"brin": each, "name": each, "revision": 1} for each in brins])
        locations = (
            {"code": f"{each}00", "brin": each, "name": each, "kinds": '["bo"]', "revision": 1} for each in brins
        )
        yield _table("locations", locations)
        partner = {"kvk_number": KVK_NUMBER, "name": "Bench", "version": 1, "changed_at": now, **dated}
        yield _table("partners", [partner])
        yield _table("connections", [_connection(client, now, dated) for client in clients])
        yield _table("agreements", [_agreement(client, now, dated) for client in clients])
        rules = [_ground_rule(client, rule, now, dated) for client in clients for rule in GroundRuleName]
        yield _table("ground_rules", rules)
        yield Table("grants", GRANT_COLUMNS, self._grants(now))
        event = {
            "number": 1,
            "revision": 1,
            "mark": MARK,
            "at": now,
            "kind": EventKind.SCHOOLS_IMPORTED.value,
            "actor": "bench",
            "actor_role": "system",
            "state": {"bench": True},
        }
        leaf = leaf_of(Event(**event))
        yield _table("events", [{**event, "state": json.dumps(event["state"]), "leaf": leaf}])

    def _grants(self, now: datetime) -> Iterator[tuple[Any, ...]]:
        chance = random.Random("identities and moments")
        ends = now + timedelta(days=300)
        for first in range(0, self.grants, _AT_ONCE):
            many = min(_AT_ONCE, self.grants - first)
            identities, moments = chance.randbytes(16 * many).hex(), chance.randbytes(4 * many)
            for number in range(many):
                pair, digits = first + number, identities[32 * number : 32 * number + 32]
                moment = int.from_bytes(moments[4 * number : 4 * number + 4], "little")
                begins = now - timedelta(seconds=3600 + moment % 30_000_000, microseconds=moment % 1_000_000)
                yield (
                    f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}",
                    self.client_of(pair),
                    self.brin_of(pair),
                    _SCOPES,
                    _PURPOSES,
                    "granted" if self.is_granted(pair) else "revoked",
                    begins,
                    ends if moment & 1 else None,
                    1,
                    1,
                    1,
                    1,
                    begins,
                    begins,
                )


GRANT_COLUMNS = (
    "grant_id",
    "client_id",
    "brin",
    "scopes",
    "purposes",
    "status",
    "valid_from",
    "valid_until",
    "request_version",
    "granted_at_revision",
    "version",
    "revision",
    "created_at",
    "changed_at",
)


def brin(number: int) -> str:
    return f"{number // 676 % 100:02}{chr(65 + number // 26 % 26)}{chr(65 + number % 26)}"


def client_id(number: int) -> str:
    return f"connection-{number}"


def _table(name: str, rows: Iterable[dict[str, Any]]) -> Table:
    named = list(rows)
    return Table(name, tuple(named[0]), [tuple(row.values()) for row in named])


def _connection(client: str, now: datetime, dated: dict[str, Any]) -> dict[str, Any]:
    return {
        "client_id": client,
        "kvk_number": KVK_NUMBER,
        "name": client,
        "profile": "smalle-set@2.3",
        "recipient_role": "processor",
        "required_scopes": _SCOPES,
        "optional_scopes": "[]",
        "purposes": _PURPOSES,
        "stage": "live",
        "request_version": 1,
        "version": 1,
        "changed_at": now,
        **dated,
    }


def _agreement(client: str, now: datetime, dated: dict[str, Any]) -> dict[str, Any]:
    empty = dict.fromkeys(("signatories", "sub_processors", "categories", "storage_countries"), "[]")
    return {
        "agreement_id": str(uuid.uuid4()),
        "client_id": client,
        "agreement_version": "4.0",
        "privacybijsluiter_version": "1.0",
        "scopes": _SCOPES,
        "purposes": _PURPOSES,
        "retention_days": 0,
        "signed_on": now.date(),
        "valid_from": now,
        "registered_at_revision": 1,
        "ended": False,
        **empty,
        **dated,
    }


def _ground_rule(client: str, rule: str, now: datetime, dated: dict[str, Any]) -> dict[str, Any]:
    return {
        "ground_rule_id": str(uuid.uuid4()),
        "client_id": client,
        "rule": str(rule),
        "kept": True,
        "evidence": "bench",
        "source": "bench",
        "checked_by": "bench",
        "checked_at": now,
        "valid_from": now,
        "ended": False,
        **dated,
    }
