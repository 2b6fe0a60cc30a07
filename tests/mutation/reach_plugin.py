"""A plugin of pytest that writes down which lines of the mutated modules each test reaches, and how long it takes.

`MUTATION_REACH` names a folder, which gets a file of each process, and `MUTATION_PATHS` the modules. What runs in a
process that a test starts is not seen.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from coverage import Coverage

FOLDER = Path(os.environ["MUTATION_REACH"])
PATHS = os.environ["MUTATION_PATHS"].split(os.pathsep)


#: The context of lines that run while conftest is imported, and with it most of our modules.
IMPORTS = "import"
COVERAGE = Coverage(
    data_file=str(FOLDER / f"coverage.{os.getpid()}"),
    include=PATHS,
    concurrency=["thread", "greenlet"],
    config_file=False,
)
COVERAGE.start()
COVERAGE.switch_context(IMPORTS)


class Reach:
    """The lines by test, as coverage.py's contexts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        COVERAGE.switch_context(item.nodeid)
        begun = time.perf_counter()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.perf_counter() - begun
            COVERAGE.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        COVERAGE.stop()
        COVERAGE.save()
        data = COVERAGE.get_data()
        lines: dict[str, dict[str, list[int]]] = {nodeid: {} for nodeid in self.seconds if nodeid not in self.failed}
        imported: dict[str, list[int]] = {}
        for measured in data.measured_files():
            path = Path(measured).resolve().relative_to(Path.cwd().resolve()).as_posix()
            by_line = data.contexts_by_lineno(measured)
            # A module that conftest does not import is imported with the first file of tests that does.
            import_ = IMPORTS if any(IMPORTS in contexts for contexts in by_line.values()) else ""
            imported[path] = [line for line, contexts in by_line.items() if import_ in contexts]
            for line, contexts in by_line.items():
                for nodeid in lines.keys() & contexts:
                    lines[nodeid].setdefault(path, []).append(line)
        tests = {nodeid: [round(self.seconds[nodeid], 3), reached] for nodeid, reached in lines.items()}
        files = sorted({nodeid.split("::")[0] for nodeid in self.seconds})
        found = {"tests": tests, "imported": imported, "files": files}
        (FOLDER / f"reach.{os.getpid()}.json").write_text(json.dumps(found), encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    COVERAGE.switch_context("")
    if not getattr(config.option, "numprocesses", None):  # the process that hands out tests to others runs none
        config.pluginmanager.register(Reach(), "mutation-reach")
