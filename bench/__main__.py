"""`make bench`: the hook against a bare server that answers a constant, on both stores, in one run.

Needs `wrk` (Debian: `apt-get install wrk`). Closed loop, one server process each, 1, 16 and 64 connections; the
references and the hook take turns, and the table shows the median of the turns.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.servers import Server, Subject, running_servers

CONNECTIONS = (1, 16, 64)
TURNS = 3
SECONDS = 4

LUA = """
local bodies = {}
for line in io.lines("%(questions)s") do bodies[#bodies + 1] = line end
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer %(token)s"
request = function() return wrk.format(nil, nil, nil, bodies[math.random(#bodies)]) end
done = function(summary, latency)
  io.write(string.format("RESULT %%d %%d %%d %%d\\n", summary.requests, summary.duration,
    latency:percentile(99), summary.errors.status + summary.errors.timeout + summary.errors.read))
end
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """One turn: requests a second, and the 99th percentile of the latency in milliseconds."""

    per_second: float
    p99: float


def measure(server: Server, script: Path, connections: int) -> Figure:
    """One turn of closed-loop load. Raises `RuntimeError` when an answer was not 200."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "-s", str(script), "--latency", server.url]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result = next(line for line in printed.splitlines() if line.startswith("RESULT"))
    requests, microseconds, p99, errors = (int(word) for word in result.split()[1:])
    if errors:
        raise RuntimeError(f"{errors} answers of {server.name} were not 200")
    return Figure(requests / (microseconds / 1e6), p99 / 1000)


def main() -> None:
    if shutil.which("wrk") is None:
        sys.exit("bench: wrk is not installed (Debian: apt-get install wrk)")
    with tempfile.TemporaryDirectory() as folder, running_servers(Path(folder)) as (servers, subject):
        script = _script(Path(folder), subject)
        print(f"{subject.grants:,} grants, random questions, {TURNS} turns of {SECONDS} s, one server process each")
        print(f"{'connections':>11}  {'server':<22}{'requests/s':>11}{'ratio':>8}{'p99 ms':>9}{'ratio':>8}")
        for connections in CONNECTIONS:
            _compare(servers, script, connections)


def _script(folder: Path, subject: Subject) -> Path:
    questions = folder / "questions.jsonl"
    questions.write_text("\n".join(json.dumps(question) for question in subject.questions), encoding="utf-8")
    script = folder / "load.lua"
    script.write_text(LUA % {"questions": questions, "token": subject.token}, encoding="utf-8")
    return script


def _compare(servers: list[Server], script: Path, connections: int) -> None:
    turns = [[measure(server, script, connections) for server in servers] for _ in range(TURNS)]
    for index, server in enumerate(servers):
        own, reference = [turn[index] for turn in turns], [turn[0] for turn in turns]
        pairs = list(zip(own, reference, strict=True))
        print(
            f"{connections:>11}  {server.name:<22}"
            f"{statistics.median(figure.per_second for figure in own):>11,.0f}"
            f"{statistics.median(mine.per_second / other.per_second for mine, other in pairs):>8.2f}"
            f"{statistics.median(figure.p99 for figure in own):>9.2f}"
            f"{statistics.median(mine.p99 / other.p99 for mine, other in pairs):>8.2f}"
        )


if __name__ == "__main__":
    main()
