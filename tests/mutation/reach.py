"""Which tests reach which lines: collected by a run of the tests, kept in a file, asked for the tests of a mutant."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.mutation.mutants import Mutant

#: They read what the tables of `models` are, which runs at no line of a module.
_ABOUT_TABLES = {"tests/store/test_migrations.py"}


@dataclass
class Reach:
    """Of each test how long it takes, and the lines that it reaches of each path. `digests` tell of which text."""

    #: Of the modules, and of the files of tests that were run.
    digests: dict[str, str] = field(default_factory=dict)
    tests: dict[str, tuple[float, dict[str, list[int]]]] = field(default_factory=dict)
    #: The lines that run when a module is imported.
    imported: dict[str, list[int]] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path, root: Path, paths: Sequence[str]) -> "Reach":
        """The known reach of tests; none where a module has changed, and none of a file of tests that has."""
        if not file.exists():
            return cls()
        kept = json.loads(file.read_text(encoding="utf-8"))
        same = {path: of for path, of in kept["digests"].items() if of == digest(root / path)}
        if not same.keys() >= set(paths):
            return cls()
        tests = {test: (one[0], one[1]) for test, one in kept["tests"].items() if test.split("::")[0] in same}
        return cls(same, tests, kept["imported"])

    def write(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(vars(self)), encoding="utf-8")

    def unknown(self, root: Path) -> list[str]:
        """The files of tests of which it is not known what they reach."""
        files = (path.relative_to(root).as_posix() for path in (root / "tests").rglob("test_*.py"))
        return sorted(file for file in files if file not in self.digests)

    def runs_at_import(self, mutant: Mutant) -> bool:
        """Whether a change has an effect on what is made when its module is imported."""
        first, last = mutant.lines
        return not mutant.within or any(first <= line <= last for line in self.imported.get(mutant.path, ()))

    def tests_of(self, mutant: Mutant) -> list[str]:
        """The tests that reach a mutant: of what runs at the import, all that reach its module, or whose file names it.

        First come those that reach a line where the name of a changed constant stands, then those that reach most of
        its file in the least time: where every write passes by, they are about it.
        """
        at_import = self.runs_at_import(mutant)
        first, last = (0, sys.maxsize) if at_import else mutant.lines
        naming = self._naming(mutant.path) if at_import else set()
        uses = _uses(mutant) if at_import else set()
        reaching = []
        for test, (seconds, by_path) in self.tests.items():
            lines = by_path.get(mutant.path, ())
            if test.split("::")[0] in naming or any(first <= line <= last for line in lines):
                reaching.append((uses.isdisjoint(lines), seconds / (len(lines) + 1), test))
        return [test for *_, test in sorted(reaching)]

    def _naming(self, path: str) -> set[str]:
        """The files of tests that import a module by its name, and those that compare tables and migrations."""
        named = f"{path.removesuffix('.py').replace('/', '.')} import"
        files = {Path(test.split("::")[0]) for test in self.tests}
        naming = {file for file in files if file.exists() and named in file.read_text(encoding="utf-8")}
        return {file.as_posix() for file in naming} | _ABOUT_TABLES


def _uses(mutant: Mutant) -> set[int]:
    """The lines, beside its own, where the constant stands that a mutant changes."""
    name = re.match(r"\w+", mutant.was)
    if name is None:
        return set()
    numbered = enumerate(mutant.code.splitlines(), 1)
    of_its_own = range(mutant.lines[0], mutant.lines[1] + 1)
    return {line for line, text in numbered if line not in of_its_own and re.search(rf"\b{name[0]}\b", text)}


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""


def collect(root: Path, paths: Sequence[str], file: Path, chosen: Sequence[str], processes: int) -> Reach:
    """Runs the tests (of the files that are `chosen`, or all) and adds what they reach to what is known."""
    with tempfile.TemporaryDirectory(prefix="privacy-manager-mutation-") as folder:
        environment = {
            **os.environ,
            "MUTATION_REACH": folder,
            "MUTATION_PATHS": os.pathsep.join(str(root / path) for path in paths),
        }
        plugins = ["-p", "tests.mutation.reach_plugin", "-p", "no:cacheprovider"]
        workers = ["--numprocesses", str(processes), "--dist", "worksteal"] if processes > 1 else []
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *plugins, *workers, *chosen], cwd=root, env=environment
        )
        if ran.returncode not in (0, 1):
            raise RuntimeError("the tests could not be run")
        known = Reach.read(file, root, paths)
        asked = chosen or known.unknown(root)
        for part in Path(folder).glob("reach.*.json"):
            found = json.loads(part.read_text(encoding="utf-8"))
            known.tests.update((name, (one[0], one[1])) for name, one in found["tests"].items())
            known.digests.update((path, digest(root / path)) for path in found["files"])
            for path, lines in found["imported"].items():
                known.imported[path] = sorted({*known.imported.get(path, ()), *lines})
    known.digests.update((path, digest(root / path)) for path in (*paths, *asked) if (root / path).is_file())
    known.write(file)
    return known
