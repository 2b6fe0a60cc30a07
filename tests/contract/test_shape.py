"""How the two contracts are written: names, tags, shared components, examples, length."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import pytest

from api.contract.document import SchemaNameTaken, operations_of
from api.contract.examples import EXAMPLES
from api.contract.shared_parameters import ParameterNameTaken, share_parameters
from api.contract.text import as_text
from api.edu_v.contract import EXAMPLES as EDU_V_EXAMPLES
from api.edu_v.door import documented_door
from api.routes import documented_app
from tests.contract.dereferenced import Document, resolve

OPENAPI: Final = Path(__file__).parents[2] / "openapi"
PASCAL_CASE: Final = re.compile(r"([A-Z][a-z0-9]*)+")
MOST_LINES: Final = 15_000
#: A body of these is bytes, of which no example is shown.
BYTES: Final = ("application/pdf", "image/jpeg", "image/png")

CONTRACTS: Final[dict[str, Callable[[], Document]]] = {
    "privacy-manager": lambda: documented_app().openapi(),
    "edu-v-consent": lambda: documented_door().openapi(),
}
RECORDED: Final = {"privacy-manager": EXAMPLES, "edu-v-consent": EDU_V_EXAMPLES}


@pytest.fixture(scope="module", params=list(CONTRACTS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def contract(name: str) -> Document:
    return CONTRACTS[name]()


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref" and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for each in node:
            yield from _references(each)


# -- names ------------------------------------------------------------------------------------------------------------


def test_every_component_has_a_name_in_upper_camel_case_that_no_other_has(contract: Document) -> None:
    for kind, components in contract["components"].items():
        if kind == "securitySchemes":
            continue
        assert [name for name in components if not PASCAL_CASE.fullmatch(name)] == [], kind
        # A file system or a language that does not tell case makes one of two.
        assert [name for name, times in Counter(map(str.lower, components)).items() if times > 1] == [], kind


def test_no_name_of_a_module_is_published(contract: Document) -> None:
    assert re.findall(r"\b(?:api|models|exchange)(?:__|\.)\w+", as_text(contract)) == []


def test_no_schema_has_a_title_that_repeats_its_name(contract: Document) -> None:
    def titled(node: Any) -> Iterator[Any]:
        if isinstance(node, dict):
            if isinstance(node.get("title"), str):
                yield node
            yield from (found for key, each in node.items() if key != "example" for found in titled(each))
        elif isinstance(node, list):
            yield from (found for each in node for found in titled(each))

    without_examples = {**contract["components"], "examples": {}}
    assert list(titled([contract["paths"], without_examples])) == []


def test_two_schemas_with_one_name_are_no_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.contract.forward_auth.SCHEMAS", {"GrantView": {"type": "string"}})
    with pytest.raises(SchemaNameTaken, match="GrantView"):
        documented_app().openapi()


def test_two_shared_parameters_with_one_name_are_no_contract() -> None:
    def taking(most: int) -> Document:
        return {"parameters": [{"name": "limit", "in": "query", "schema": {"maximum": most}}]}

    paths = {f"/{most}/{again}": {"get": taking(most)} for most in (10, 20) for again in "ab"}
    with pytest.raises(ParameterNameTaken, match="Limit"):
        share_parameters({"paths": paths, "components": {}})


# -- what is shared ---------------------------------------------------------------------------------------------------


def test_every_refusal_is_a_shared_response(contract: Document) -> None:
    for path, method, operation in operations_of(contract):
        for status, response in operation["responses"].items():
            if status >= "400":
                assert list(response) == ["$ref"], (path, method, status)


def test_a_parameter_of_several_operations_stands_once(contract: Document) -> None:
    inline = Counter(
        json.dumps(parameter, sort_keys=True)
        for _, _, operation in operations_of(contract)
        for parameter in operation.get("parameters", ())
        if "$ref" not in parameter
    )
    assert [parameter for parameter, times in inline.items() if times > 1] == []


def test_every_reference_leads_to_something_and_every_component_is_referred_to(contract: Document) -> None:
    referred = set(_references(contract))
    for reference in referred:
        assert resolve(contract, reference) is not None
    for kind, components in contract["components"].items():
        if kind != "securitySchemes":
            assert {f"#/components/{kind}/{name}" for name in components} - referred == set(), kind


def test_the_published_file_is_short_enough_to_be_read() -> None:
    assert len((OPENAPI / "privacy-manager.json").read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_the_file_says_what_the_document_says(contract: Document) -> None:
    assert json.loads(as_text(contract)) == contract


# -- tags and the contract itself -------------------------------------------------------------------------------------


def test_every_operation_has_one_declared_tag(contract: Document) -> None:
    declared = {tag["name"] for tag in contract["tags"] if tag["description"]}
    assert len(declared) == len(contract["tags"])
    used = {path: operation["tags"] for path, _, operation in operations_of(contract)}
    assert {path: tags for path, tags in used.items() if len(tags) != 1} == {}
    assert {tag for (tag,) in used.values()} == declared


def test_the_contract_describes_itself_and_says_whom_to_ask(contract: Document) -> None:
    assert len(contract["info"]["description"]) > 100
    assert set(contract["info"]["contact"]) == {"name", "url", "email"}


# -- examples ---------------------------------------------------------------------------------------------------------


def _bodies(contract: Document) -> Iterator[tuple[str, str, Document]]:
    """Each body that goes in or comes out with success: its operation, its media type, and what is said of it."""
    for _, _, operation in operations_of(contract):
        contents = [operation.get("requestBody", {}).get("content", {})]
        contents += [each.get("content", {}) for status, each in operation["responses"].items() if status < "300"]
        for content in contents:
            for media_type, said in content.items():
                yield operation["operationId"], media_type, said


def _examples(contract: Document, said: Document) -> list[Any]:
    if "example" in said:
        return [said["example"]]
    return [resolve(contract, each["$ref"])["value"] for each in said.get("examples", {}).values()]


def test_every_operation_has_an_example(contract: Document) -> None:
    without = {
        (operation_id, media_type)
        for operation_id, media_type, said in _bodies(contract)
        if media_type not in BYTES and not _examples(contract, said)
    }
    assert without == set(), "record them: python -m tests.contract.record_examples"


def test_what_has_no_body_but_a_file_shows_its_headers(contract: Document) -> None:
    shown = {operation_id for operation_id, _, said in _bodies(contract) if _examples(contract, said)}
    for _, _, operation in operations_of(contract):
        if operation["operationId"] not in shown:
            headers = operation["responses"]["200"]["headers"].values()
            found = [resolve(contract, each["$ref"]) if "$ref" in each else each for each in headers]
            assert len([each for each in found if "example" in each]) >= 3, operation["operationId"]


def test_every_example_is_valid_against_its_schema(contract: Document) -> None:
    for operation_id, media_type, said in _bodies(contract):
        schema = {**said["schema"], "components": contract["components"]}
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        for example in _examples(contract, said):
            faults = [f"{each.instance_path}: {each.message}" for each in validator.iter_errors(example)]
            assert faults == [], (operation_id, media_type)


def test_every_example_of_a_shared_header_or_a_parameter_is_valid(contract: Document) -> None:
    shared = contract["components"]
    taken = [each for _, _, operation in operations_of(contract) for each in operation.get("parameters", ())]
    for each in [*shared["headers"].values(), *shared["parameters"].values(), *taken]:
        if "example" in each:
            assert jsonschema_rs.is_valid(each["schema"], each["example"]), each


def test_an_example_shows_every_member_that_there_is(contract: Document) -> None:
    for name, example in contract["components"]["examples"].items():
        schema = contract["components"]["schemas"].get(name, {})
        if "properties" in schema and not name.startswith(("Evaluation", "Search", "Subject", "Resource", "Action")):
            assert set(schema["properties"]) == set(example["value"]), name


def test_no_example_stops_the_api_design_rules(contract: Document) -> None:
    """Their rule on 400s takes members for operations by their names: `postcode`, or a null `deleteBy`."""

    def misread(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            yield from (name for name in node if re.search("put|post|patch", name))
            yield from (name for name, each in node.items() if each is None and re.search("get|delete", name))
        for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            yield from misread(each)

    found = {name: list(misread(each["value"])) for name, each in contract["components"]["examples"].items()}
    assert {name: members for name, members in found.items() if members} == {}


def test_a_list_has_an_item_in_its_example(contract: Document) -> None:
    for name, example in contract["components"]["examples"].items():
        if name.startswith(("PageOf", "ListOf")):
            assert example["value"] if name.startswith("ListOf") else example["value"]["items"], name


def test_no_example_is_kept_that_nothing_shows(name: str, contract: Document) -> None:
    operations = {operation["operationId"] for _, _, operation in operations_of(contract)}
    shown = {each.removeprefix("ListOf") for each in contract["components"]["examples"]}
    assert set(RECORDED[name]) - shown - operations == set()
