"""Closed-loop load by `wrk`: as many requests as a server answers, over a fixed number of connections."""

import json
import shutil
import statistics
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONNECTIONS = (1, 16, 64)
_CHECKED = 200

#: Requests are built once before the load, so that the server is measured and not this script.
_LUA = """
local requests = {}
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
%(authorization)s
init = function(arguments)
  for line in io.lines("%(bodies)s") do requests[#requests + 1] = wrk.format(nil, nil, nil, line) end
end
request = function() return requests[math.random(#requests)] end
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format("RESULT %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), errors.status + errors.timeout + errors.read + errors.connect))
end
"""


@dataclass(frozen=True, slots=True)
class Target:
    """A server under load, the requests for it, and the number of decisions per answer."""

    name: str
    url: str
    bodies: Path
    token: str | None = None
    decisions: int = 1


@dataclass(frozen=True, slots=True)
class Turn:
    """The result of one turn: decisions a second, latencies in milliseconds, and answers other than 200."""

    per_second: float
    p50: float
    p99: float
    errors: int


def require_wrk() -> None:
    if shutil.which("wrk") is None:
        sys.exit("bench: wrk is not installed (Debian: apt-get install wrk)")


def write_bodies(path: Path, bodies: Iterable[Any]) -> Path:
    """Writes one JSON body per line."""
    path.write_text("\n".join(json.dumps(body, separators=(",", ":")) for body in bodies), encoding="utf-8")
    return path


def put_load(target: Target, connections: int, seconds: float) -> Turn:
    """Runs one turn of load on `target`."""
    process = begin_load(target, connections, seconds)
    printed, complaint = process.communicate()
    results = [line for line in printed.splitlines() if line.startswith("RESULT")]
    if process.returncode or not results:
        raise RuntimeError(f"wrk failed against {target.name}: {complaint or printed}")
    requests, microseconds, p50, p99, errors = (int(word) for word in results[0].split()[1:])
    return Turn(target.decisions * requests / (microseconds / 1e6), p50 / 1000, p99 / 1000, errors)


def begin_load(target: Target, connections: int, seconds: float) -> subprocess.Popen[str]:
    """Starts load on `target` in the background, for other measurements meanwhile."""
    script = target.bodies.with_suffix(f".{'open' if target.token is None else 'token'}.lua")
    authorization = f'wrk.headers["Authorization"] = "Bearer {target.token}"' if target.token else ""
    script.write_text(_LUA % {"bodies": target.bodies, "authorization": authorization}, encoding="utf-8")
    duration = f"{max(1, round(seconds))}s"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{duration}", "--timeout", "20s", "-s", str(script), target.url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def in_turns(subjects: Sequence[Callable[[], Turn]], turns: int) -> list[list[Turn]]:
    """Alternates the subjects, reversing their order each turn, so that a slow period affects all of them."""
    results: list[list[Turn]] = [[] for _ in subjects]
    order = list(range(len(subjects)))
    for _ in range(turns):
        for index in order:
            results[index].append(subjects[index]())
        order.reverse()
    return results


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def median_ratio(own: Iterable[float], reference: Iterable[float]) -> float:
    """The median over all turns of the ratio of own to reference within the turn."""
    return statistics.median(mine / other for mine, other in zip(own, reference, strict=True))


def require_right(target: Target, expected: Sequence[bool], permits: Callable[[Any], Any]) -> None:
    """Raises `RuntimeError` unless `target` answers the first questions correctly."""
    for body, permit in zip(target.bodies.read_text(encoding="utf-8").splitlines()[:_CHECKED], expected, strict=False):
        answer = _answered(target, body)
        if permits(answer) is not permit:
            raise RuntimeError(f"{target.name} answers {answer} to {body}, and {permit} is right")


def _answered(target: Target, body: str) -> Any:
    headers = {"Content-Type": "application/json"}
    if target.token is not None:
        headers["Authorization"] = f"Bearer {target.token}"
    request = urllib.request.Request(target.url, body.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{target.name} answers {error.code}: {error.read()[:300]!r}") from None
