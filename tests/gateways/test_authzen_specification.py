"""The OpenID AuthZEN Authorization API 1.0, section by section, as this decision point keeps it.

Each test names its section. What stands there for whoever asks, or is left open, has no test; where we diverge is in
`docs/divergences.md`.
"""

import json
import os
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import pytest

from api.settings import Settings
from tests.worlds.world import Answer, World, question, world_on

ENDPOINTS: Final = {
    "access_evaluation_endpoint": "/access/v1/evaluation",
    "access_evaluations_endpoint": "/access/v1/evaluations",
    "search_subject_endpoint": "/access/v1/search/subject",
    "search_resource_endpoint": "/access/v1/search/resource",
    "search_action_endpoint": "/access/v1/search/action",
}
PATHS: Final = tuple(ENDPOINTS.values())
METADATA: Final = "/.well-known/authzen-configuration"
SUBJECT: Final = {"type": "partner", "id": "rekenrijk"}
RELEASE: Final = {"name": "release"}


def of(place: str, kind: str = "leerling") -> dict[str, Any]:
    return {"type": kind, "id": place}


def valid(path: str) -> dict[str, Any]:
    """A request that each endpoint takes."""
    asked = question()
    if path.endswith("/evaluations"):
        asked["evaluations"] = [{}]
    if path.endswith("/subject"):
        del asked["subject"]["id"]
    if path.endswith("/resource"):
        del asked["resource"]["id"]
    if path.endswith("/action"):
        del asked["action"]
    return asked


async def send(world: World, path: str, body: Any, **headers: str) -> Answer:
    return await world.call("POST", path, world.token("gateway"), body, **headers)


async def batch(world: World, **body: Any) -> list[dict[str, Any]]:
    answer = await send(world, "/access/v1/evaluations", body)
    assert answer.status_code == 200, answer.text
    evaluations: list[dict[str, Any]] = answer.json()["evaluations"]
    return evaluations


def schema(name: str) -> jsonschema_rs.Validator:
    folder = os.environ.get("AUTHZEN_SCHEMA_DIR")
    if folder is None:
        pytest.skip("AUTHZEN_SCHEMA_DIR is not set: the folder with AuthZEN's evaluation schemas")
    return jsonschema_rs.validator_for(json.loads((Path(folder) / name).read_text(encoding="utf-8")))


# -- 5 to 7: the information model, evaluation and evaluations --------------------------------------------------------


def without(body: dict[str, Any], *names: str) -> dict[str, Any]:
    """The request without one member, named from the top down."""
    cut: dict[str, Any] = json.loads(json.dumps(body))
    holder = cut
    for name in names[:-1]:
        holder = holder[name]
    del holder[names[-1]]
    return cut


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_required_of_an_entity_is_required(world: World, path: str) -> None:
    """5.1 to 5.3, 6.1, 8.4.1, 8.5.1, 8.6.1; 10.1.1: a required attribute that is omitted is a Bad Request."""
    body = valid(path)
    for entity in ("subject", "action", "resource"):
        for name in ("type", "id", "name"):
            if name in body.get(entity, {}):
                answer = await send(world, path, without(body, entity, name))
                assert_refused(path, answer, (entity, name))
        if entity in body:
            assert_refused(path, await send(world, path, without(body, entity)), (entity,))


@pytest.mark.parametrize("path", PATHS)
async def test_an_entity_of_another_type_is_refused(world: World, path: str) -> None:
    """5.1 to 5.4: strings are strings, and properties and context are objects."""
    body = valid(path)
    for entity in ("subject", "action", "resource"):
        if entity not in body:
            continue
        for name, value in {"type": 1, "id": ["x"], "name": None, "properties": "x"}.items():
            if name == "properties" or name in body[entity]:
                assert_refused(path, await send(world, path, {**body, entity: {**body[entity], name: value}}), entity)
        assert_refused(path, await send(world, path, {**body, entity: "x"}), entity)
    assert_refused(path, await send(world, path, {**body, "context": []}), "context")


