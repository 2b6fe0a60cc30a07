"""What only a process shows: the installed console script, its exit status, and a demo that serves."""

import json
import re
import shlex
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.cli.commands import SCRIPT, environment, run, run_script
from tests.exchange.peers.running import free_port


def test_the_console_script_is_installed_and_works_from_any_folder(tmp_path: Path) -> None:
    shown = run_script(tmp_path, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "Usage: privacy-manager" in shown.stdout
    assert not list(tmp_path.iterdir()), "nothing was made"


def test_what_is_refused_ends_the_process_with_1_and_a_sentence(tmp_path: Path) -> None:
    """Without a trusted issuer nobody could be told apart: a server says so, and does not start."""
    refused = run_script(tmp_path, "serve")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "PRIVACY_MANAGER_TRUSTED_ISSUERS" in refused.stderr
    assert "Traceback" not in refused.stderr


@dataclass(frozen=True)
class Demo:
    """A running demo: its address, the commands that it printed, and its folder."""

    address: str
    commands: list[str]
    folder: Path

    def token(self) -> str:
        """The token of the school's command."""
        return str(re.findall(r"Bearer (\S+?)'", self.commands[0])[0])

    def revoke(self, grant: dict[str, Any]) -> None:
        revoked = httpx2.post(
            f"{self.address}/v1/schools/{grant['school']}/grants/{grant['grantId']}/_revoke",
            json={"reason": "Klaar."},
            headers={"Authorization": f"Bearer {self.token()}"},
        )
        assert revoked.status_code == 200

    @contextmanager
    def granted(self) -> Iterator[None]:
        """What the first command grants, for as long as the block lasts."""
        status, grant = pasted(self.commands[0])
        assert status == 201
        try:
            yield
        finally:
            self.revoke(grant)


def pasted(command: str) -> tuple[int, dict[str, Any]]:
    """What a command of the demo is answered."""
    given = [*shlex.split(command), "-w", "\n%{http_code}"]
    body, status = subprocess.run(given, check=True, capture_output=True, text=True).stdout.rsplit("\n", 1)
    return int(status), json.loads(body)


@pytest.fixture(scope="module")
def curl() -> str:
    """The program that the demo's commands call."""
    found = shutil.which("curl")
    if found is None:
        pytest.skip("curl is not installed: the demo's commands cannot be pasted (Debian: apt-get install curl)")
    return found


@pytest.fixture(scope="module")
def demo(curl: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo for the tests of this module. Each leaves it with nothing granted."""
    with demo_in(tmp_path_factory.mktemp("demo")) as running:
        yield running


@contextmanager
def demo_in(folder: Path) -> Iterator[Demo]:
    port = free_port()
    with subprocess.Popen(
        [SCRIPT, "demo", "--port", str(port)],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield Demo(f"http://127.0.0.1:{port}", _printed_commands(process), folder)
        finally:
            process.terminate()
            process.wait(timeout=20)


def _printed_commands(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    commands: list[str] = []
    until = time.monotonic() + 60
    for line in process.stdout:
        if line.startswith("curl "):
            commands.append(line.strip())
        if line.startswith("Serving on"):
            return commands
        assert time.monotonic() < until
    raise AssertionError("the demo ended")


def test_the_demos_three_commands_grant_show_and_permit_and_a_revoke_denies(demo: Demo) -> None:
    (granted, grant), (_, shown), (_, decision) = (pasted(command) for command in demo.commands)
    assert granted == 201
    assert [consent["grantId"] for consent in shown["items"]] == [grant["grantId"]]
    assert decision["decision"] is True
    assert "achternaam" in decision["context"]["fields"]
    demo.revoke(grant)
    _, after = pasted(demo.commands[2])
    assert (after["decision"], after["context"]["reason"]) == (False, "revoked")
    assert httpx2.get(f"{demo.address}/health/ready").json()["status"] == "ready"


def test_a_second_demo_on_the_same_folder_has_something_left_to_grant(demo: Demo) -> None:
    with demo.granted(), demo_in(demo.folder) as second:
        assert second.commands[0] != demo.commands[0]
        with second.granted():
            pass


def test_a_minted_token_is_accepted_by_the_demo(demo: Demo) -> None:
    for words, path in (
        (["--role", "school", "--school", "16SW"], "/v1/schools/16SW"),
        (["--role", "partner", "--client-id", "rekenrijk"], "/v1/consents"),
        (["--role", "operator"], "/v1/partners"),
    ):
        token = run(demo.folder, "token", *words).stdout.strip()
        assert httpx2.get(demo.address + path, headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_verify_finds_a_grant_that_was_changed_behind_the_services_back(demo: Demo, tmp_path: Path) -> None:
    with demo.granted():
        kept = shutil.copytree(demo.folder, tmp_path / "kept", ignore=shutil.ignore_patterns("privacy-manager.db*"))
        with (
            closing(sqlite3.connect(demo.folder / "privacy-manager.db")) as source,
            closing(sqlite3.connect(kept / "privacy-manager.db")) as copy,
        ):
            source.backup(copy)
    assert run(kept, "verify").returncode == 0
    with closing(sqlite3.connect(kept / "privacy-manager.db")) as behind_its_back:
        behind_its_back.execute("UPDATE grants SET scopes = '[]'")
        behind_its_back.commit()
    found = run_script(kept, "verify")
    assert found.returncode == 1
    assert "not as its last event left it" in found.stdout
