"""AuthZEN's search: what is found is what an evaluation permits, no more and no less, page by page."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from sqlalchemy import text

from api.gateways.authzen_search import _position, _token_of, search_of
from api.gateways.search_routes import ResourceSearch
from api.snapshot.current import CurrentSnapshot
from models.decision.decision_log import LoggedCaller
from tests.worlds.world import OTHER_PURPOSE, PURPOSE, Answer, World, question

SEARCHES: Final = ("subject", "resource", "action")
ASKER: Final = LoggedCaller("issuer", "gateway-subject", "request", None)


def search(searched: str, *args: Any, page: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """The evaluation request of `question`, made into a search of one of its entities."""
    asked = question(*args, **more)
    if searched == "action":
        del asked["action"]
    else:
        del asked[searched]["id"]
    return asked if page is None else {**asked, "page": page}


async def searching(world: World, searched: str, body: Any) -> Answer:
    return await world.call("POST", f"/access/v1/search/{searched}", world.token("gateway"), body)


async def found(world: World, searched: str, *args: Any, **more: Any) -> list[Any]:
    """The ids, or names, that a search finds on its first page."""
    answer = await searching(world, searched, search(searched, *args, **more))
    assert answer.status_code == 200, answer.text
    return [each.get("id", each.get("name")) for each in answer.json()["results"]]


# -- what is found ----------------------------------------------------------------------------------------------------


async def test_a_grant_for_a_school_is_found_at_the_school_and_each_of_its_locations(world: World) -> None:
    await world.granted()
    assert await found(world, "resource") == ["16SW", "16SW00", "16SW01"]


async def test_a_grant_for_a_location_is_found_there_alone(world: World) -> None:
    await world.granted(location="16SW01")
    await world.granted(brin="17TX")
    assert await found(world, "resource") == ["16SW01", "17TX", "17TX00"]


async def test_where_a_locations_own_grant_is_suspended_the_schools_is_not_found_there(world: World) -> None:
    await world.granted()
    own = await world.granted(location="16SW01")
    assert (await world.step(own["grantId"], "suspend")).status_code == 200
    assert await found(world, "resource") == ["16SW", "16SW00"]
    assert (await world.step(own["grantId"], "revoke")).status_code == 200
    assert await found(world, "resource") == ["16SW", "16SW00", "16SW01"]


async def test_what_is_revoked_is_not_found_any_more(world: World) -> None:
    given_by_school = await world.granted()
    assert await found(world, "subject") == ["rekenrijk"]
    assert (await world.step(given_by_school["grantId"], "revoke")).status_code == 200
    assert [await found(world, searched) for searched in SEARCHES] == [[], [], []]


@pytest.mark.empty_world
async def test_subjects_are_all_connections_that_may_receive_it_in_order(world: World) -> None:
    for number, client_id in enumerate(("taalhuis", "rekenrijk", "aardrijk")):
        await world.register(client_id, kvk_number=f"9000000{number + 1}")
    await world.granted("taalhuis")
    await world.granted("aardrijk", location="16SW00")
    await world.granted("rekenrijk", brin="17TX")
    assert await found(world, "subject", "", "16SW00") == ["aardrijk", "taalhuis"]
    assert await found(world, "subject", "", "16SW") == ["taalhuis"]
    assert await found(world, "subject", "", "17TX00") == ["rekenrijk"]


@pytest.mark.parametrize(
    ("more", "is_found"),
    [
        ({"scopes": ["leerling.naam"]}, True),
        ({"scopes": ["leerling.naam", "leerling.jaargroep"]}, False),
        ({"fields": ["achternaam"]}, True),
        ({"fields": ["jaargroep"]}, False),
        ({"purpose": PURPOSE}, True),
        ({"purpose": OTHER_PURPOSE}, False),
        ({"resource_type": "school"}, True),
        ({"resource_type": "docent"}, False),
        ({"resource_type": "ouder"}, False),
        ({"scopes": ["leerling.bsn"]}, False),
    ],
)
async def test_a_search_is_narrowed_as_an_evaluation_is(world: World, more: dict[str, Any], is_found: bool) -> None:
    await world.granted()
    assert [bool(await found(world, searched, **more)) for searched in SEARCHES] == [is_found] * 3


async def test_an_action_is_found_with_what_it_may_release(world: World) -> None:
    await world.granted()
    answer = (await searching(world, "action", search("action"))).json()
    decision = (await world.ask()).json()["context"]
    released = {"scopes": decision["scopes"], "fields": decision["fields"]}
    assert answer["results"] == [{"name": "release", "properties": released}]
    assert answer["context"] == {"revision": decision["revision"]}


@pytest.mark.parametrize(
    "unknown", [("subject", "type"), ("subject", "id"), ("resource", "type"), ("resource", "id"), ("action", "name")]
)
async def test_what_is_unknown_is_found_nowhere_and_is_no_error(world: World, unknown: tuple[str, str]) -> None:
    await world.granted()
    for searched in SEARCHES:
        body = search(searched)
        if unknown[0] == searched and unknown[1] != "type":
            continue
        if unknown[0] in body:
            body[unknown[0]][unknown[1]] = "onbekend"
            answer = await searching(world, searched, body)
            assert (answer.status_code, answer.json()["results"]) == (200, []), (searched, unknown)


# -- pages ------------------------------------------------------------------------------------------------------------


async def pages(world: World, searched: str, body: dict[str, Any]) -> list[list[Any]]:
    """All pages from the first on, each asked for with the token of the one before."""
    gathered: list[list[Any]] = []
    page = dict(body.get("page", {}))
    while True:
        answer = (await searching(world, searched, {**body, "page": page})).json()
        assert answer["page"]["count"] == len(answer["results"])
        gathered.append([each["id"] for each in answer["results"]])
        if not answer["page"]["next_token"]:
            return gathered
        page = {**page, "token": answer["page"]["next_token"]}


async def test_pages_together_are_the_whole(world: World) -> None:
    await world.granted()
    await world.granted(brin="17TX")
    whole = ["16SW", "16SW00", "16SW01", "17TX", "17TX00"]
    for limit in (1, 2, 3, 5, 6, 2**53):
        parts = await pages(world, "resource", search("resource", page={"limit": limit}))
        assert parts == [whole[start : start + limit] for start in range(0, len(whole), limit)]


async def test_a_limit_of_nothing_gets_nothing_and_is_told_whether_there_is_more(world: World) -> None:
    nothing = search("resource", page={"limit": 0})
    assert (await searching(world, "resource", nothing)).json()["page"] == {"next_token": "", "count": 0}
    await world.granted()
    answer = (await searching(world, "resource", nothing)).json()
    assert answer["results"] == []
    assert answer["page"]["next_token"]


async def test_a_token_stays_good_when_what_it_stands_behind_is_gone(world: World) -> None:
    own = await world.granted(location="16SW00")
    await world.granted(location="16SW01")
    await world.granted(brin="17TX")
    body = search("resource", page={"limit": 1})
    first = (await searching(world, "resource", body)).json()
    assert [each["id"] for each in first["results"]] == ["16SW00"]
    await world.step(own["grantId"], "revoke")
    body["page"]["token"] = first["page"]["next_token"]
    second = (await searching(world, "resource", body)).json()
    assert [each["id"] for each in second["results"]] == ["16SW01"], "nothing is left out for what went before it"


def _changed(body: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Requests that differ from this resource search in something that AuthZEN names."""
    yield "subject", "resource", {**body, "subject": {"type": "partner", "id": "taalhuis"}}
    yield "subject type", "resource", {**body, "subject": {"type": "user", "id": "rekenrijk"}}
    yield "subject properties", "resource", {**body, "subject": {**body["subject"], "properties": {"x": 1}}}
    yield "action", "resource", {**body, "action": {"name": "delete"}}
    yield "resource type", "resource", {**body, "resource": {"type": "docent"}}
    yield "scopes", "resource", {**body, "resource": {"type": "leerling", "properties": {"scopes": []}}}
    yield "context", "resource", {**body, "context": {"purpose": PURPOSE}}
    yield "limit", "resource", {**body, "page": {**body["page"], "limit": 2}}
    yield "page properties", "resource", {**body, "page": {**body["page"], "properties": {"sort": "id"}}}
    yield "another search", "subject", {**body, "resource": {"type": "leerling", "id": "16SW"}}