def assert_refused(path: str, answer: Answer, what: Any) -> None:
    """As a whole; in a batch, in the place of the evaluation that it concerns (7.2.1)."""
    if path.endswith("/evaluations"):
        (denied,) = answer.json()["evaluations"]
        assert (denied["decision"], denied["context"]["error"]["status"]) == (False, 400), what
    else:
        assert answer.status_code == 400, what


async def test_a_decision_is_a_boolean_with_a_context(world: World) -> None:
    """5.5 and 6.2: `decision`, and a `context` that is an object."""
    await world.granted()
    for place, permitted in (("16SW", True), ("17TX", False)):
        answer = (await send(world, "/access/v1/evaluation", question(place=place))).json()
        assert answer["decision"] is permitted
        assert isinstance(answer["context"], dict)


async def test_requests_and_answers_fit_the_standards_schemas(world: World) -> None:
    """6.1 and 6.2, by the schemas that the standard publishes."""
    requests, responses = schema("evaluation-request.schema.json"), schema("evaluation-response.schema.json")
    await world.granted()
    for asked in (question(), question(place="x"), question(scopes=["leerling.naam"], purpose="x", minRevision=10**6)):
        requests.validate(asked)
        responses.validate((await send(world, "/access/v1/evaluation", asked)).json())
        for answer in await batch(world, evaluations=[asked, {}]):
            responses.validate(answer)
    assert not requests.is_valid(valid("/access/v1/search/subject"))


async def test_what_is_found_makes_a_request_that_fits_the_standards_schema(world: World) -> None:
    """8.1: any result, used in an evaluation, results in `decision: true`."""
    requests = schema("evaluation-request.schema.json")
    await world.granted()
    for searched in ("subject", "resource", "action"):
        path = f"/access/v1/search/{searched}"
        results = (await send(world, path, valid(path))).json()["results"]
        assert results
        for result in results:
            asked = {**question(), searched: result}
            requests.validate(asked)
            assert (await send(world, "/access/v1/evaluation", asked)).json()["decision"] is True


@pytest.mark.parametrize("evaluations", [None, []])
async def test_a_batch_without_evaluations_is_a_single_evaluation(world: World, evaluations: Any) -> None:
    """7.1: without `evaluations`, or with none in it, it behaves as Access Evaluation."""
    await world.granted()
    body = question() if evaluations is None else {**question(), "evaluations": evaluations}
    answer = (await send(world, "/access/v1/evaluations", body)).json()
    assert answer["decision"] is True
    assert "evaluations" not in answer


async def test_each_default_is_overridden_whole(world: World) -> None:
    """7.1.1: a key of an evaluation overrides the one at the top; nothing below it is merged."""
    await world.granted()
    narrowed = {**of("16SW"), "properties": {"scopes": ["docent.naam"]}}
    defaults = {"subject": SUBJECT, "action": RELEASE, "resource": narrowed, "context": {"purpose": "geen"}}
    items: list[dict[str, Any]] = [
        {},
        {"resource": of("16SW")},
        {"resource": of("16SW"), "context": {}},
        {"resource": of("16SW"), "context": {}, "subject": {"type": "partner", "id": "nobody"}},
        {"resource": of("16SW"), "context": {}, "action": {"name": "delete"}},
        {"resource": {"id": "16SW"}, "context": {}},
    ]
    answers = await batch(world, **defaults, evaluations=items)
    assert [answer["decision"] for answer in answers] == [False, False, True, False, False, False]
    assert answers[-1]["context"]["error"]["status"] == 400, "a type is not taken from the default"


@pytest.mark.parametrize(
    ("semantic", "decisions"),
    [
        (None, [False, True, False, True]),
        ("execute_all", [False, True, False, True]),
        ("deny_on_first_deny", [False]),
        ("permit_on_first_permit", [False, True]),
    ],
)
@pytest.mark.parametrize("failing", [of("17TX"), {"type": "leerling"}], ids=["a deny", "an error"])
async def test_evaluations_stop_where_their_semantic_says(
    world: World, semantic: str | None, decisions: list[bool], failing: dict[str, Any]
) -> None:
    """7.1.2.1: all of them by default; the first deny or failure; the first permit. In the order of the request."""
    await world.granted()
    asked = [{"resource": each} for each in (failing, of("16SW"), failing, of("16SW01"))]
    options = {"options": {"evaluations_semantic": semantic, "another_option": "value"}} if semantic else {}
    answers = await batch(world, subject=SUBJECT, action=RELEASE, evaluations=asked, **options)
    assert [answer["decision"] for answer in answers] == decisions


