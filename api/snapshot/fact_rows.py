"""SQL for the rows that facts are made of, on both stores, and the conversion of these rows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import msgspec

from api.snapshot.source import Reading
from models.decision.packed_grants import Draft, Granted, Row, pack_rows, scope_sets_number
from models.decision.snapshot import (
    AgreementFacts,
    Changes,
    ConnectionFacts,
    GroundRuleFacts,
    LocationFacts,
    SchoolFacts,
)
from models.vocabulary.instants import instant_of

#: Queries for the rows that changed after revision $1, by the member of `Changes`.
CHANGED: Final[Mapping[str, str]] = {
    "schools": "SELECT brin, board_number, gone_at IS NOT NULL FROM schools WHERE revision > $1",
    "locations": "SELECT code, gone_at IS NOT NULL FROM locations WHERE revision > $1",
    "connections": (
        # A change of a partner that matters to decisions also sets the revision of each of its connections.
        "SELECT c.client_id, c.required_scopes, c.optional_scopes, c.purposes,"
        " c.stage = 'live' AND c.stopped_at IS NULL AND p.stopped_at IS NULL"
        " FROM connections c JOIN partners p ON p.kvk_number = c.kvk_number WHERE c.revision > $1"
    ),
    "ground_rules": (
        "SELECT ground_rule_id, client_id, rule, valid_from, valid_until, ended FROM ground_rules WHERE revision > $1"
    ),
    "agreements": (
        "SELECT agreement_id, client_id, board_number, scopes, purposes, valid_from, valid_until,"
        " registered_at_revision, ended FROM agreements WHERE revision > $1"
    ),
}


#: The current revision, mark and time, the mark of revision $1, and for each query of `CHANGED` whether it has rows.
WHAT_CHANGED: Final = (
    "SELECT revision, mark, clock_timestamp(), (SELECT mark FROM events WHERE revision = $1 LIMIT 1),"
    " EXISTS (SELECT 1 FROM schools WHERE revision > $1),"
    " EXISTS (SELECT 1 FROM locations WHERE revision > $1),"
    " EXISTS (SELECT 1 FROM connections WHERE revision > $1),"
    " EXISTS (SELECT 1 FROM ground_rules WHERE revision > $1),"
    " EXISTS (SELECT 1 FROM agreements WHERE revision > $1)"
    " FROM consent_revision WHERE id = 1"
)


#: Columns in the order of `GrantFacts`. Read and packed in batches: there may be millions.
CHANGED_GRANTS: Final = (
    "SELECT grant_id, client_id, brin, location, scopes, purposes, status, valid_from, valid_until,"
    " suspended_until, reconfirm_by, granted_at_revision FROM grants WHERE revision > $1"
)


ROWS_AT_ONCE: Final = 2_000


class GrantPacker:
    """Packs rows of `CHANGED_GRANTS` as they are read."""

    def __init__(self) -> None:
        self._draft: Draft = {}

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        pack_rows(self._draft, _grants(rows))

    def granted(self) -> Granted:
        return Granted(self._draft)


def changes_of(
    reading: Reading, mark_before: str, rows: Mapping[str, Iterable[Sequence[Any]]], grants: GrantPacker
) -> Changes:
    """The facts in the rows of `CHANGED` and `CHANGED_GRANTS`, as any of the drivers returns them."""
    return Changes(
        revision=reading.revision,
        mark=reading.mark,
        mark_before=mark_before,
        seen_at=reading.now,
        schools=tuple(SchoolFacts(brin, board, bool(gone)) for brin, board, gone in rows.get("schools", ())),
        locations=tuple(LocationFacts(code, bool(gone)) for code, gone in rows.get("locations", ())),
        connections=tuple(
            ConnectionFacts(client_id, _names(required) | _names(optional), _names(purposes), bool(live))
            for client_id, required, optional, purposes, live in rows.get("connections", ())
        ),
        ground_rules=tuple(
            GroundRuleFacts(rule_id, client_id, rule, _instant(begins), _instant_or_none(ends), bool(ended))
            for rule_id, client_id, rule, begins, ends, ended in rows.get("ground_rules", ())
        ),
        agreements=tuple(_agreement(row) for row in rows.get("agreements", ())),
        grants=grants.granted(),
    )


def _agreement(row: Sequence[Any]) -> AgreementFacts:
    agreement_id, client_id, board, scopes, purposes, begins, ends, registered, ended = row
    return AgreementFacts(
        agreement_id,
        client_id,
        board,
        _names(scopes),
        _names(purposes),
        _instant(begins),
        _instant_or_none(ends),
        registered,
        bool(ended),
    )


def _grants(rows: Iterable[Sequence[Any]]) -> Iterator[Row]:
    for row in rows:
        grant_id, client_id, brin, location, scopes, purposes, status, begins, ends, suspended, reconfirm, granted = row
        if isinstance(begins, str):
            begins = instant_of(begins)
            ends, suspended = ends and instant_of(ends), suspended and instant_of(suspended)
            reconfirm = reconfirm and instant_of(reconfirm)
        sets = _scope_sets_number(scopes, purposes)
        yield grant_id, client_id, _shared(brin), location, sets, status, begins, ends, suspended, reconfirm, granted


@lru_cache(maxsize=65_536)
def _scope_sets_number(scopes: str, purposes: str) -> int:
    return scope_sets_number(_names(scopes), _names(purposes))


@lru_cache(maxsize=65_536)
def _names(text: str) -> frozenset[str]:
    """A JSON list of names as a set, shared by the many grants with the same list."""
    return frozenset(map(_shared, msgspec.json.decode(text, type=list[str])))


@lru_cache(maxsize=65_536)
def _shared(text: str) -> str:
    return text


def _instant(value: datetime | str) -> datetime:
    return instant_of(value) if isinstance(value, str) else value


def _instant_or_none(value: datetime | str | None) -> datetime | None:
    return None if value is None else _instant(value)
