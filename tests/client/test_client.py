"""The client, against the service behind a real port; and what it makes of answers that no service should give."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from privacy_manager_client import (
    Change,
    ClientCredentials,
    Decision,
    Gateway,
    InFile,
    Partner,
    Problem,
    Question,
    Token,
    Unavailable,
    gateway,
    partner,
    views,
)

from tests.worlds.operations import CONTRACT
from tests.worlds.served_app import serving
from tests.worlds.world import NAMES, PURPOSE, World

ASKED: Final = Question("rekenrijk", "16SW", "leerling", fields=("achternaam",), purpose=PURPOSE)

Answering = Callable[[httpx2.Request], httpx2.Response]


@pytest.fixture
async def address(world: World) -> AsyncIterator[str]:
    async with serving(world.service) as (host, port):
        yield f"http://{host}:{port}"


def partner_of(world: World, address: str, client_id: str = "rekenrijk") -> Partner:
    return Partner(address, Token(world.token("partner", client_id=client_id)))


class InMemory:
    """Bookmarks for as long as the test lasts."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    async def read(self) -> str | None:
        return self.kept[-1] if self.kept else None

    async def keep(self, bookmark: str) -> None:
        self.kept.append(bookmark)


# -- the gateway ------------------------------------------------------------------------------------------------------


async def test_a_gateway_asks_one_question_or_many(world: World, address: str) -> None:
    async with Gateway(address, Token(world.token("gateway")), deadline=20) as asking:
        denied = await asking.evaluation(ASKED)
        assert (denied.permit, bool(denied), denied.reason, denied.fields) == (False, False, "no_grant", frozenset())
        given = await world.granted()
        found = await asking.evaluation(ASKED)
        assert found
        assert (found.reason, found.grant_id, found.revision) == ("granted", given["grantId"], given["revision"])
        assert "achternaam" in found.fields
        elsewhere = Question("rekenrijk", "17TX", "leerling")
        many = await asking.evaluations([elsewhere, ASKED, Question("rekenrijk", "x", "y")])
        assert [each.permit for each in many] == [False, True, False]
        assert await asking.evaluations([]) == []
        ahead = Question("rekenrijk", "16SW", "leerling", min_revision=given["revision"] + 1)
        assert not await asking.evaluation(ahead)
        await world.step(given["grantId"], "revoke", {})
        assert (await asking.evaluation(ASKED)).reason == "revoked"


PERMIT: Final[dict[str, Any]] = {
    "decision": True,
    "context": {"reason": "granted", "revision": 7, "scopes": NAMES, "fields": ["achternaam"]},
}


def permit(**instead: Any) -> bytes:
    return json.dumps({**PERMIT, **instead}).encode()


def context(**instead: Any) -> dict[str, Any]:
    return {**PERMIT["context"], **instead}


async def asked_of(answering: Answering, token: httpx2.Auth | None = None) -> Decision:
    transport = httpx2.MockTransport(answering)
    async with Gateway("https://manager.example", token or Token("t"), deadline=0.5, transport=transport) as asking:
        decision = await asking.evaluation(ASKED)
        (one,) = await asking.evaluations([ASKED])
        assert not one, "what answers a question alone is no answer to a list of them"
        return decision


async def test_a_clear_permit_is_one() -> None:
    assert await asked_of(lambda _: httpx2.Response(200, content=permit()))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (201, permit()),
        (204, b""),
        (302, permit()),
        (401, permit()),
        (500, permit()),
        (503, permit()),
        (200, b""),
        (200, b"true"),
        (200, b"null"),
        (200, permit()[:-1]),
        (200, permit() + b"x"),
        (200, permit(decision="true")),
        (200, permit(decision=1)),
        (200, permit(decision=None)),
        (200, permit(context=None)),
        (200, json.dumps({"decision": True}).encode()),
        (200, permit(context=context(reason="revoked"))),
        (200, permit(context=context(reason=None))),
        (200, permit(context=context(fields=["roepnaam"]))),
        (200, permit(context=context(fields="achternaam"))),
        (200, permit(context=context(revision="7"))),
        (200, permit(context=context(scopes=["x" * gateway.MOST_ANSWER_BYTES]))),
    ],
)
async def test_whatever_is_no_clear_permit_is_a_deny(status: int, body: bytes) -> None:
    headers = {"Location": "https://elsewhere.example/"}
    decision = await asked_of(lambda _: httpx2.Response(status, content=body, headers=headers))
    assert (decision.permit, decision.reason, decision.fields) == (False, gateway.UNAVAILABLE, frozenset())