async def test_an_error_in_one_evaluation_is_told_in_its_place(world: World) -> None:
    """7.2 and 7.2.1: a deny with `context.error` {status, message}; no `decision` beside `evaluations`."""
    await world.granted()
    items = [{"resource": of("16SW")}, {"resource": {"type": "leerling"}}, {"resource": of("16SW")}]
    body = {"subject": SUBJECT, "action": RELEASE, "evaluations": items}
    answer = await send(world, "/access/v1/evaluations", body)
    assert set(answer.json()) == {"evaluations"}
    first, second, third = answer.json()["evaluations"]
    assert (first["decision"], second["decision"], third["decision"]) == (True, False, True)
    assert second["context"]["error"]["status"] == 400
    assert isinstance(second["context"]["error"]["message"], str)


# -- 8: search --------------------------------------------------------------------------------------------------------


async def test_a_search_finds_only_what_is_searched(world: World) -> None:
    """8.3: `results` has only entities of the type that is searched; `page` comes first."""
    await world.granted()
    found = {}
    for searched in ("subject", "resource", "action"):
        path = f"/access/v1/search/{searched}"
        answer = await send(world, path, valid(path))
        assert next(iter(answer.json())) == "page"
        assert isinstance(answer.json()["context"], dict)
        found[searched] = answer.json()["results"]
    assert found["subject"] == [SUBJECT]
    assert found["resource"] == [of("16SW"), of("16SW00"), of("16SW01")]
    assert [each["name"] for each in found["action"]] == ["release"]


@pytest.mark.parametrize("searched", ["subject", "resource"])
async def test_the_id_of_what_is_searched_is_ignored(world: World, searched: str) -> None:
    """8.4.1 and 8.5.1: the id SHOULD be omitted, and if present MUST be ignored."""
    await world.granted()
    path = f"/access/v1/search/{searched}"
    plain = (await send(world, path, valid(path))).json()
    assert plain["results"]
    for ignored in ("nobody", "17TX", "", 7, None, {"x": 1}):
        body = valid(path)
        body[searched]["id"] = ignored
        assert (await send(world, path, body)).json() == plain


async def test_an_action_search_takes_no_action_into_account(world: World) -> None:
    """8.6.1: the action is omitted; as a member that is not named there, it is ignored."""
    await world.granted()
    path = "/access/v1/search/action"
    plain = (await send(world, path, valid(path))).json()
    assert (await send(world, path, {**valid(path), "action": {"name": "delete"}})).json() == plain


async def test_pages_follow_the_standards_example(world: World) -> None:
    """8.2.1 to 8.2.3: limit 2 of 3; then the token alone, as in the example, and the empty `next_token` ends it."""
    await world.granted()
    path = "/access/v1/search/resource"
    first = (await send(world, path, {**valid(path), "page": {"limit": 2}})).json()
    assert first["page"]["count"] == len(first["results"]) == 2
    assert isinstance(first["page"]["next_token"], str)
    assert first["page"]["next_token"]
    second = (await send(world, path, {**valid(path), "page": {"token": first["page"]["next_token"]}})).json()
    assert second["page"] == {"next_token": "", "count": 1}
    assert [each["id"] for each in first["results"] + second["results"]] == ["16SW", "16SW00", "16SW01"]


async def test_what_changes_between_pages_is_an_error(world: World) -> None:
    """8.2: with a token all entities and the limit MUST be identical; an error if they are not."""
    await world.granted()
    path = "/access/v1/search/resource"
    body = {**valid(path), "page": {"limit": 1}}
    token = (await send(world, path, body)).json()["page"]["next_token"]
    for changed in (
        {"subject": {"type": "partner", "id": "taalhuis"}},
        {"action": {"name": "delete"}},
        {"resource": {"type": "docent"}},
        {"context": {"time": "2026-09-01T08:00:00Z"}},
        {"page": {"limit": 3, "token": token}},
    ):
        answer = await send(world, path, {**body, "page": {"limit": 1, "token": token}, **changed})
        assert answer.status_code == 400, changed


