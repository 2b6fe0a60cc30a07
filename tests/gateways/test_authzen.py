"""OpenID AuthZEN 1.0 as gateways speak it: evaluation, and evaluations with their defaults and semantics."""

import json
import os
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.edge.problems import Refused
from api.gateways.authzen import EvaluationRequest, question_of, questions_of
from api.security.strict_json import Malformed, members_once
from models.decision.decision import Question
from tests.worlds.world import PURPOSE, Answer, World, question


async def _batch(world: World, **body: Any) -> Answer:
    return await world.call("POST", "/access/v1/evaluations", world.token("gateway"), body)


async def _decisions(world: World, **body: Any) -> list[bool]:
    answer = await _batch(world, **body)
    assert answer.status_code == 200, answer.text
    return [each["decision"] for each in answer.json()["evaluations"]]


def _about(place: str) -> dict[str, Any]:
    return {"resource": {"type": "leerling", "id": place}}


DEFAULTS = {"subject": {"type": "partner", "id": "rekenrijk"}, "action": {"name": "release"}}
GRANTED, DENIED = _about("16SW"), _about("17TX")


@pytest.mark.parametrize(
    ("semantic", "decisions"),
    [
        (None, [True, False, True, False]),
        ("execute_all", [True, False, True, False]),
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
    ],
)
async def test_a_batch_stops_where_its_semantic_says(world: World, semantic: str | None, decisions: list[bool]) -> None:
    await world.granted()
    options = {"options": {"evaluations_semantic": semantic}} if semantic else {}
    asked = [GRANTED, DENIED, GRANTED, DENIED]
    assert await _decisions(world, **DEFAULTS, **options, evaluations=asked) == decisions


async def test_a_batch_that_finds_nothing_to_stop_at_answers_all(world: World) -> None:
    await world.granted()
    for semantic, asked in (("deny_on_first_deny", GRANTED), ("permit_on_first_permit", DENIED)):
        options = {"evaluations_semantic": semantic}
        assert len(await _decisions(world, **DEFAULTS, options=options, evaluations=[asked] * 3)) == 3


async def test_an_evaluation_overrides_the_defaults_whole(world: World) -> None:
    await world.granted()
    default = {"type": "leerling", "id": "16SW", "properties": {"scopes": ["leerling.jaargroep"]}}
    items = [{}, GRANTED, {"context": {"purpose": "wettelijke-plicht"}, **GRANTED}]
    assert await _decisions(world, **DEFAULTS, resource=default, evaluations=items) == [False, True, False]


async def test_what_is_malformed_in_a_batch_is_a_deny_with_its_error(world: World) -> None:
    await world.granted()
    items = [GRANTED, {"resource": {"type": "leerling"}}, {"resource": 1}, {}]
    answers = (await _batch(world, **DEFAULTS, evaluations=items)).json()["evaluations"]
    assert [answer["decision"] for answer in answers] == [True, False, False, False]
    assert [answer["context"]["error"]["status"] for answer in answers[1:]] == [400] * 3


@pytest.mark.parametrize(
    "body", [{"options": {"evaluations_semantic": "any"}}, {"evaluations": {}}, {"evaluations": [1]}]
)
async def test_a_batch_that_is_malformed_as_a_whole_is_refused(world: World, body: dict[str, Any]) -> None:
    answer = await _batch(world, **{"evaluations": [GRANTED], **DEFAULTS, **body})
    assert answer.status_code == 400


async def test_members_that_authzen_does_not_name_are_ignored(world: World) -> None:
    await world.granted()
    asked = {**question(), "more": {"nested": [1]}}
    asked["subject"] = {**asked["subject"], "properties": {"department": "Sales"}, "x": None}
    answer = await world.call("POST", "/access/v1/evaluation", world.token("gateway"), asked)
    assert answer.json()["decision"] is True


def _validator(name: str) -> jsonschema_rs.Validator:
    folder = os.environ.get("AUTHZEN_SCHEMA_DIR")
    if folder is None:
        pytest.skip("AUTHZEN_SCHEMA_DIR is not set: the folder with AuthZEN's evaluation schemas")
    return jsonschema_rs.validator_for(json.loads((Path(folder) / name).read_text(encoding="utf-8")))