async def test_no_answer_in_time_and_no_answer_at_all_are_denies() -> None:
    async def late(_: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(20)
        return httpx2.Response(200, content=permit())

    def broken(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadError("reset")

    def packed(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=permit(), headers={"Content-Encoding": "identity, gzip"})

    for answering in (late, broken, packed):
        assert (await asked_of(answering)).reason == gateway.UNAVAILABLE  # type: ignore[arg-type]
    async with Gateway("http://127.0.0.1:1", Token("t"), deadline=5) as asking:
        assert (await asking.evaluation(ASKED)).reason == gateway.UNAVAILABLE
        assert [each.reason for each in await asking.evaluations([ASKED] * 2)] == [gateway.UNAVAILABLE] * 2


async def test_answers_to_other_questions_are_denies() -> None:
    answers = json.dumps({"evaluations": [PERMIT]}).encode()
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=answers))
    async with Gateway("https://manager.example", Token("t"), transport=transport) as asking:
        assert [bool(each) for each in await asking.evaluations([ASKED])] == [True]
        assert [bool(each) for each in await asking.evaluations([ASKED, ASKED])] == [False, False]


# -- tokens -----------------------------------------------------------------------------------------------------------


class Issuer:
    """Gives out numbered tokens; what it was asked with."""

    def __init__(self, **answer: Any) -> None:
        self.asked: list[tuple[str, str]] = []
        self._answer = {"token_type": "Bearer", "expires_in": 600, **answer}

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append((request.headers["Authorization"], request.content.decode()))
        return httpx2.Response(200, json={"access_token": f"token-{len(self.asked)}", **self._answer})

    @property
    def credentials(self) -> ClientCredentials:
        transport = httpx2.MockTransport(self)
        return ClientCredentials("https://login.example/token", "ik", "ge heim:", transport=transport)


async def test_a_token_is_got_once_and_anew_before_it_ends_or_when_it_is_refused() -> None:
    seen: list[str] = []

    def answering(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers["Authorization"].removeprefix("Bearer "))
        return httpx2.Response(401 if seen[-1] == "token-1" and len(seen) > 3 else 200, content=permit())

    issuer = Issuer()
    transport = httpx2.MockTransport(answering)
    async with Gateway("https://manager.example", issuer.credentials, deadline=20, transport=transport) as asking:
        assert all(await asyncio.gather(*(asking.evaluation(ASKED) for _ in range(3))))
        assert seen == ["token-1"] * 3
        assert await asking.evaluation(ASKED)
    assert seen[3:] == ["token-1", "token-2"]
    assert [form for _, form in issuer.asked] == ["grant_type=client_credentials"] * 2
    assert issuer.asked[0][0] == "Basic aWs6Z2UraGVpbSUzQQ==", "ik:ge+heim%3A"
    short = Issuer(expires_in=0)
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=permit()))
    async with Gateway("https://manager.example", short.credentials, deadline=20, transport=transport) as asking:
        assert await asking.evaluation(ASKED)
        assert await asking.evaluation(ASKED)
    assert len(short.asked) == 2


async def test_who_has_no_time_to_wait_for_a_token_leaves_it_to_the_next() -> None:
    given, issuer = asyncio.Event(), Issuer()

    async def slow(request: httpx2.Request) -> httpx2.Response:
        await given.wait()
        return issuer(request)

    token = ClientCredentials("https://login.example/token", "ik", "geheim", transport=httpx2.MockTransport(slow))
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=permit()))
    async with Gateway("https://manager.example", token, deadline=0.05, transport=transport) as hurried:
        assert (await hurried.evaluation(ASKED)).reason == gateway.UNAVAILABLE
    given.set()
    async with Gateway("https://manager.example", token, deadline=20, transport=transport) as asking:
        assert await asking.evaluation(ASKED)
    assert len(issuer.asked) == 1