# -- 9: metadata ------------------------------------------------------------------------------------------------------


async def test_the_metadata_names_the_decision_point_and_its_endpoints(world: World) -> None:
    """9.1.1 and 9.2.2: 200 with application/json, without a token; the identifier is what it was asked at (9.2.3)."""
    answer = await world.call("GET", METADATA, None, X_Request_ID="vraag-7")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.headers["X-Request-ID"] == "vraag-7"
    base = "http://test"
    assert answer.json() == {"policy_decision_point": base, **{name: base + path for name, path in ENDPOINTS.items()}}


async def test_metadata_without_a_value_is_left_out(world: World) -> None:
    """9.1.2 and 9.2.2: no capability is registered, and there is no signature."""
    assert not {"capabilities", "signed_metadata"} & set((await world.call("GET", METADATA, None)).json())


async def test_each_endpoint_of_the_metadata_answers(world: World) -> None:
    """9.1.1 and 10.1: the URL of a request is the one that the metadata names."""
    metadata = (await world.call("GET", METADATA, None)).json()
    for name, path in ENDPOINTS.items():
        assert (await send(world, metadata[name], valid(path))).status_code == 200


async def test_metadata_is_read_with_get_alone(world: World) -> None:
    """9.2.1: an HTTP GET request."""
    for method in ("POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"):
        answer = await world.call(method, METADATA, None)
        assert (method, answer.status_code, answer.headers["Allow"]) == (method, 405, "GET")


async def test_the_public_url_of_the_settings_goes_before_how_it_was_reached(store_url: str, tmp_path: Path) -> None:
    """9.1.1: the identifier is an https URL; 11.9: it may be cached."""
    base = "https://toestemming.example:8443"
    async with world_on(store_url, tmp_path, public_url=base) as world:
        answer = await world.call("GET", METADATA, None, Host="elders.example")
    assert answer.json() == {"policy_decision_point": base, **{name: base + path for name, path in ENDPOINTS.items()}}
    assert answer.headers["Cache-Control"] == "max-age=3600"


@pytest.mark.parametrize("host", ["pdp.example.com", "127.0.0.1:8000", "[::1]:8000", "PDP.Example.Com", "localhost"])
async def test_without_it_the_host_of_the_request_is_named(world: World, host: str) -> None:
    """9.2.3: identical to the identifier that the well-known URI was made of. Not cached: others reach it elsewhere."""
    answer = await world.call("GET", METADATA, None, Host=host)
    assert answer.json()["policy_decision_point"] == f"http://{host.lower()}"
    assert answer.headers["Cache-Control"] == "no-store"


NO_HOSTS: Final = (
    *("", " ", "a/b", "a@b", "a?b", "a#b", "a b", "a\\b", "a,b", "a%2fb", "-a", "a..", "[::1", "é.example"),
    *("a:b", "a:0", "a:123456", "a:80:80", "x" * 300, '"><script>'),
)


@pytest.mark.parametrize("host", NO_HOSTS)
async def test_what_is_no_host_is_refused(world: World, host: str) -> None:
    """9.1.1: nothing that a caller makes up gets into the URLs."""
    headers = {"Host": host.encode()}
    answer = await world.client.get(METADATA, headers=headers)  # type: ignore[arg-type]
    assert (host, answer.status_code) == (host, 400)


@pytest.mark.parametrize(
    "url", ["http://a.example", "https://", "https://a.example/", "https://a.example/x", "https://a.example?x",
            "https://a.example#x", "https://u:p@a.example", "a.example", "https://a.example:0", "https://A.example"]
)  # fmt: skip
def test_a_public_url_that_is_no_identifier_is_refused_at_the_start(url: str) -> None:
    """9.1.1: https, without a query or fragment; here without a path too, where the well-known URI would be another."""
    with pytest.raises(ValueError, match="public_url"):
        Settings(public_url=url)


