"""Choices of a school: within an offer, or of less than it permits already."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from models.consents.agreements import Agreement
from models.consents.grants import Choice, Grant, narrows, require_offered
from models.consents.partners import Connection
from models.decision.grant_status import Status
from models.vocabulary.refusals import ConsentError, PurposeNotOffered, ScopeNotOffered
from tests.worlds.world import START

LATER, SOONER = START + timedelta(days=9), START + timedelta(days=5)


def choice(scopes: str = "a b", purposes: str = "p", until: datetime | None = None) -> Choice:
    return Choice(frozenset(scopes.split()), frozenset(purposes.split()), None, until)


def offered(**less: Any) -> tuple[Connection, Agreement]:
    """A connection and an agreement for a, b, c and for p, q, but for what is less."""
    scopes, purposes = ["a", "b", "c"], ["p", "q"]
    connection: dict[str, Any] = {"required_scopes": [], "optional_scopes": less.get("asked", scopes)}
    connection["purposes"] = less.get("named", purposes)
    agreement: dict[str, Any] = {"scopes": less.get("covered", scopes), "purposes": less.get("agreed", purposes)}
    return Connection(**connection), Agreement(**agreement)


@pytest.mark.parametrize(
    ("less", "refusal", "says"),
    [
        ({"asked": ["a"]}, ScopeNotOffered, "The connection does not ask for b."),
        ({"covered": ["b"]}, ScopeNotOffered, "The agreement does not cover a."),
        ({"named": ["q"]}, PurposeNotOffered, "The connection does not name p."),
        ({"agreed": ["q"]}, PurposeNotOffered, "The agreement does not name p."),
    ],
)
def test_what_is_beyond_the_offer_is_refused_by_name(
    less: dict[str, list[str]], refusal: type[ConsentError], says: str
) -> None:
    with pytest.raises(refusal) as refused:
        require_offered(choice(), *offered(**less))
    assert str(refused.value) == says


def test_all_that_is_offered_may_be_chosen() -> None:
    require_offered(choice("a b c", "p q"), *offered())


GRANTED = {"status": Status.GRANTED, "scopes": ["a", "b"], "purposes": ["p", "q"], "valid_until": LATER}


@pytest.mark.parametrize(
    ("chosen", "grant", "is_less"),
    [
        (choice("a b", "p q", LATER), {}, True),
        (choice("a", "p q", LATER), {}, True),
        (choice("a b", "p", LATER), {}, True),
        (choice("a b", "p q", SOONER), {}, True),
        (choice("a b", "p q", SOONER), {"valid_until": None}, True),
        (choice("a b", "p q"), {"valid_until": None}, True),
        (choice("a b c", "p q", LATER), {}, False),
        (choice("a c", "p q", LATER), {}, False),
        (choice("a b", "p q r", LATER), {}, False),
        (choice("a b", "p q", LATER + timedelta(microseconds=1)), {}, False),
        (choice("a b", "p q"), {}, False),
        (choice("a", "p", SOONER), {"status": Status.SUSPENDED}, False),
        (choice("a", "p", SOONER), {"status": Status.NEEDS_RECONFIRMATION}, False),
        (choice("a", "p", SOONER), {"status": Status.REVOKED}, False),
    ],
)
def test_a_choice_narrows_a_grant_where_it_permits_no_more(
    chosen: Choice, grant: dict[str, Any], is_less: bool
) -> None:
    assert narrows(chosen, Grant.model_construct(**{**GRANTED, **grant})) is is_less