async def test_a_token_given_with_another_request_is_refused(world: World) -> None:
    await world.granted()
    body = search("resource", page={"limit": 1})
    body["page"]["token"] = (await searching(world, "resource", body)).json()["page"]["next_token"]
    assert (await searching(world, "resource", body)).status_code == 200
    for what, searched, changed in _changed(body):
        assert (what, (await searching(world, searched, changed)).status_code) == (what, 400)


async def test_what_does_not_count_may_differ_between_pages(world: World) -> None:
    await world.granted()
    body = search("resource", page={"limit": 1})
    token = (await searching(world, "resource", body)).json()["page"]["next_token"]
    for page in ({"token": token}, {"token": token, "limit": 1}, {"limit": 1, "token": token, "unknown": 1}):
        other = {"more": [1], **body, "resource": {"id": "ignored", "type": "leerling"}, "page": page}
        answer = (await searching(world, "resource", other)).json()
        assert [each["id"] for each in answer["results"]] == ["16SW00"], "the limit of the first page holds"


async def test_what_was_not_given_out_as_a_token_is_refused(world: World) -> None:
    await world.granted()
    body = search("resource", page={"limit": 1})
    good = (await searching(world, "resource", body)).json()["page"]["next_token"]
    swapped = good[:50] + ("A" if good[50] != "A" else "B") + good[51:]
    cut = [good[:-4], good + "AAAA", f"{good}=", swapped, good.swapcase()]
    for token in ["", "x", "AAAA", *cut, "é", "\0", "W10", "x" * 60_000, 1, None, [], {}, True]:
        answer = await searching(world, "resource", {**body, "page": {"limit": 1, "token": token}})
        assert (token, answer.status_code) == (token, 400)
        assert len(answer.content) < 1000


