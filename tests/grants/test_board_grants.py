"""Grants of a board for all its schools, and the precedence of a school's own actions, in each case."""

from collections.abc import Awaitable, Callable
from itertools import product
from typing import Any

import pytest

from api.evidence.key_custody import record_schools
from models.consents.board_grants import (
    PARTY_ACTIONS,
    GrantAction,
    Standing,
    board_may_give,
    board_may_revoke,
    standing_of,
)
from models.consents.schools import Location, School
from models.decision.grant_status import OPEN, Status
from models.vocabulary.event_kinds import EventKind
from tests.worlds.world import BASIS, NAMES, OFFERED, PURPOSE, Answer, World

BOARD, SISTER = "10001", "18AB"


async def with_sister(world: World) -> None:
    """A second school of the same board."""
    async with world.store.writing() as write:
        write.session.add(School(brin=SISTER, name="Zusterschool", board_number=BOARD, revision=write.revision))
        await write.session.flush()
        write.session.add(
            Location(code=f"{SISTER}00", brin=SISTER, name="Zuster", kinds=["bo"], revision=write.revision)
        )
        await write.session.flush()
        await record_schools(write)


async def as_board(world: World, method: str, path: str, body: Any = None, number: str = BOARD) -> Answer:
    return await world.call(method, f"/v1/boards/{number}{path}", world.token("board", board=number), body)


async def give(world: World, **more: Any) -> Answer:
    body = {"clientId": "rekenrijk", "scopes": NAMES, "purposes": [PURPOSE], **more}
    return await as_board(world, "POST", "/grants", body)


async def given(world: World, **more: Any) -> dict[str, Any]:
    answer = await give(world, **more)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def take_back(world: World) -> Answer:
    return await as_board(world, "POST", "/grants/_revoke", {"clientId": "rekenrijk", "reason": "Niet meer."})


async def standings(world: World) -> dict[str, str]:
    """The grants as the board and each school see them."""
    listed = (await as_board(world, "GET", "/grants?clientId=rekenrijk")).json()["items"]
    by_board = {each["school"]["brin"]: each["standing"] for each in listed}
    for brin, found in by_board.items():
        (shown,) = (await world.administer("GET", "/connections", brin=brin)).json()["items"]
        assert shown["standing"] == found
    return by_board


async def test_a_board_grants_for_all_its_schools_at_once(world: World) -> None:
    await with_sister(world)
    answer = await given(world)
    assert [each["school"]["brin"] for each in answer["reached"]] == ["16SW", SISTER]
    assert answer["leftOut"] == []
    assert {each["grant"]["revision"] for each in answer["reached"]} == {answer["revision"]}
    for place in ("16SW", "16SW01", SISTER):
        assert await world.reason(place=place) == "granted"
    assert await world.reason(place="17TX") == "no_grant", "another board's"
    assert await standings(world) == {"16SW": "board", SISTER: "board"}
    consents = (await world.look()).json()["items"]
    assert [(each["school"]["brin"], each["status"]) for each in consents] == [("16SW", "granted"), (SISTER, "granted")]
    assert (await as_board(world, "GET", "")).json()["schools"] == [
        {"brin": "16SW", "name": "School 16SW"},
        {"brin": SISTER, "name": "Zusterschool"},
    ]


async def test_a_school_excepts_itself_and_comes_back_when_it_wants(world: World) -> None:
    await with_sister(world)
    first = (await given(world))["reached"][0]["grant"]
    await world.step(first["grantId"], "revoke", {"reason": "Wij niet."})
    assert await world.reason() == "revoked"
    assert await standings(world) == {"16SW": "excepted", SISTER: "board"}
    again = await given(world, scopes=BASIS)
    assert [each["school"]["brin"] for each in again["leftOut"]] == ["16SW"]
    assert await world.reason() == "revoked", "the board's word does not bring back what the school took away"
    assert await world.reason(place=SISTER) == "granted"
    await world.granted()
    assert await standings(world) == {"16SW": "school", SISTER: "board"}
    assert await world.reason() == "granted"
    await take_back(world)
    assert (await world.reason(), await world.reason(place=SISTER)) == ("granted", "revoked")


