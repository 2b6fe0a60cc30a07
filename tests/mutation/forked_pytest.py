"""A process that runs tests in copies of itself, so that nobody waits for the same imports again.

    python forked_pytest.py ROOT LOG MODULE...

Imports the modules; then reads a line of JSON for each run, and writes one for what came of it. A run names its
`tests`, its `limit` in seconds, and the `changed` file where there is one. The copy puts the changed code of that file
in the place of the functions that were imported already; where none of it was imported, it is imported changed.
"""

import contextlib
import gc
import importlib
import importlib.metadata
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NoReturn

import pytest

OUTCOMES = {0: "passed", 1: "failed", 2: "failed"}


class Failures:
    """The tests that failed, by their ids; also files that could not be collected. Tells of them and ends the copy."""

    def __init__(self, report: int) -> None:
        self.tests: list[str] = []
        self._report = report

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        # A file of tests that the mutant keeps from being imported is a wrong argument to pytest.
        outcome = "failed" if self.tests else OUTCOMES.get(int(exitstatus), f"broken ({exitstatus})")
        tell(self._report, outcome, self.tests)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.tests.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.tests.append(report.nodeid)


def tell(report: int, outcome: str, tests: list[str]) -> NoReturn:
    """Tells what came of a run, and ends its process at once: what pytest then tidies up, nobody needs."""
    os.write(report, json.dumps({"outcome": outcome, "tests": tests[:100]}).encode())
    sys.stdout.flush()
    os._exit(0)


def change(root: Path, path: str, functions: dict[tuple[str, str], list[FunctionType]]) -> None:
    """Gives the functions of a file, where they were imported, the code that now stands in it."""
    file = root / path
    for code in _codes(compile(file.read_text(encoding="utf-8"), str(file), "exec")):
        for function in functions.get((path, code.co_qualname), []):
            if function.__code__ != code:
                function.__code__ = code


def _codes(code: CodeType) -> Iterator[CodeType]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each
            yield from _codes(each)


def functions_in(root: Path) -> dict[tuple[str, str], list[FunctionType]]:
    """All functions of ours that there are, by file and name."""
    found: dict[tuple[str, str], list[FunctionType]] = {}
    for each in gc.get_objects():
        if isinstance(each, FunctionType) and each.__code__.co_filename.startswith(f"{root}/"):
            path = os.path.relpath(each.__code__.co_filename, root)
            found.setdefault((path, each.__code__.co_qualname), []).append(each)
    return found


def run(
    asked: dict[str, Any], root: Path, functions: dict[tuple[str, str], list[FunctionType]], report: int
) -> NoReturn:
    """One run, in the copy."""
    from hypothesis import Phase, settings

    # A failure is enough: nobody looks for the smallest example.
    settings.register_profile("mutation", phases=(Phase.explicit, Phase.generate), database=None, derandomize=True)
    settings.load_profile("mutation")
    sys.dont_write_bytecode = True
    if (changed := asked.get("changed")) is not None:
        try:
            change(root, changed, functions)
        except ValueError:  # a function that takes other names from around it cannot be changed in place
            tell(report, "anew", [])
        try:
            importlib.import_module(changed.removesuffix(".py").replace("/", "."))
            importlib.import_module("tests.conftest")
        except Exception as error:
            tell(report, "failed", [f"import: {error!r}"[:200]])
    options = ["-q", "--tb=short", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    until = [] if asked.get("through") else ["--exitfirst"]
    arguments = [*options, *until, "--basetemp", asked["folder"], *asked["tests"]]
    tell(report, f"broken ({pytest.main(arguments, plugins=[Failures(report)])})", [])


def forked(
    asked: dict[str, Any], root: Path, log: Path, functions: dict[tuple[str, str], list[FunctionType]]
) -> dict[str, Any]:
    """One run, in a process group of its own that ends with it, with all that the tests started in it."""
    begun = time.monotonic()
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            run(asked, root, functions, writes)
        except BaseException as error:
            tell(writes, "broken", [repr(error)])
    os.close(writes)
    os.set_blocking(reads, False)
    said = {"outcome": "late", "tests": []}
    while time.monotonic() < begun + asked["limit"]:
        time.sleep(0.02)
        if os.waitpid(child, os.WNOHANG) != (0, 0):
            said["outcome"] = "broken"
            with contextlib.suppress(BlockingIOError, ValueError):
                said = json.loads(os.read(reads, 65536))
            break
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    if said["outcome"] == "late":
        os.waitpid(child, 0)
    os.close(reads)
    return {**said, "seconds": round(time.monotonic() - begun, 2)}


def main() -> None:
    root, log, modules = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    for plugin in importlib.metadata.entry_points(group="pytest11"):
        plugin.load()
    for module in modules:
        with contextlib.suppress(pytest.skip.Exception):
            importlib.import_module(module)
    functions = functions_in(root)
    print(json.dumps(sum(map(len, functions.values()))), flush=True)
    for line in sys.stdin:
        print(json.dumps(forked(json.loads(line), root, log, functions)), flush=True)


if __name__ == "__main__":
    main()