async def test_a_token_that_is_made_up_has_no_larger_pages(world: World) -> None:
    """Who knows how tokens are made can make one; a limit that no request may have is none in a token either."""
    await world.granted()
    body = search("resource")
    named = search_of(ResourceSearch.decoder, json.dumps(body).encode()).named
    for limit, status in ((1, 200), (-1, 400), (2**53 + 1, 400)):
        token = _token_of(_position(named, limit, "16SW"))
        answer = await searching(world, "resource", {**body, "page": {"token": token}})
        assert (limit, answer.status_code) == (limit, status)


@pytest.mark.parametrize("page", [*({"limit": limit} for limit in (-1, 1.5, "1", 10**30, True)), []])
async def test_a_page_that_cannot_be_is_refused(world: World, page: Any) -> None:
    for searched in SEARCHES:
        assert (await searching(world, searched, {**search(searched), "page": page})).status_code == 400


# -- without an answer ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("searched", SEARCHES)
async def test_a_search_ahead_of_the_store_is_503(world: World, searched: str) -> None:
    reached = (await world.ask()).json()["context"]["revision"]
    assert (await searching(world, searched, search(searched, minRevision=reached))).status_code == 200
    answer = await searching(world, searched, search(searched, minRevision=reached + 1))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert (answer.json()["decision"], answer.json()["context"]["reason"]) == (False, "revision_behind")


@pytest.mark.both_stores
@pytest.mark.parametrize("searched", SEARCHES)
async def test_a_search_without_the_store_is_503_and_finds_nothing(world: World, searched: str) -> None:
    await world.granted()
    await world.ask()
    async with world.store.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE consent_revision RENAME TO consent_revision_away"))
    try:
        await world.service.services.of(CurrentSnapshot)._drop()
        answer = await searching(world, searched, search(searched))
    finally:
        async with world.store.engine.begin() as connection:
            await connection.execute(text("ALTER TABLE consent_revision_away RENAME TO consent_revision"))
    assert answer.status_code == 503
    assert "results" not in answer.json()
    assert (answer.json()["decision"], answer.json()["context"]["reason"]) == (False, "store_unreachable")


@pytest.mark.both_stores
@pytest.mark.parametrize("searched", SEARCHES)
async def test_a_store_that_was_set_back_is_503(world: World, searched: str) -> None:
    await world.ask()
    async with world.store.engine.begin() as connection:
        await connection.execute(text("UPDATE consent_revision SET revision = revision - 1"))
    answer = await searching(world, searched, search(searched))
    assert (answer.status_code, answer.json()["context"]["reason"]) == (503, "revision_behind")


@pytest.mark.parametrize("searched", SEARCHES)
async def test_a_member_that_stands_there_twice_is_refused_wherever_it_stands(world: World, searched: str) -> None:
    body = json.dumps({**search(searched, purpose=PURPOSE), "page": {"limit": 1}, "unknown": {"a": 1}})
    for once, twice in (
        ('"page": {', '"page": {"limit": 2, '),
        ('"a": 1', '"a": 1, "\\u0061": 2'),
        ('"context": {', '"context": {"purpose": "x", '),
        ('"resource": {', '"resource": {"type": "docent", '),
        ('{"subject"', '{"subject": {"type": "partner", "id": "x"}, "subject"'),
    ):
        assert once in body
        sent = body.replace(once, twice)
        headers = {"Authorization": f"Bearer {world.token('gateway')}", "Content-Type": "application/json"}
        answer = await world.client.post(f"/access/v1/search/{searched}", content=sent, headers=headers)
        assert (twice, answer.status_code) == (twice, 400)


@pytest.mark.parametrize(
    ("unknown", "statuses"),
    [
        ("1" * 5000, {200}),
        ("1e999", {200}),
        ("[" * 200 + "]" * 200, {200}),
        # How deep is too deep is Python's to say.
        ("[" * 900 + "]" * 900, {200, 400}),
        ('{"a": ' * 5000 + "1" + "}" * 5000, {400}),
        ('"\\ud800"', {400}),
        ("1" * 20 + "x", {400}),
    ],
    ids=["5,000 digits", "infinite", "deep", "deeper", "deepest", "a lone surrogate", "no number"],
)
async def test_a_member_that_authzen_does_not_name_is_ignored_whatever_it_holds_if_it_is_json(
    world: World, unknown: str, statuses: set[int]
) -> None:
    await world.granted()
    headers = {"Authorization": f"Bearer {world.token('gateway')}", "Content-Type": "application/json"}
    bodies = {f"search/{searched}": search(searched) for searched in SEARCHES}
    for path, body in {**bodies, "evaluation": question(), "evaluations": question()}.items():
        sent = f'{json.dumps(body)[:-1]}, "unknown": {unknown}}}'
        answer = await world.client.post(f"/access/v1/{path}", content=sent, headers=headers)
        assert answer.status_code in statuses, answer.text
