"""The house keeps its order: what is done in one place is done nowhere else."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.edge.problems import ALL, REFUSALS
from models.vocabulary.refusals import ConsentError

ROOT = Path(__file__).resolve().parent.parent
NO_NAMES = re.compile(r"(^|_)(utils?|helpers?|common|misc|service|manager)$")


def sources(*rooms: str) -> Iterator[tuple[str, ast.Module]]:
    for room in rooms:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def called(tree: ast.Module) -> set[str]:
    functions = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {getattr(function, "attr", getattr(function, "id", "")) for function in functions}


def test_one_module_imports_jose() -> None:
    assert [path for path, tree in sources("api", "models") if "jose" in imported(tree)] == ["api/security/tokens.py"]


def test_one_module_commits() -> None:
    assert [path for path, tree in sources("api", "models") if "commit" in called(tree)] == ["api/store/store.py"]


def test_one_module_writes_events() -> None:
    assert [path for path, tree in sources("api", "models") if "Event" in called(tree)] == ["api/store/events.py"]


def test_one_function_makes_a_permit() -> None:
    """`Reason.GRANTED` enters a `Decision` in `models/decision/decision.py` alone."""
    makers = [path for path, tree in sources("api", "models") if "Decision" in called(tree)]
    assert makers == ["models/decision/decision.py"]


def test_the_models_know_no_clock_and_do_no_input_or_output() -> None:
    forbidden = {"asyncio", "socket", "time", "logging", "os", "sqlite3", "asyncpg", "fastapi", "starlette", "api"}
    for path, tree in sources("models"):
        assert not imported(tree) & forbidden, path
        assert not called(tree) & {"now", "utcnow", "today", "open"}, path


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not [path for path, _ in sources("api", "exchange", "models", "tests") if NO_NAMES.search(Path(path).stem)]


@pytest.mark.parametrize("room", ["api", "client", "exchange", "models", "tests"])
def test_no_file_has_more_than_450_lines(room: str) -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / room).rglob("*.py")}
    assert lengths
    assert not {path.relative_to(ROOT).as_posix(): length for path, length in lengths.items() if length > 450}


@pytest.mark.parametrize("room", ["api", "client", "exchange", "models", "tests"])
def test_no_room_has_more_than_16_files(room: str) -> None:
    files = Counter(path.parent for path in (ROOT / room).rglob("*.py") if path.name != "__init__.py")
    assert files
    assert not {folder.relative_to(ROOT).as_posix(): count for folder, count in files.items() if count > 16}


def test_alembic_is_the_library_and_not_our_folder() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()


@pytest.mark.parametrize("document", sorted(path.name for path in ROOT.glob("*.md")))
def test_every_link_between_our_documents_leads_somewhere(document: str) -> None:
    pages = [ROOT / document, *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_setting_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    settings = (ROOT / "api" / "settings.py").read_text(encoding="utf-8")
    for name in re.findall(r"^    (\w+): .* = Field\($", settings, re.MULTILINE):
        assert f"`PRIVACY_MANAGER_{name.upper()}`" in readme


def test_every_setting_of_the_release_layer_is_in_its_page() -> None:
    page = (ROOT / "docs" / "the-release-layer.md").read_text(encoding="utf-8")
    settings = (ROOT / "exchange" / "settings.py").read_text(encoding="utf-8")
    names = re.findall(r"^    (\w+): .* = Field\(", settings, re.MULTILINE)
    assert len(names) > 5
    for name in names:
        assert f"`{name.upper()}`" in page, name


def test_every_problem_is_in_the_documented_list() -> None:
    page = (ROOT / "docs" / "problems.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (.+) \|$", page, re.MULTILINE)
    assert {(slug, int(status), title) for slug, status, title in rows} == {
        (problem.slug, problem.status, problem.title) for problem in ALL
    }


def test_every_refusal_of_the_rules_has_its_problem() -> None:
    def family(refusal: type[ConsentError]) -> Iterator[type[ConsentError]]:
        for each in refusal.__subclasses__():
            yield each
            yield from family(each)

    assert set(family(ConsentError)) == set(REFUSALS)
    assert all(problem.slug == refusal.slug for refusal, problem in REFUSALS.items())