Happening = Callable[[World], Awaitable[Any]]


async def _of_board(world: World) -> dict[str, Any]:
    return dict((await given(world, schools=["16SW"]))["reached"][0]["grant"])


async def _own(world: World) -> Any:
    return await world.granted(scopes=BASIS)


async def _own_for_a_location(world: World) -> Any:
    return await world.granted(scopes=BASIS, location="16SW01")


async def _own_that_ended(world: World) -> None:
    await world.granted(scopes=BASIS, validUntil="2026-09-02T00:00:00Z")
    world.clock.advance(days=2)


async def _own_taken_back(world: World) -> None:
    await world.step((await world.granted())["grantId"], "revoke")


async def _own_revoked_by_an_operator(world: World) -> None:
    grant_id = (await world.granted())["grantId"]
    await world.operate("POST", f"/v1/schools/16SW/grants/{grant_id}/_revoke", {"reason": "Lek."})


async def _of_board_narrowed(world: World) -> None:
    await world.amend(await _of_board(world), scopes=BASIS)


async def _of_board_suspended(world: World) -> None:
    await world.step((await _of_board(world))["grantId"], "suspend", {"until": "2026-09-03T00:00:00Z"})


async def _of_board_suspended_for_a_while(world: World) -> None:
    await _of_board_suspended(world)
    world.clock.advance(days=3)


async def _of_board_taken_back_by_it(world: World) -> None:
    await _of_board(world)
    await take_back(world)


async def _of_board_that_ended(world: World) -> None:
    await given(world, schools=["16SW"], validUntil="2026-09-02T00:00:00Z")
    world.clock.advance(days=2)


async def _of_board_asked_again(world: World) -> None:
    await _of_board(world)
    change = {"scopes": {"required": BASIS, "optional": [*OFFERED[2:], "vestiging.basis"]}}
    await world.operate("PATCH", "/v1/connections/rekenrijk", change, If_Match="*")


async def _nothing(world: World) -> None:
    pass


#: The grant before; its standing; whether the board's grant includes the school; whether the board can revoke.
CASES: dict[str, tuple[Happening, str, bool, bool]] = {
    "nothing": (_nothing, "none", True, False),
    "the board's": (_of_board, "board", True, True),
    "the board's, taken back by it": (_of_board_taken_back_by_it, "none", True, False),
    "the board's, ended by time": (_of_board_that_ended, "none", True, False),
    "the board's, to be confirmed": (_of_board_asked_again, "board", True, True),
    "the board's, narrowed by the school": (_of_board_narrowed, "school", False, False),
    "the board's, suspended by the school": (_of_board_suspended, "school", False, False),
    "the board's, suspended for a while": (_of_board_suspended_for_a_while, "school", False, False),
    "its own": (_own, "school", False, False),
    "its own for a location": (_own_for_a_location, "none", True, False),
    "its own, ended by time": (_own_that_ended, "none", True, False),
    "its own, taken back by itself": (_own_taken_back, "excepted", False, False),
    "its own, taken back by an operator": (_own_revoked_by_an_operator, "none", True, False),
}


@pytest.mark.parametrize("case", CASES)
async def test_whose_word_counts(world: World, case: str) -> None:
    happening, expected, _, takes = CASES[case]
    await happening(world)
    before = await world.reason(place="16SW")
    assert await standings(world) == {"16SW": expected}
    taken = await take_back(world)
    assert taken.status_code == (200 if takes else 404), taken.text
    assert await world.reason(place="16SW") == ("revoked" if takes else before)


@pytest.mark.parametrize("case", CASES)
async def test_a_boards_grant_reaches_whoever_has_no_word_of_its_own(world: World, case: str) -> None:
    happening, _, gives, _ = CASES[case]
    await happening(world)
    before = await world.reason(place="16SW")
    answer = await give(world)
    assert answer.status_code == (201 if gives else 409), answer.text
    assert await world.reason(place="16SW") == ("granted" if gives else before)
    if gives:
        assert await standings(world) == {"16SW": "board"}