# -- 10: transport ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_sent_with_post_is_answered_with_json(world: World, path: str) -> None:
    """10.1: POST; 200 with application/json, whose body is an object. Any other method is refused."""
    answer = await send(world, path, valid(path))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert isinstance(answer.json(), dict)
    for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"):
        refused = await world.call(method, path, world.token("gateway"))
        assert (method, refused.status_code, refused.headers["Allow"]) == (method, 405, "POST")


@pytest.mark.parametrize("path", PATHS)
async def test_the_top_of_a_body_is_an_object(world: World, path: str) -> None:
    """10.1.1: the top-level element MUST be a JSON object."""
    for body in ([], "x", 1, True, None, [valid(path)]):
        assert (await send(world, path, body)).status_code == 400


@pytest.mark.parametrize("path", PATHS)
async def test_unknown_fields_are_ignored_wherever_they_stand(world: World, path: str) -> None:
    """10.1.1: receivers MUST ignore unknown fields, and assume no order of members."""
    await world.granted()
    plain = (await send(world, path, valid(path))).json()
    more = {name: {**value, "more": [1]} if isinstance(value, dict) else value for name, value in valid(path).items()}
    reordered = dict(reversed(list({**more, "more": {"a": None}, "context": {"more": "x"}}.items())))
    assert (await send(world, path, reordered)).json() == plain


@pytest.mark.empty_world
@pytest.mark.parametrize("path", PATHS)
async def test_errors_have_the_standards_codes(world: World, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """10.1.2: 400, 401, 403 and 500, each with a message; 11.3: with WWW-Authenticate."""
    nobody = await world.call("POST", path, None, valid(path))
    assert nobody.status_code == 401
    assert nobody.headers["WWW-Authenticate"].startswith("Bearer")
    others = (world.token("school", school="16SW"), world.token("partner", client_id="x"), world.token("operator"))
    for token in others:
        assert (await world.call("POST", path, token, valid(path))).status_code == 403
    broken = await world.client.post(path, content=b"{", headers={"Authorization": f"Bearer {world.token('gateway')}"})
    assert broken.status_code == 400
    monkeypatch.setattr("api.gateways.evaluation.decide", None)
    monkeypatch.setattr("api.gateways.search_routes.decide", None)
    await world.register()
    await world.granted()
    failed = await send(world, path, valid(path))
    assert (failed.status_code, failed.json()["decision"]) == (500, False)
    for answer in (nobody, broken, failed):
        assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize("path", [*PATHS, METADATA])
async def test_the_id_of_a_request_is_the_id_of_its_answer(world: World, path: str) -> None:
    """10.1.3: the same `X-Request-ID`, also on an error; without one the request does not fail."""
    method, body = ("GET", None) if path == METADATA else ("POST", valid(path))
    token = world.token("gateway")
    given = "bfe9eb29-ab87-4ca3-be83-a1d5d8305716"
    for by, sent, more in ((method, body, 200), ("PUT", {}, 405)):
        answer = await world.call(by, path, token, sent, X_Request_ID=given)
        assert (answer.status_code, answer.headers["X-Request-ID"]) == (more, given)
    assert (await world.call(method, path, token, body)).headers["X-Request-ID"]


# -- 11: security -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
async def test_payloads_are_bounded_and_mean_one_thing(world: World, path: str) -> None:
    """11.5: members are unique after their escapes are read, and text is UTF-8; 11.7: size and nesting are bounded."""
    headers = {"Authorization": f"Bearer {world.token('gateway')}", "Content-Type": "application/json"}
    text = json.dumps(valid(path))
    for what, content, status in (
        ("twice", text[:-1] + ', "x": 1, "x": 1}', 400),
        ("twice, escaped", text[:-1] + ', "subjec\\u0074": {"type": "partner", "id": "x"}}', 400),
        ("not UTF-8", text[:-1].encode() + b', "x": "\xff"}', 400),
        ("a lone surrogate", text.replace("leerling", "\\ud800"), 400),
        ("nested", text[:-1] + ', "x": ' + "[" * 20_000 + "]" * 20_000 + "}", 400),
        ("large", text + " " * 2_000_000, 413),
    ):
        answer = await world.client.post(path, content=content, headers=headers)
        assert (what, answer.status_code) == (what, status)
