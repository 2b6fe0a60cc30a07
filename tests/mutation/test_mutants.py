"""The mutants: what is changed, what is left alone, and that the sample is the same each time."""

from pathlib import Path

import pytest

from tests.mutation.__main__ import HERE, ROOT, equivalents
from tests.mutation.mutants import Mutant, mutants_of, sample
from tests.mutation.reach import Reach

SOURCE = '''"""Grants of a school."""

OPEN: frozenset[str] = frozenset({"granted", "suspended"})


def narrow(query: "str | None", brin: str) -> "str | None":
    """Those of a school, or all."""
    if brin:
        raise ValueError("A school is needed.")
    query.append("SELECT number FROM grants WHERE brin = :brin")
    return query.where(brin == 1).order_by(brin) if brin in (None, "16SW") else None
'''


def found_in(folder: Path, source: str = SOURCE) -> list[Mutant]:
    (folder / "grants.py").write_text(source, encoding="utf-8")
    return list(mutants_of(folder, "grants.py"))


@pytest.mark.parametrize(
    ("kind", "becomes"),
    [
        ("entry", 'OPEN: frozenset[str] = frozenset({"granted", })'),
        ("condition", "if not (brin):"),
        ("statement", "pass"),
        ("sql", 'query.append("SELECT number FROM grants WHERE brin <> :brin")'),
        ("query", 'return query.order_by(brin) if brin in (None, "16SW") else None'),
        ("query", 'return query.where(brin == 1) if brin in (None, "16SW") else None'),
        ("choice", 'return query.where(brin == 1).order_by(brin) if brin in ("16SW",) else None'),
        ("swap_op", 'return query.where(brin != 1).order_by(brin) if brin in (None, "16SW") else None'),
        ("keywords", 'return query.where(brin == 1).order_by(brin) if brin not in (None, "16SW") else None'),
        ("arg_removal", 'return query.where(None).order_by(brin) if brin in (None, "16SW") else None'),
    ],
)
def test_each_kind_of_change_is_made(tmp_path: Path, kind: str, becomes: str) -> None:
    assert (kind, becomes) in {(mutant.kind, mutant.becomes) for mutant in found_in(tmp_path)}


def test_types_docstrings_and_sentences_are_left_alone(tmp_path: Path) -> None:
    changed = {mutant.was for mutant in found_in(tmp_path)}
    assert not [line for line in changed if "def narrow" in line or '"""' in line]
    assert not [mutant for mutant in found_in(tmp_path) if "XXA school" in mutant.code]


def test_a_mutant_names_the_function_that_it_changes(tmp_path: Path) -> None:
    assert {mutant.within for mutant in found_in(tmp_path)} == {"", "narrow"}
    assert {mutant.was for mutant in found_in(tmp_path) if not mutant.within} == {SOURCE.splitlines()[2]}


def test_a_mutant_is_known_by_its_text_and_not_by_its_line(tmp_path: Path) -> None:
    below = SOURCE.replace("OPEN:", "# Moved down by a comment.\nOPEN:")
    assert [mutant.key for mutant in found_in(tmp_path)] == [mutant.key for mutant in found_in(tmp_path, below)]


def test_the_sample_is_the_same_each_time_and_of_another_seed_another(tmp_path: Path) -> None:
    found_in(tmp_path)
    first, again, other = (sample(tmp_path, ["grants.py"], seed, 10) for seed in (16, 16, 17))
    assert len(first) == 10
    assert first == again
    assert first != other


def test_of_a_function_the_tests_that_reach_its_line_are_chosen_and_of_the_import_all(tmp_path: Path) -> None:
    by_name = {mutant.within: mutant for mutant in found_in(tmp_path)}
    reach = Reach(tests={"quick": (1.0, {"grants.py": [8]}), "about": (2.0, {"grants.py": list(range(8, 13))})})
    last = max(mutant.lines for mutant in found_in(tmp_path))
    statement = next(mutant for mutant in found_in(tmp_path) if mutant.lines == last)
    # The quick one passes one line by: the other, twice as slow, is about five.
    assert reach.tests_of(by_name[""]) == ["about", "quick"]
    assert reach.tests_of(statement) == ["about"]


def test_a_mutant_of_the_import_is_tried_by_a_test_that_reaches_no_line_and_names_the_module() -> None:
    mutant = next(each for each in mutants_of(ROOT, "models/consents/grants.py") if not each.within)
    of_the_table, elsewhere = "tests/grants/test_transitions.py::of_the_table", "tests/log/test_merkle.py::elsewhere"
    reach = Reach(tests={elsewhere: (1.0, {}), of_the_table: (1.0, {})})
    assert reach.tests_of(mutant) == [of_the_table]


def test_what_is_said_to_change_nothing_still_stands_in_the_code_and_has_a_reason() -> None:
    assert (HERE / "equivalent.toml").exists()
    for (path, _, was, _), because in equivalents().items():
        lines = {line.strip() for line in (ROOT / path).read_text(encoding="utf-8").splitlines()}
        assert set(was.splitlines()) <= lines, f"{path}: {was}"
        assert len(because) > 20, was