async def test_a_grant_for_a_location_counts_for_that_location(world: World) -> None:
    await world.granted(scopes=BASIS, location="16SW01")
    await given(world)
    assert (await world.ask(place="16SW01", scopes=["leerling.naam"])).json()["decision"] is False
    assert (await world.ask(place="16SW00", scopes=["leerling.naam"])).json()["decision"] is True


async def test_a_boards_grant_answers_the_requests_that_wait(world: World) -> None:
    await with_sister(world)
    token = world.token("partner", client_id="rekenrijk")
    await world.call("POST", "/v1/consents/requests", token, {"boardNumber": BOARD, "message": "Voor al uw scholen."})
    listed = (await as_board(world, "GET", "/requests?status=open")).json()["items"]
    assert [each["message"] for each in listed] == ["Voor al uw scholen."] * 2
    answer = await given(world)
    grants = {each["grant"]["grantId"] for each in answer["reached"]}
    shown = (await world.call("GET", "/v1/consents/requests", token)).json()["items"]
    assert {each["grantId"] for each in shown} == grants
    assert {each["status"] for each in shown} == {"accepted_in_part"}
    assert (await as_board(world, "GET", "/requests", number="10002")).json()["items"] == []


@pytest.mark.parametrize(
    ("wish", "status", "slug"),
    [
        ({"scopes": BASIS[:1]}, 409, "required_scope_missing"),
        ({"scopes": [*BASIS, "docent.pseudoniem", "docent.email"]}, 409, "scope_not_offered"),
        ({"scopes": []}, 400, "invalid_input"),
        ({"purposes": ["bestaat-niet"]}, 400, "unknown_purpose"),
        ({"clientId": "bestaat-niet"}, 404, "connection_not_placed"),
        ({"schools": ["17TX"]}, 404, "not_found"),
        ({"schools": ["16SW", "99ZZ"]}, 404, "not_found"),
        ({"schools": []}, 400, "invalid_input"),
        ({"validUntil": "2020-01-01T00:00:00Z"}, 400, "invalid_period"),
    ],
)
async def test_a_board_gives_within_the_same_bounds_and_all_or_nothing(
    world: World, wish: dict[str, Any], status: int, slug: str
) -> None:
    await with_sister(world)
    answer = await give(world, **wish)
    assert (answer.status_code, answer.json()["type"].rsplit("/", 1)[1]) == (status, slug)
    assert await standings(world) == {"16SW": "none", SISTER: "none"}


async def test_a_board_reaches_no_other_board(world: World) -> None:
    token = world.token("board", board="10002")
    body = {"clientId": "rekenrijk", "scopes": NAMES, "purposes": [PURPOSE]}
    for method, path, sent in (
        ("GET", "", None),
        ("GET", "/grants?clientId=rekenrijk", None),
        ("POST", "/grants", body),
        ("POST", "/grants/_revoke", {"clientId": "rekenrijk"}),
        ("GET", "/requests", None),
    ):
        assert (await world.call(method, f"/v1/boards/{BOARD}{path}", token, sent)).status_code == 404
    assert await world.reason() == "no_grant"


def test_the_rule_is_total_and_never_gives_a_board_what_a_school_has_decided() -> None:
    roles = ("school", "board", "operator", "system")
    said = [GrantAction(kind, role) for kind, role in product(sorted(PARTY_ACTIONS), roles)]
    for status, first, last in product(Status, [None, *said], said):
        words = [word for word in (first, last) if word is not None]
        found = standing_of(status, words)
        heard = [word for word in words if word.role in ("school", "board")]
        if status in OPEN and heard and heard[-1].role == "school":
            assert not board_may_give(found)
            assert not board_may_revoke(found)
        if status is Status.REVOKED and heard and heard[-1] == GrantAction(EventKind.GRANT_REVOKED, "school"):
            assert found is Standing.EXCEPTED
        assert board_may_revoke(found) <= (status in OPEN)
    assert standing_of(None, []) is Standing.NONE