async def test_a_new_token_is_fetched_beside_what_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    issuer, seen = Issuer(), list[str]()

    def answering(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers["Authorization"])
        return httpx2.Response(200, content=permit())

    transport = httpx2.MockTransport(answering)
    credentials = issuer.credentials
    async with Gateway("https://manager.example", credentials, deadline=20, transport=transport) as asking:
        assert await asking.evaluation(ASKED)
        monkeypatch.setattr(credentials, "_new_at", 0.0)
        monkeypatch.setattr(credentials, "_ends_at", float("inf"))
        assert await asking.evaluation(ASKED)
        while len(issuer.asked) < 2:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
    assert seen == ["Bearer token-1"] * 2, "the old one is good for the while"


@pytest.mark.parametrize(
    "wrong", [{"access_token": None}, {"access_token": "a\nb"}, {"token_type": "mac"}, {"access_token": ""}]
)
async def test_without_a_token_nothing_is_asked(wrong: dict[str, Any]) -> None:
    def answering(_: httpx2.Request) -> httpx2.Response:
        pytest.fail("asked all the same")

    assert not await asked_of(answering, Issuer(**wrong).credentials)


# -- the partner ------------------------------------------------------------------------------------------------------


async def test_a_partner_pages_through_its_consents(world: World, address: str) -> None:
    for location in ("16SW00", "16SW01", None):
        await world.granted(**({"location": location} if location else {}))
    async with partner_of(world, address) as own:
        found = [consent async for consent in own.consents(page=1)]
        assert [each.location for each in found] == [None, "16SW00", "16SW01"]
        assert {each.reason for each in found} == {None}
        (nothing,) = [consent async for consent in own.consents(school="17TX")]
        assert (nothing.status, nothing.reason, nothing.grant_id) == ("none", "no_grant", None)


async def test_a_partner_asks_a_school_and_hears_what_it_answers(world: World, address: str) -> None:
    async with partner_of(world, address) as own:
        asked = await own.ask(schools=["16SW", "99ZZ"], message="Voor groep 5.", key="een-sleutel-van-ons")
        (made,), (not_asked,) = asked.items, asked.not_asked
        assert (made.status, not_asked.place, not_asked.problem) == ("open", "99ZZ", "not_found")
        assert await own.ask(schools=["16SW", "99ZZ"], message="Voor groep 5.", key="een-sleutel-van-ons") == asked
        waiting = asyncio.create_task(own.answered(made.request_id, every=0.05))
        path = f"/requests/{made.request_id}/_decline"
        assert (await world.administer("POST", path, {"reason": "Nog niet."})).status_code == 200
        declined = await asyncio.wait_for(waiting, 30)
        assert (declined.status, declined.answer) == ("declined", "Nog niet.")
        (again,) = (await own.ask(schools=["17TX"])).items
        assert (await own.withdraw(again.request_id, "Toch niet.")).status == "withdrawn"
        assert {each.status async for each in own.requests(page=1)} == {"declined", "withdrawn"}
        with pytest.raises(Problem) as refused:
            await own.ask(schools=["99ZZ"])
        assert (refused.value.slug, refused.value.status) == ("not_found", 404)


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_change_that_was_not_dealt_with_comes_again_and_no_other(
    streamed: bool, world: World, address: str, tmp_path: Path
) -> None:
    given = await world.granted()
    for step in ("suspend", "resume"):
        await world.step(given["grantId"], step, {})
    bookmarks = InFile(tmp_path / "bookmark")
    got: list[Change] = []
    async with partner_of(world, address) as own, asyncio.timeout(60):
        for _ in range(4):
            async with aclosing(own.follow(bookmarks, streamed=streamed)) as changes:
                # Each time one is dealt with, and the next one broken off.
                got += [await anext(changes), await anext(changes)] if len(got) < 4 else []
        assert [each.event for each in got] == ["grant.granted", "grant.suspended", "grant.suspended", "grant.resumed"]
        assert got[1] == got[2]
        async with aclosing(own.follow(bookmarks, streamed=streamed)) as changes:
            assert await anext(changes) == got[3]
            later = asyncio.ensure_future(anext(changes))
            await world.step(given["grantId"], "revoke", {})
            assert (await later).event == "grant.revoked"


