"""Mutants: one small change each of a module, found in its source, and the sample of them that is tried."""

import ast
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider

from tests.mutation.operators import CONDITION, OPERATORS, Operator

Lines = tuple[int, int]

#: A node by itself is written as if nothing stood before it.
_NEWLINES: Final = tuple("\n" + " " * indent for indent in range(0, 24, 4))


@dataclass(frozen=True)
class Mutant:
    """One change of one file. `was` and `becomes` are the lines that differ, `within` the function that has them."""

    path: str
    #: The function, with its class; nothing where the line runs when the module is imported.
    within: str
    kind: str
    was: str
    becomes: str
    #: The first and the last line of what is changed.
    lines: Lines
    code: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Its identity, wherever its lines stand in the file."""
        return self.path, self.within, self.was, self.becomes

    def rank(self, seed: int) -> str:
        return hashlib.sha256(repr((seed, *self.key, self.kind)).encode()).hexdigest()


def sample(root: Path, paths: Sequence[str], seed: int, size: int) -> list[Mutant]:
    """So many mutants of these files, drawn by `seed`: of each kind as many, of one kind and line at most one."""
    found = sorted((mutant for path in paths for mutant in mutants_of(root, path)), key=lambda each: each.rank(seed))
    chosen: dict[tuple[str, str, str, str], Mutant] = {}
    for mutant in found:
        chosen.setdefault((mutant.path, mutant.within, mutant.was, mutant.kind), mutant)
    of_kind: Counter[str] = Counter()
    rounds: list[tuple[int, Mutant]] = []
    for mutant in chosen.values():
        of_kind[mutant.kind] += 1
        rounds.append((of_kind[mutant.kind], mutant))
    in_turn = (mutant for _, mutant in sorted(rounds, key=lambda each: each[0]))
    return list(islice((mutant for mutant in in_turn if _is_python(mutant.code)), size))


def mutants_of(root: Path, path: str) -> Iterator[Mutant]:
    """All mutants of a file, each of another text. Some of them Python cannot read."""
    source = (root / path).read_text(encoding="utf-8")
    tree = ast.parse(source)
    functions, unread = list(_functions(tree)), list(_spans_without_effect(tree))
    wrapper = MetadataWrapper(cst.parse_module(source))
    positions = wrapper.resolve(PositionProvider)
    seen = {source}
    for node, kinds in _nodes(wrapper.module):
        position = positions.get(node)
        if not isinstance(position, CodeRange) or _is_in(position, unread):
            continue
        for kind, changed in _changes(node, kinds):
            code = _with(wrapper.module, source, node, changed, position)
            if code not in seen:
                seen.add(code)
                was, becomes = _differing(source, code)
                lines = position.start.line, position.end.line
                within = next((name for name, (first, last) in functions if first <= lines[0] <= last), "")
                yield Mutant(path, within, kind, was, becomes, lines, code)


def _changes(node: cst.CSTNode, kinds: Sequence[tuple[Any, Operator]]) -> Iterator[tuple[str, cst.CSTNode]]:
    for kind, operator in kinds:
        if isinstance(node, kind):
            for changed in operator(node):
                yield operator.__name__.removeprefix("operator_"), changed


def _with(module: cst.Module, source: str, node: cst.CSTNode, changed: cst.CSTNode, position: CodeRange) -> str:
    """The source with the change. Where the node is one piece of the text, that alone is written anew."""
    lines = source.splitlines(keepends=True)
    begin = sum(map(len, lines[: position.start.line - 1])) + position.start.column
    end = sum(map(len, lines[: position.end.line - 1])) + position.end.column
    text, becomes_text = module.code_for_node(node).strip(), module.code_for_node(changed).strip()
    for newline in _NEWLINES:
        if source[begin:end] == text.replace("\n", newline):
            return source[:begin] + becomes_text.replace("\n", newline) + source[end:]
    becomes = module.deep_replace(node, changed)
    return becomes.code if isinstance(becomes, cst.Module) else source


def _nodes(node: cst.CSTNode) -> Iterator[tuple[cst.CSTNode, Sequence[tuple[Any, Operator]]]]:
    """Each node with the kinds of change that it may get."""
    for child in node.children:
        is_condition = isinstance(node, cst.If) and child is node.test
        yield child, [*OPERATORS, CONDITION] if is_condition else OPERATORS
        yield from _nodes(child)


def _functions(tree: ast.Module) -> Iterator[tuple[str, Lines]]:
    """The functions with the lines of their bodies, the innermost first."""

    def walk(node: ast.AST, names: tuple[str, ...]) -> Iterator[tuple[str, Lines]]:
        for child in ast.iter_child_nodes(node):
            inner = names
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = *names, child.name
            yield from walk(child, inner)
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield ".".join(inner), (child.body[0].lineno, child.end_lineno or child.lineno)

    return walk(tree, ())


def _spans_without_effect(tree: ast.Module) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """From where to where a change means nothing: types, which nobody reads when the program runs, and docstrings."""
    for node in ast.walk(tree):
        types: list[ast.expr | None] = []
        if isinstance(node, ast.AnnAssign | ast.arg):
            types.append(node.annotation)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            types.append(node.returns)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            types.append(node.value)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("TypeVar", "cast"):
            types.append(node)
        for each in types:
            if each is not None:
                yield (each.lineno, each.col_offset), (each.end_lineno or 0, each.end_col_offset or 0)


def _is_in(position: CodeRange, spans: Sequence[tuple[tuple[int, int], tuple[int, int]]]) -> bool:
    begin = position.start.line, position.start.column
    return any(first <= begin < last for first, last in spans)


def _is_python(code: str) -> bool:
    try:
        compile(code, "mutant", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def _differing(source: str, code: str) -> tuple[str, str]:
    """The lines that differ, without the space around them."""
    before, after = source.splitlines(), code.splitlines()
    first, fewer = 0, min(len(before), len(after))
    while first < fewer and before[first] == after[first]:
        first += 1
    last = 0
    while last < fewer - first and before[-1 - last] == after[-1 - last]:
        last += 1
    was, becomes = before[first : len(before) - last], after[first : len(after) - last]
    return "\n".join(map(str.strip, was)), "\n".join(map(str.strip, becomes))
