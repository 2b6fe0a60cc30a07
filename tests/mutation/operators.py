"""The kinds of change beside those of mutmut: for statements, conditions, tables, queries and SQL."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import libcst as cst
from mutmut.mutation import mutators

#: Methods by which a query is narrowed, ordered and bounded.
PARTS_OF_A_QUERY: Final = frozenset({"where", "order_by", "limit", "group_by", "distinct", "having"})

#: Each word of SQL, and what takes its place.
SQL_SWAPS: Final = (
    (" AND ", " OR "),
    (" OR ", " AND "),
    (" = ", " <> "),
    (" + ", " - "),
    (" IS NULL", " IS NOT NULL"),
    (" IN (", " NOT IN ("),
    ("EXISTS (", "NOT EXISTS ("),
    ("count(*)", "1"),
    ("min(", "max("),
    ("'waiting'", "'dead'"),
    ("'active'", "'paused'"),
    ("''", "'-'"),
    (" 0,", " 1,"),
    (" DO UPDATE SET ", " DO NOTHING --"),
    (" UNION ALL ", " EXCEPT "),
    (", lane ", " "),
    (" RETURNING *", " RETURNING number"),
)
IS_SQL: Final = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|WHERE|GROUP BY|ORDER BY|UNION|JOIN|EXISTS|AND|IN) |IN \(")


def operator_statement(node: cst.Expr | cst.Raise) -> Iterator[cst.CSTNode]:
    """Leaves out a call whose value nobody takes, and a refusal."""
    if isinstance(node, cst.Raise) or isinstance(node.value, cst.Call | cst.Await | cst.Yield):
        yield cst.Pass()


def operator_condition(node: cst.BaseExpression) -> Iterator[cst.CSTNode]:
    """Turns a condition around that is no comparison: those are changed already."""
    if isinstance(node, cst.Name | cst.Attribute | cst.Call | cst.Await | cst.NamedExpr):
        yield cst.UnaryOperation(cst.Not(), node.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()]))


def operator_entry(node: cst.Dict | cst.Set | cst.List) -> Iterator[cst.CSTNode]:
    """Takes one entry from a table, a set or a list."""
    yield from _one_less(node)


def operator_choice(node: cst.ComparisonTarget) -> Iterator[cst.CSTNode]:
    """Takes one of those that something is compared with: `x in (None, only)`."""
    if isinstance(node.comparator, cst.Tuple):
        for less in _one_less(node.comparator):
            yield node.with_changes(comparator=less)


def _one_less(node: Any) -> Iterator[Any]:
    if len(node.elements) > 1:
        for left_out in range(len(node.elements)):
            kept = [element for at, element in enumerate(node.elements) if at != left_out]
            if len(kept) == 1 and isinstance(node, cst.Tuple):
                kept = [kept[0].with_changes(comma=cst.Comma())]
            yield node.with_changes(elements=kept)


def operator_query(node: cst.Call) -> Iterator[cst.CSTNode]:
    """Takes a part from a query: `select(Grant).where(...)` becomes `select(Grant)`."""
    if isinstance(node.func, cst.Attribute) and node.func.attr.value in PARTS_OF_A_QUERY:
        yield node.func.value


def operator_sql(node: cst.SimpleString | cst.FormattedStringText) -> Iterator[cst.CSTNode]:
    """Changes one word of a statement."""
    if IS_SQL.search(node.value):
        for word, other in SQL_SWAPS:
            for found in re.finditer(re.escape(word), node.value):
                if other.strip() not in node.value[max(0, found.start() - 4) : found.end()]:
                    yield node.with_changes(value=node.value[: found.start()] + other + node.value[found.end() :])


def operator_name_in_code(node: cst.BaseString) -> Iterable[cst.CSTNode]:
    """A text that the program reads. A sentence is read by people, and decides nothing; SQL has its own kind."""
    if not isinstance(node, cst.SimpleString) or " " in node.value or IS_SQL.search(node.value):
        return ()
    return mutators.operator_string(node)


Operator = Callable[[Any], Iterable[cst.CSTNode]]
_INSTEAD: Final[dict[Operator, Operator]] = {mutators.operator_string: operator_name_in_code}

#: The kinds of change, each with the kind of node that it is for.
OPERATORS: Final[Sequence[tuple[Any, Operator]]] = (
    *((kind, _INSTEAD.get(operator, operator)) for kind, operator in mutators.mutation_operators),
    (cst.Expr, operator_statement),
    (cst.Raise, operator_statement),
    (cst.Dict, operator_entry),
    (cst.Set, operator_entry),
    (cst.List, operator_entry),
    (cst.ComparisonTarget, operator_choice),
    (cst.Call, operator_query),
    (cst.SimpleString, operator_sql),
    (cst.FormattedStringText, operator_sql),
)
#: Additions to a condition.
CONDITION: Final[tuple[Any, Operator]] = (cst.BaseExpression, operator_condition)