async def test_a_bookmark_of_another_history_is_told(world: World, address: str) -> None:
    bookmarks = InMemory()
    await bookmarks.keep(f"9-{'a' * 32}")
    async with partner_of(world, address) as own:
        for streamed in (True, False):
            with pytest.raises(Problem, match="not_in_history"):
                await anext(own.follow(bookmarks, streamed=streamed))


async def test_a_reader_waits_out_what_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partner, "PAUSE_SECONDS", (0.01, 0.05))
    change = json.dumps(
        {
            "school": {"brin": "16SW", "name": "a\u2028b"},
            "location": None,
            "clientId": "c",
            "status": "granted",
            "reason": None,
            "scopes": [],
            "purposes": [],
            "validFrom": None,
            "validUntil": None,
            "grantId": "g",
            "revision": 5,
            "event": "grant.granted",
            "at": "2026-09-01T08:00:00Z",
            "bookmark": "4-" + "a" * 32,
        },
        ensure_ascii=False,
    ).encode()
    answers: list[httpx2.Response | Exception] = [
        httpx2.ConnectError("down"),
        httpx2.Response(503, headers={"Retry-After": "0"}),
        httpx2.Response(429, json={"type": "x/too_many_requests", "detail": "later"}),
        httpx2.Response(200, content=b"retry: 1\n\nid: 4\ndata: " + change[:40]),
        httpx2.Response(200, content=b"data: no JSON\n\n"),
        httpx2.Response(200, content=b":\n\ndata: " + change + b"\n\ndata: broken off"),
        httpx2.Response(403, json={"type": "x/forbidden", "detail": "no"}),
    ]
    asked: list[str] = []

    def answering(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.params["since"])
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    bookmarks = InMemory()
    async with Partner("https://m.example", Token("t"), transport=httpx2.MockTransport(answering)) as own:
        got = []
        with pytest.raises(Problem, match="forbidden"):
            async for each in own.follow(bookmarks):
                got.append(each)
    assert [each.school.name for each in got] == ["a\u2028b"]
    assert asked == ["0"] * 6 + [got[0].bookmark]


async def test_what_was_sent_in_vain_is_sent_again_with_the_same_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partner, "PAUSE_SECONDS", (0.01, 0.05))
    keys: list[str] = []

    def answering(request: httpx2.Request) -> httpx2.Response:
        keys.append(request.headers["Idempotency-Key"])
        return httpx2.Response(503)

    async with Partner("https://m.example", Token("t"), transport=httpx2.MockTransport(answering)) as own:
        with pytest.raises(Unavailable):
            await own.ask(schools=["16SW"])
    assert len(keys) == partner.ATTEMPTS
    assert len(set(keys)) == 1


# -- the contract -----------------------------------------------------------------------------------------------------

SHAPES: Final = {
    views.Consent: "Consent",
    views.Change: "ConsentChange",
    views.School: "SchoolName",
    views.Request: "RequestView",
    views.Name: "PartnerName",
    views.Scopes: "RequestedScopes",
    views.Difference: "Difference",
    views.Asked: "Asked",
    views.NotAsked: "NotAsked",
    gateway.EvaluationResponse: "EvaluationResponse",
    gateway.Context: "DecisionContext",
}


def kinds(schema: dict[str, Any], schemas: dict[str, Any]) -> set[str]:
    """What may stand there: the kinds of values, with lists by what is in them."""
    if "$ref" in schema:
        return kinds(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "anyOf" in schema:
        return {kind for each in schema["anyOf"] for kind in kinds(each, schemas)}
    named = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    within = f" of {sorted(kinds(schema['items'], schemas))}" if "items" in schema else ""
    return {f"{kind}{within}" for kind in named}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_the_clients_types_are_those_of_the_contract(shape: Any) -> None:
    schemas = CONTRACT["components"]["schemas"]
    published, own = schemas[SHAPES[shape]], shape.model_json_schema(mode="validation")
    assert set(own["properties"]) == set(published["properties"])
    assert set(own["required"]) <= set(published["required"]), "it waits for nothing that may be left out"
    for name, schema in own["properties"].items():
        told = kinds(published["properties"][name], schemas)
        assert told <= kinds(schema, own.get("$defs", {})), f"{name} may be what the client does not take"