async def test_requests_and_answers_are_as_the_standards_schemas_have_them(world: World) -> None:
    requests = _validator("evaluation-request.schema.json")
    responses = _validator("evaluation-response.schema.json")
    await world.granted()
    for asked in (
        question(),
        question(place="17TX", purpose="onderwijs-en-begeleiding"),
        question(place="nowhere", fields=["achternaam"]),
        question(minRevision=1_000_000),
    ):
        requests.validate(asked)
        answer = await world.call("POST", "/access/v1/evaluation", world.token("gateway"), asked)
        responses.validate(answer.json())


class Members(list[tuple[str, Any]]):
    """An object's members, of which one may stand there twice."""


KNOWN = ("subject", "action", "resource", "context", "type", "id", "name", "properties", "scopes", "fields", "purpose")
NAMES_OF_MEMBERS = st.sampled_from([*KNOWN, "minRevision", "een:twee", 'aan"haal', "é"])
VALUES = st.recursive(
    st.none() | st.integers(0, 99) | st.text(alphabet='a:"\\é{}', max_size=6) | st.sampled_from(["partner", "16SW"]),
    lambda inner: st.lists(inner, max_size=2) | st.lists(st.tuples(NAMES_OF_MEMBERS, inner), max_size=3).map(Members),
    max_leaves=6,
)


def written(value: Any, space: str) -> str:
    if isinstance(value, Members):
        return "{" + ",".join(f"{json.dumps(name)}{space}:{space}{written(of, space)}" for name, of in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(written(each, space) for each in value) + "]"
    return json.dumps(value, ensure_ascii=False)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Evaluation requests of the right shape, some with members of any kind among them, some with a member twice."""

    def members(*needed: tuple[str, Any]) -> Members:
        more = draw(st.lists(st.tuples(NAMES_OF_MEMBERS, VALUES), max_size=1)) if draw(st.booleans()) else []
        again = draw(st.lists(st.sampled_from(needed), max_size=1)) if draw(st.booleans()) else []
        return Members(draw(st.permutations([*needed, *more, *again])))

    narrowing = members(("scopes", ["leerling.naam"]), ("fields", []))
    whole = members(
        ("subject", members(("type", "partner"), ("id", draw(st.sampled_from(["rekenrijk", "urn:rekenrijk"]))))),
        ("action", members(("name", "release"))),
        ("resource", members(("type", "leerling"), ("id", "16SW"), ("properties", narrowing))),
        ("context", members(("purpose", PURPOSE), ("minRevision", 3))),
    )
    return written(whole, draw(st.sampled_from(["", " "]))).encode()


@given(requests())
def test_a_member_that_stands_there_twice_is_refused_wherever_it_stands(body: bytes) -> None:
    try:
        json.loads(body, object_pairs_hook=members_once)
        msgspec.json.decode(body, type=EvaluationRequest)
    except (Malformed, msgspec.MsgspecError):
        with pytest.raises(Refused):
            question_of(body)
    else:
        assert question_of(body).client_id in ("rekenrijk", "urn:rekenrijk")


@st.composite
def batches(draw: st.DrawFn) -> bytes:
    """Batches of the right shape, some of which have a member twice, at the top or in one of the evaluations."""
    again = st.booleans()

    def members(*needed: tuple[str, Any]) -> Members:
        twice = [draw(st.sampled_from(needed))] if draw(st.integers(0, 5)) == 0 else []
        return Members(draw(st.permutations([*needed, *twice])))

    def item() -> Members:
        narrowing = members(("scopes", ["leerling.naam"]))
        resource = members(("type", "leerling"), ("id", "16SW"), ("properties", narrowing))
        given: list[tuple[str, Any]] = [("resource", resource)]
        if draw(again):
            given.append(("context", members(("purpose", PURPOSE))))
        if draw(again):
            given.append(("een:twee", draw(VALUES)))
        return members(*given)

    given: list[tuple[str, Any]] = [
        ("subject", members(("type", "partner"), ("id", "rekenrijk"))),
        ("action", members(("name", "release"))),
        ("evaluations", [item() for _ in range(draw(st.integers(1, 3)))]),
    ]
    if draw(again):
        given.append(("options", members(("evaluations_semantic", "execute_all"))))
    return written(members(*given), draw(st.sampled_from(["", " "]))).encode()


@given(batches())
def test_in_a_batch_too(body: bytes) -> None:
    try:
        json.loads(body, object_pairs_hook=members_once)
    except Malformed:
        with pytest.raises(Refused):
            questions_of(body)
    else:
        asked = questions_of(body)
        assert isinstance(asked, tuple)
        assert all(isinstance(question, Question) for question in asked[1])
