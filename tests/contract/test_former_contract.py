"""The contract says what it said before it was written in shared components: the record of that change.

`*.before.json.xz` are the contracts as they were published then. With every `$ref` replaced by what it stands for they
equal those of now, but for what `DELIBERATE` names; of a sentence it counts that there is one, as their words were
rewritten in the same change. A later change of the contract belongs in that list, or ends this
record.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from api.contract.document import METHODS
from api.edu_v.door import documented_door
from api.routes import documented_app
from tests.contract.dereferenced import Document, dereferenced, recorded

SENTENCE: Final = "..."
HERE: Final = Path(__file__).parent


def _titles(name: str, value: Any, _: tuple[str, ...]) -> bool:
    return name == "title" and isinstance(value, str)


def _examples(name: str, value: Any, path: tuple[str, ...]) -> bool:
    if path and path[-1] == "properties":
        return False
    # The examples of a schema, a list, were there; those of a body, by name, were not.
    return name == "example" or (name == "examples" and isinstance(value, dict))


#: Deliberate differences, each with the members that are left out on both sides for it.
DELIBERATE: Final[dict[str, Callable[[str, Any, tuple[str, ...]], bool]]] = {
    "titles that only repeat a name, some of them with the module of a class in it, are gone": _titles,
    "every operation has one declared tag": lambda name, _, path: name == "tags" and len(path) in (0, 3),
    "bodies, headers and parameters have examples": _examples,
    "the contract describes itself and names a contact": lambda name, _, path: (
        path == ("info",) and name in ("description", "contact")
    ),
    "who asks for too much at once is told so, everywhere": lambda name, _, path: (
        name == "429" and path[-1:] == ("responses",)
    ),
    "schemas, responses, headers and parameters are components": lambda name, _, path: (
        path == ("components",) and name != "securitySchemes"
    ),
}


#: Documented wrongly before: the subject of a part of a letter had the name, and so the schema, of AuthZEN's subject.
CORRECTED: Final = {("PartView", "subject"): "LetterSubject"}


def _corrected(before: Document, now: Document) -> Document:
    for (schema, member), named in CORRECTED.items():
        if schema in before["components"]["schemas"]:
            right = now["components"]["schemas"][named]
            before["components"]["schemas"][schema]["properties"][member] = right
    return before


def _compared(node: Any, path: tuple[str, ...] = ()) -> Any:
    if isinstance(node, list):
        return [_compared(each, (*path, "[]")) for each in node]
    if not isinstance(node, dict):
        return SENTENCE if isinstance(node, str) and path[-1] in ("summary", "description") else node
    return {
        name: _compared(value, (*path, name))
        for name, value in node.items()
        if not any(differs(name, value, path) for differs in DELIBERATE.values())
    }


def _ordered(document: Document) -> Document:
    """With the parameters of each operation, whose order means nothing, in one order."""
    for item in document["paths"].values():
        for method in METHODS:
            if "parameters" in item.get(method, {}):
                item[method]["parameters"].sort(key=lambda each: (each["in"], each["name"]))
    return document


CONTRACTS: Final[dict[str, Callable[[], Document]]] = {
    "privacy-manager": lambda: documented_app().openapi(),
    "edu-v-consent": lambda: documented_door().openapi(),
}


@pytest.mark.parametrize("name", list(CONTRACTS))
def test_dereferenced_the_contract_says_what_it_said(name: str) -> None:
    before, now = recorded(HERE / f"{name}.before.json.xz"), CONTRACTS[name]()
    before = _corrected(before, now)
    was, says = (_compared(_ordered(dereferenced(document))) for document in (before, now))
    assert set(was["paths"]) == set(says["paths"])
    for path, item in was["paths"].items():
        assert says["paths"][path] == item, path
    assert was == says


def test_the_names_that_were_changed_are_those_that_were_no_names() -> None:
    """A client that was generated before finds its schemas by the names that it knows."""
    before = recorded(HERE / "privacy-manager.before.json.xz")["components"]["schemas"]
    now = documented_app().openapi()["components"]["schemas"]
    gone = {name for name in before if name not in now}
    assert {name for name in gone if not re.search(r"__|-", name)} == set()
    assert all(re.fullmatch(r"api__\w+__\w+|Because-(Input|Output)", name) for name in gone)
