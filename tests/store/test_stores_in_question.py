"""Which tests must run on both stores, found in their source.

A store is in question where a test gets to it past the service: it, or what it calls in its module, or a fixture that
it asks for, uses a name imported from a driver (`sqlalchemy`, `asyncpg`, `aiosqlite`, `sqlite3`), from `api/store/` or
from `api/snapshot/`, or looks which of the stores it has. All tests in the rooms of the store and the snapshot count.
What a test does through the service alone is on PostgreSQL in `make test`, and on SQLite too for every operation
(`promises/test_every_route.py`) and every case of a decision (`promises/test_decision_cases.py`).
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Final

from tests.conftest import OF_A_STORE

TESTS: Final = Path(__file__).resolve().parent.parent
ROOMS: Final = {"store", "snapshot"}
DRIVERS: Final = ("sqlalchemy", "asyncpg", "aiosqlite", "sqlite3", "api.store", "api.snapshot")
#: What tests use of `api/store/` without a store: to note a change that was not made, and refusals.
ELSEWHERE: Final = {"api.store.events", "api.store.outage", "api.store.timing"}
#: Attributes that differ by store.
DIFFERENT: Final = {"is_sqlite", "dialect"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Module:
    """A module of tests, with the fixtures of the folders that it is in."""

    path: Path

    @cached_property
    def trees(self) -> list[ast.Module]:
        shared = [folder / "conftest.py" for folder in reversed(self.path.parents) if TESTS in folder.parents]
        found = [TESTS / "conftest.py", TESTS / "worlds" / "scenes.py", *(path for path in shared if path.exists())]
        return [_parsed(path) for path in [*found, self.path]]

    @cached_property
    def defined(self) -> dict[str, ast.stmt]:
        return {name: node for tree in self.trees for node in tree.body for name in _names_of(node)}

    @cached_property
    def of_stores(self) -> set[str]:
        """The names that this module, not its folders, imports from what reaches a store past the service."""
        imports = [node for node in ast.walk(self.trees[-1]) if isinstance(node, ast.Import | ast.ImportFrom)]
        return {alias.asname or alias.name.split(".")[0] for node in imports for alias in _of_drivers(node)}

    def tests(self) -> Iterator[Function]:
        for node in self.trees[-1].body:
            if isinstance(node, Function) and node.name.startswith("test_"):
                yield node

    def asks_for_a_store(self, test: Function) -> bool:
        """Whether it gets one of the fixtures of which there is one for each kind of store."""
        return bool(self._reached(test, arguments_alone=True) & set(OF_A_STORE))

    def touches_a_store(self, test: Function) -> bool:
        own = {name for name, node in self.defined.items() if node in self.trees[-1].body}
        reached = self._reached(test, arguments_alone=False)
        used = [self.defined[name] for name in reached & own | {test.name}]
        looks = any(
            isinstance(each, ast.Attribute) and each.attr in DIFFERENT for node in used for each in ast.walk(node)
        )
        imported = any(_mentioned(node) & self.of_stores for node in used)
        return looks or imported or self.path.parent.name in ROOMS

    def is_marked(self, test: Function) -> bool:
        """Also where it says itself which store it runs on, by a parameter or a mark of the module that has one."""
        marks = [ast.unparse(mark) for mark in test.decorator_list]
        marks += [ast.unparse(self.defined[mark]) for mark in marks if mark in self.defined]
        if "pytestmark" in self.defined:
            marks.append(ast.unparse(self.defined["pytestmark"]))
        return any(f"{said}" in mark for mark in marks for said in ("both_stores", *OF_A_STORE))

    def _reached(self, test: Function, *, arguments_alone: bool) -> set[str]:
        reached, waiting = set[str](), [test.name]
        while waiting:
            node = self.defined.get(waiting.pop())
            if node is not None:
                names = _arguments(node) if arguments_alone else _mentioned(node)
                waiting += names - reached
                reached |= names
        return reached


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _of_drivers(node: ast.Import | ast.ImportFrom) -> Iterator[ast.alias]:
    for alias in node.names:
        module = node.module or "" if isinstance(node, ast.ImportFrom) else alias.name
        if module not in ELSEWHERE and module.startswith(DRIVERS):
            yield alias


def _names_of(node: ast.stmt) -> list[str]:
    if isinstance(node, Function | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _arguments(node: ast.stmt) -> set[str]:
    return (
        {each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)} if isinstance(node, Function) else set()
    )


def _mentioned(node: ast.stmt) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)} | _arguments(node)


def test_every_test_in_which_a_store_is_in_question_runs_on_both() -> None:
    found, missing = 0, []
    for path in sorted(TESTS.rglob("test_*.py")):
        module = Module(path)
        for test in module.tests():
            if module.asks_for_a_store(test) and module.touches_a_store(test):
                found += 1
                if not module.is_marked(test):
                    missing.append(f"{path.relative_to(TESTS)}: {test.name} is not marked both_stores")
    assert not missing, "\n".join(missing)
    assert found > 80, "the source was read, and such tests were seen"
