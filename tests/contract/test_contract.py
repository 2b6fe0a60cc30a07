"""What is published is what is served: the document, its file, the headers around every answer, the closed list."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.contract.route_document import document_of
from api.contract.text import as_text
from api.edge import problems
from api.edge.problems import ALL, MEDIA_TYPE, REFUSALS, TYPE_BASE, Problem
from api.edge.request_context import API_VERSION
from api.edu_v.door import documented_door
from api.routes import documented_app
from models.vocabulary.refusals import ConsentError
from tests.contract.dereferenced import resolve
from tests.worlds.world import Answer, World, question

PUBLISHED: Final = Path(__file__).parents[2] / "openapi" / "privacy-manager.json"
TRACE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


# -- the document -----------------------------------------------------------------------------------------------------


def test_the_file_is_the_contract_that_the_routes_make() -> None:
    assert PUBLISHED.read_text(encoding="utf-8") == as_text(documented_app().openapi()), "run `make openapi`"


@pytest.mark.parametrize("documented", [documented_app, documented_door])
def test_the_document_of_the_routes_is_that_of_fastapi(documented: Callable[[], FastAPI]) -> None:
    app, tags = documented(), [{"name": "schools"}]
    theirs = get_openapi(title="Privacy manager", version="1", routes=app.routes, tags=tags)
    info = {"title": "Privacy manager", "version": "1"}
    ours = document_of(app.routes, openapi=app.openapi_version, info=info, tags=tags)
    assert theirs["paths"]
    assert as_text(ours) == as_text(theirs)


async def test_what_is_served_is_the_published_contract(world: World) -> None:
    served = await world.call("GET", "/openapi.json", None)
    assert served.json() == json.loads(PUBLISHED.read_text(encoding="utf-8"))
    assert served.headers["Content-Type"] == "application/json"


def test_the_contract_has_the_version_that_every_answer_names() -> None:
    assert documented_app().openapi()["info"]["version"] == API_VERSION


def test_every_answer_of_the_contract_names_its_headers() -> None:
    document = documented_app().openapi()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for status, response in operation["responses"].items():
                said = resolve(document, response["$ref"]) if "$ref" in response else response
                assert {"API-Version", "X-Request-ID"} <= set(said["headers"]), (path, method, status)


def test_no_answer_of_the_contract_is_a_422() -> None:
    document = documented_app().openapi()
    assert not [path for path, item in document["paths"].items() for one in item.values() if "422" in one["responses"]]
    assert "ValidationError" not in json.dumps(document)


def _lint(document: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """What Spectral finds in a contract by the API design rules."""
    rules = os.environ.get("ADR_RULESET_DIR")
    if rules is None:
        pytest.skip("ADR_RULESET_DIR is not set: the folder with nl-gov-adr-ruleset.yaml")
    spectral = os.environ.get("SPECTRAL_BIN") or shutil.which("spectral")
    if spectral is None or shutil.which(spectral) is None:
        pytest.fail("Spectral is missing: `npm install -g @stoplight/spectral-cli`, or name it in SPECTRAL_BIN")
    linted = folder / "openapi.json"
    linted.write_text(as_text(document), encoding="utf-8")
    ruleset = Path(rules) / "nl-gov-adr-ruleset.yaml"
    command = [spectral, "lint", "--format", "json", "--quiet", "--ruleset", str(ruleset), str(linted)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.stdout.lstrip().startswith("["), ran.stdout + ran.stderr
    found: list[dict[str, Any]] = json.loads(ran.stdout)
    return found


def test_the_api_design_rules_find_nothing_in_the_contract(tmp_path: Path) -> None:
    found = _lint(documented_app().openapi(), tmp_path)
    assert found == [], json.dumps(found, indent=2)


def test_the_api_design_rules_find_nothing_in_the_edu_v_contract_but_its_form_of_errors(tmp_path: Path) -> None:
    """The Edu-V Consent API prescribes error bodies that are no problem documents."""
    found = _lint(documented_door().openapi(), tmp_path)
    assert {each["code"] for each in found} == {"nlgov:use-problem-schema"}, json.dumps(found, indent=2)


# -- around every answer ----------------------------------------------------------------------------------------------

#: Of each door, an answer and its refusals: who asks, method, path, body, status.
ANSWERS: Final[dict[str, tuple[str | None, str, str, Any, int]]] = {
    "alive": (None, "GET", "/health/live", None, 200),
    "ready": (None, "GET", "/health/ready", None, 200),
    "the contract": (None, "GET", "/openapi.json", None, 200),
    "a school": ("school", "GET", "/v1/schools/16SW", None, 200),
    "a list": ("partner", "GET", "/v1/consents", None, 200),
    "a write": ("operator", "POST", "/v1/partners", {"kvkNumber": "90000009", "name": "X"}, 201),
    "no token": (None, "GET", "/v1/schools/16SW", None, 401),
    "another role": ("gateway", "GET", "/v1/schools/16SW", None, 403),
    "another's": ("school", "GET", "/v1/schools/17TX", None, 404),
    "malformed": ("school", "GET", "/v1/schools/16sw", None, 400),
    "not JSON": ("operator", "POST", "/v1/partners", "x", 400),
    "too large": ("operator", "POST", "/v1/partners", "x" * 2_000_000, 413),
    "a long address": (None, "GET", "/" + "x" * 9_000, None, 400),
    "no such path": (None, "GET", "/nothing", None, 404),
    "no such path of ours": ("school", "GET", "/v1/nothing", None, 404),
    "no such path, and no token": (None, "GET", "/v1/nothing", None, 401),
    "a slash too many": ("school", "GET", "/v1/schools/16SW/", None, 404),
    "two slashes": ("school", "GET", "/v1//schools/16SW", None, 404),
    "no such method": ("school", "DELETE", "/v1/schools/16SW", None, 405),
    "no such method either": ("school", "PUT", "/v1/schools/16SW/grants", {}, 405),
    "a method that nobody knows": (None, "BREW", "/health/live", None, 405),
    "options": (None, "OPTIONS", "/health/live", None, 405),
    "the hook": ("gateway", "POST", "/access/v1/evaluation", question(), 200),
    "the hook, no token": (None, "POST", "/access/v1/evaluation", {}, 401),
    "the hook, another role": ("school", "POST", "/access/v1/evaluation", {}, 403),
    "the hook, malformed": ("gateway", "POST", "/access/v1/evaluation", {}, 400),
    "the hook, too large": ("gateway", "POST", "/access/v1/evaluation", "x" * 100_000, 413),
    "the batch, too large": ("gateway", "POST", "/access/v1/evaluations", "x" * 2_000_000, 413),
    "the hook, with GET": ("gateway", "GET", "/access/v1/evaluation", None, 405),
    "the hook, with a slash": ("gateway", "POST", "/access/v1/evaluation/", {}, 404),
    "a search": ("gateway", "POST", "/access/v1/search/subject", {**question(), "page": {}}, 200),
    "a search, malformed": ("gateway", "POST", "/access/v1/search/resource", {}, 400),
    "a search, another role": ("school", "POST", "/access/v1/search/action", {}, 403),
    "a search, too large": ("gateway", "POST", "/access/v1/search/action", "x" * 100_000, 413),
    "a search, with GET": ("gateway", "GET", "/access/v1/search/action", None, 405),
    "metadata": (None, "GET", "/.well-known/authzen-configuration", None, 200),
    "metadata, with POST": (None, "POST", "/.well-known/authzen-configuration", {}, 405),
    "no such hook": ("gateway", "POST", "/access/v1/nothing", {}, 404),
}


async def _answer(world: World, case: str, **headers: str) -> Answer:
    role, method, path, body, _ = ANSWERS[case]
    token = None
    if role is not None:
        school, client_id = ("16SW" if role == "school" else None), ("rekenrijk" if role == "partner" else None)
        token = world.token(role, school=school, client_id=client_id)
    return await world.call(method, path, token, body, **headers)


async def test_every_answer_has_the_version_and_takes_the_ids_of_its_request_along(world: World) -> None:
    for case, (*_, status) in ANSWERS.items():
        answer = await _answer(world, case, X_Request_ID="trace-me/16SW", traceparent=TRACE)
        assert (case, answer.status_code) == (case, status)
        assert answer.headers["API-Version"] == API_VERSION
        assert answer.headers["X-Request-ID"] == "trace-me/16SW"
        assert answer.headers["traceparent"] == TRACE


async def test_a_request_without_a_usable_id_gets_one_of_its_own(world: World) -> None:
    for given in (None, "", "x" * 129, "a b", "caf\u00e9", "\u202e", "a\x7f"):
        seen = set()
        for case in ("alive", "no token", "the hook", "no such path"):
            headers: Any = {} if given is None else {"X_Request_ID": given.encode("utf-8")}
            answer = await _answer(world, case, **headers)
            assert UUID.fullmatch(answer.headers["X-Request-ID"])
            seen.add(answer.headers["X-Request-ID"])
        assert len(seen) == 4


async def test_a_traceparent_that_is_none_is_not_sent_on(world: World) -> None:
    for given in ("garbage", TRACE.upper(), TRACE + "-x", "00-" + "0" * 60):
        assert "traceparent" not in (await _answer(world, "alive", traceparent=given)).headers
    assert "traceparent" not in (await _answer(world, "alive")).headers


async def test_every_refusal_is_a_problem_document_of_the_closed_list(world: World) -> None:
    known = {TYPE_BASE + problem.slug: problem for problem in ALL}
    for case, (*_, status) in ANSWERS.items():
        if status < 400:
            continue
        answer = await _answer(world, case)
        problem = answer.json()
        assert (case, answer.headers["Content-Type"]) == (case, MEDIA_TYPE)
        listed = known[problem["type"]]
        assert (problem["status"], problem["title"]) == (status, listed.title)
        assert listed.status == status
        assert problem["detail"]


async def test_another_method_is_told_which_there_are(world: World) -> None:
    for case, allowed in {
        "no such method": "GET",
        "no such method either": "POST",
        "the hook, with GET": "POST",
        "a search, with GET": "POST",
        "metadata, with POST": "GET",
    }.items():
        assert allowed in (await _answer(world, case)).headers["Allow"]


# -- the closed list --------------------------------------------------------------------------------------------------


def _refusals(kind: type[ConsentError] = ConsentError) -> Iterator[type[ConsentError]]:
    for refusal in kind.__subclasses__():
        yield refusal
        yield from _refusals(refusal)


def test_every_refusal_of_the_rules_has_its_problem() -> None:
    assert set(_refusals()) == set(REFUSALS)
    assert {refusal.slug: refusal for refusal in REFUSALS} == {each.slug: kind for kind, each in REFUSALS.items()}


def test_every_problem_that_the_service_can_send_is_in_the_closed_list() -> None:
    named = {value for value in vars(problems).values() if isinstance(value, Problem)} | set(REFUSALS.values())
    listed = documented_app().openapi()["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
    assert {TYPE_BASE + problem.slug for problem in named} == set(listed)
    assert len(listed) == len({problem.slug for problem in named}) == len(set(ALL))


def test_a_problem_is_made_nowhere_but_in_its_table() -> None:
    api = Path(problems.__file__).parents[1]
    makers = [path.name for path in api.rglob("*.py") if re.search(r"\bProblem\(", path.read_text(encoding="utf-8"))]
    assert makers == ["problems.py"]
