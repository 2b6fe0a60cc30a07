"""Grants packed in memory: packing loses nothing, and a change affects no other grant."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from models.decision.grant_status import NOT_YET, Status
from models.decision.packed_grants import Granted, GrantFacts
from tests.worlds.facts import GRANT, YESTERDAY
from tests.worlds.world import NAMES

INSTANTS = st.datetimes(
    min_value=datetime(1900, 1, 1),  # noqa: DTZ001
    max_value=datetime(9999, 12, 31),  # noqa: DTZ001
    timezones=st.just(UTC),
)
IDENTITIES = st.uuids().map(str) | st.uuids().map(lambda one: str(one).upper()) | st.text(min_size=1, max_size=36)
FACTS = st.builds(
    GrantFacts,
    grant_id=IDENTITIES,
    client_id=st.sampled_from(["rekenrijk", "taalzee"]),
    brin=st.sampled_from(["16SW", "17TX"]),
    location=st.none(),
    scopes=st.frozensets(st.sampled_from(NAMES)),
    purposes=st.frozensets(st.text(max_size=5), max_size=2),
    status=st.sampled_from([status.value for status in Status if status not in NOT_YET]),
    valid_from=INSTANTS,
    valid_until=st.none() | INSTANTS,
    suspended_until=st.none() | INSTANTS,
    reconfirm_by=st.none() | INSTANTS,
    granted_at_revision=st.integers(0, 2**53),
)


@given(FACTS, st.none() | st.integers(0, 99))
def test_what_was_packed_is_what_is_found(fact: GrantFacts, location: int | None) -> None:
    fact = fact._replace(location=None if location is None else f"{fact.brin}{location:02}")
    assert Granted.latest([fact]).of(fact.client_id, fact.brin) == (fact,)
    assert Granted.latest([fact]).of("another", fact.brin) == ()


def by_place(facts: list[GrantFacts]) -> dict[tuple[str, str, str | None], GrantFacts]:
    """The same by a simple rule: the latest grant of each place; of two given at once, the later in order."""
    latest: dict[tuple[str, str, str | None], GrantFacts] = {}
    for fact in facts:
        place = fact.client_id, fact.brin, fact.location
        if place not in latest or latest[place].granted_at_revision <= fact.granted_at_revision:
            latest[place] = fact
    return latest


@given(st.lists(st.tuples(FACTS, st.none() | st.integers(0, 2)), max_size=12), st.integers(0, 12))
def test_however_changes_are_cut_up_the_latest_of_each_place_is_kept(
    drawn: list[tuple[GrantFacts, int | None]], cut: int
) -> None:
    facts = [
        fact._replace(location=None if number is None else f"{fact.brin}0{number}", granted_at_revision=index // 2)
        for index, (fact, number) in enumerate(drawn)
    ]
    first = Granted.latest(facts[:cut])
    before = set(first)
    both = first.after(Granted.latest(facts[cut:]))
    assert set(both) == set(by_place(facts).values())
    assert set(first) == before, "what others still decide on was changed"


@given(
    st.sets(st.tuples(st.sampled_from(["rekenrijk", "taalzee"]), st.sampled_from(["16SW", "16SX", "17TX", "30AA"]))),
    st.sampled_from(["", "1", "16", "16SW", "16SX", "17AA", "30AA", "99ZZ", "~"]),
)
def test_the_schools_of_a_connection_are_listed_in_order(given_by: set[tuple[str, str]], start: str) -> None:
    granted = Granted.latest(GRANT._replace(client_id=client_id, brin=brin) for client_id, brin in given_by)
    for client_id in ("rekenrijk", "taalzee", "another"):
        expected = sorted(brin for by, brin in given_by if by == client_id and brin >= start)
        assert list(granted.schools_of(client_id, start)) == expected


def test_what_was_never_given_is_not_kept() -> None:
    asked: list[Any] = [GRANT._replace(status=status) for status in NOT_YET]
    assert list(Granted.latest(asked)) == []


def test_a_change_copies_no_other_connection() -> None:
    many = Granted.latest(GRANT._replace(client_id=f"leermiddel-{number}") for number in range(50))
    after = many.after(Granted.latest([GRANT._replace(client_id="leermiddel-3", status="revoked")]))
    untouched = [one for one in many._connections if after._connections[one] is many._connections[one]]
    assert sorted(untouched) == sorted(f"leermiddel-{number}" for number in range(50) if number != 3)
    assert after.of("leermiddel-3", "16SW")[0].status == "revoked"
    assert many.of("leermiddel-3", "16SW")[0].status == "granted"
    assert after.of("leermiddel-3", "16SW")[0].valid_from == YESTERDAY
