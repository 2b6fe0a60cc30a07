"""A partner asks for a school by its key, over SOAP."""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.exchange import oracle
from tests.exchange.conftest import CUSTOMERS, PROFILE, Scene
from tests.exchange.peers import las
from tests.exchange.peers.invented import CALLS, CallName, inner_name, invented
from tests.exchange.peers.las import Behaviour, Request
from tests.exchange.test_soap_client import ALL, BROKEN, UNAUTHORISED

pytestmark = oracle.needs_standard

BY_KEY: Final[dict[str, Any]] = {"brincode": None, "schoolkey": "las-{0042}"}


@pytest.fixture
def keyed(scene: Scene) -> Iterator[Scene]:
    """16SW has a key."""
    scene.manager.add_key("las-{0042}")
    yield scene
    scene.manager.remove_key("las-{0042}")


@pytest.mark.parametrize("brincode", ["16SW", None])
@pytest.mark.parametrize("call", CALLS)
def test_a_school_may_be_asked_for_by_its_key(keyed: Scene, call: CallName, brincode: str | None) -> None:
    keyed.behaves(las.by_key(brincode))
    assert keyed.partner.ask(call, ALL, **BY_KEY) == inner_name(call)
    [asked] = keyed.las.requests
    assert (asked.value("schoolkey"), asked.value("brincode")) == ("las-{0042}", None)
    source = invented(call, clean=False, brincode=brincode, schoolkey="las-{0042}")
    assert oracle.breaches(source, keyed.release_of("allesrijk"), keyed.partner.received) == []
    assert b"zq" in keyed.partner.received


@pytest.mark.parametrize("client_id", ["nietsrijk", "locatierijk"])
def test_a_key_permits_nothing_by_itself(keyed: Scene, client_id: str) -> None:
    assert keyed.partner.fault("leerlingen", CUSTOMERS[client_id], **BY_KEY) == UNAUTHORISED
    assert keyed.las.requests == []


@pytest.mark.parametrize(
    "behaviour",
    [
        las.by_key("17TX"),
        las.by_key("16SW", "01"),
        las.by_key("16SW", key="las-0043"),
        las.by_key(None, key="las-0043"),
        las.by_key(None, "01"),
    ],
)
def test_an_answer_under_another_key_or_of_another_school_is_refused(keyed: Scene, behaviour: Behaviour) -> None:
    keyed.behaves(behaviour)
    assert keyed.partner.fault("leerlingen", ALL, **BY_KEY) == BROKEN
    assert b"zq" not in keyed.partner.received


@pytest.mark.parametrize(
    "schoolkey", ["las-{0043}", "LAS-{0042}", "16SW", "..", "../16SW", "a/b", "a b", "é", "x" * 64]
)
def test_a_key_that_nobody_keeps_is_not_authorised(keyed: Scene, schoolkey: str) -> None:
    assert keyed.partner.fault("structuur", ALL, brincode=None, schoolkey=schoolkey) == UNAUTHORISED
    assert keyed.las.requests == []


def test_the_key_of_a_location_is_for_that_location(scene: Scene) -> None:
    scene.manager.add_key("van-01", location="16SW01")
    asked: dict[str, Any] = {"brincode": None, "schoolkey": "van-01"}
    try:
        scene.behaves(las.by_key("16SW", "01"))
        assert scene.partner.ask("leerlingen", CUSTOMERS["locatierijk"], **asked)
        for other in (las.by_key("16SW"), las.by_key("16SW", "00"), las.by_key("16SW", "02")):
            scene.behaves(other)
            assert scene.partner.fault("leerlingen", CUSTOMERS["locatierijk"], **asked) == BROKEN
    finally:
        scene.manager.remove_key("van-01")


def test_the_key_of_location_00_stands_for_the_whole_school(scene: Scene) -> None:
    """UWLR's `00` is the school as a whole: a grant for one location must not open it."""
    grant_id = scene.manager.grant("wisselrijk", PROFILE, location="16SW00")
    scene.manager.add_key("van-00", location="16SW00")
    try:
        assert (
            scene.partner.fault("structuur", CUSTOMERS["wisselrijk"], brincode=None, schoolkey="van-00") == UNAUTHORISED
        )
        scene.behaves(las.by_key("16SW"))
        assert scene.partner.ask("structuur", ALL, brincode=None, schoolkey="van-00")
    finally:
        scene.manager.remove_key("van-00")
        scene.manager.revoke(grant_id)


@pytest.mark.parametrize("to", [None, "17TX"])
def test_a_key_that_moves_while_the_las_answers_releases_nothing(scene: Scene, to: str | None) -> None:
    scene.manager.add_key("op-drift")

    def moved_meanwhile(request: Request) -> las.Reply:
        scene.manager.remove_key("op-drift")
        if to is not None:
            scene.manager.add_key("op-drift", to)
        return las.by_key(None)(request)

    scene.behaves(moved_meanwhile)
    assert scene.partner.fault("leerlingen", ALL, brincode=None, schoolkey="op-drift") == UNAUTHORISED
    assert b"zq" not in scene.partner.received
    if to is not None:
        scene.manager.remove_key("op-drift", to)
