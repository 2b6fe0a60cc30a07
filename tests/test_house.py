"""The house keeps its order: what is done in one place is done nowhere else."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.edge.problems import ALL, REFUSALS
from models.vocabulary.refusals import ConsentError

ROOT = Path(__file__).resolve().parent.parent
NO_NAMES = re.compile(r"(^|_)(utils?|helpers?|common|misc|service|manager)$")
ROOMS = ("api", "bench", "client", "exchange", "models", "tests")
MOST_FILES = 16
MOST_LINES = 450


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


def python_files() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not [path for path in python_files() if NO_NAMES.search(path.stem)]


def test_a_room_has_few_enough_files_to_be_seen_at_a_glance() -> None:
    rooms = Counter(path.parent.relative_to(ROOT).as_posix() for path in python_files() if path.stem != "__init__")
    assert {room: files for room, files in rooms.items() if files > MOST_FILES} == {}


def test_what_decides_loads_neither_an_orm_nor_the_web_framework() -> None:
    """What really is imported by the hook, also by way of others; `lint-imports` reads the same from the sources."""
    loads = (
        "import sys, api.gateways.evaluation, api.gateways.search_routes, api.gateways.forward_auth,"
        " api.gateways.metadata, api.snapshot.postgresql, api.snapshot.sqlite;"
        "print(sorted({'fastapi', 'sqlalchemy', 'sqlmodel', 'alembic'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", loads], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_every_room_has_its_paragraph_and_a_word_on_what_it_is() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for room in ("api", "models"):
        for folder in sorted(path.parent for path in (ROOT / room).glob("*/__init__.py")):
            assert f"**{folder.name}/**" in page, folder.name


def test_every_file_that_a_page_names_is_there() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        if page.name == "CHANGELOG.md":
            continue
        for named in re.findall(
            r"`((?:api|models|exchange|tests|bench)/[\w/]+\.(?:py|json|toml))`", page.read_text("utf-8")
        ):
            assert (ROOT / named).exists(), f"{page.name} names {named}"


def test_a_file_is_short_enough_to_be_read() -> None:
    lines = {path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines()) for path in python_files()}
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}


def test_alembic_is_the_library_and_not_our_folder() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()


@pytest.mark.parametrize("document", sorted(path.name for path in ROOT.glob("*.md")))
def test_every_link_between_our_documents_leads_somewhere(document: str) -> None:
    pages = [ROOT / document, *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_setting_is_on_its_page() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    settings = (ROOT / "api" / "settings.py").read_text(encoding="utf-8")
    names = [
        f"`PRIVACY_MANAGER_{name.upper()}`" for name in re.findall(r"^    (\w+): .* = Field\(", settings, re.MULTILINE)
    ]
    assert len(names) > 20
    assert [name for name in names if name not in page] == []


def test_the_readme_has_five_settings_which_say_there_what_they_say_on_the_page() -> None:
    row = re.compile(r"^\| `(?:PRIVACY_MANAGER_\w+|PORT)` \|[^|]*\|", re.MULTILINE)
    named = re.compile(r"`(PRIVACY_MANAGER_\w+|PORT)`")
    readme, page = ((ROOT / path).read_text(encoding="utf-8") for path in ("README.md", "docs/settings.md"))
    found = {named.search(line)[1] for line in row.findall(readme)}  # type: ignore[index]
    assert len(found) == 5
    assert found <= {name for line in row.findall(page) for name in named.findall(line)}


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
