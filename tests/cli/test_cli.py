"""The console script, run as a user runs it: a process of its own, with an environment of its own."""

import json
import os
import re
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = [sys.executable, "-c", "from api.cli.main import main; main()"]


def environment(folder: Path, **settings: str) -> dict[str, str]:
    given = {f"PRIVACY_MANAGER_{name}": value for name, value in settings.items()}
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "PRIVACY_MANAGER_VAR_DIR": str(folder), **given}


def run(folder: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LAUNCH, *words], cwd=ROOT, env=environment(folder, **settings), capture_output=True, text=True, timeout=60
    )


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.mark.parametrize(
    "words", [[], ["serve"], ["migrate"], ["demo"], ["token"], ["schools", "import"], ["openapi"], ["verify"]]
)
def test_every_command_explains_itself(tmp_path: Path, words: list[str]) -> None:
    shown = run(tmp_path, *words, "--help")
    assert shown.returncode == 0
    assert "Usage" in shown.stdout


def test_production_refuses_to_start_without_a_trusted_issuer(tmp_path: Path) -> None:
    for settings in ({"MODE": "production"}, {}):
        refused = run(tmp_path, "serve", **settings)
        assert refused.returncode == 1
        assert "PRIVACY_MANAGER_TRUSTED_ISSUERS" in refused.stderr
        assert "Traceback" not in refused.stderr


def test_the_demo_keeps_away_from_what_is_configured_for_production(tmp_path: Path) -> None:
    issuers = json.dumps(
        [{"issuer": "https://i", "audience": "a", "jwksUrl": "https://i/jwks", "algorithms": ["ES256"]}]
    )
    for settings in ({"MODE": "production"}, {"TRUSTED_ISSUERS": issuers}):
        refused = run(tmp_path, "demo", **settings)
        assert refused.returncode == 1
        assert not (tmp_path / "privacy-manager.db").exists()


def test_what_is_made_is_for_nobody_else_to_read(tmp_path: Path) -> None:
    folder = tmp_path / "var#1"
    run(folder, "migrate")
    run(folder, "token", "--role", "gateway")
    assert folder.stat().st_mode & 0o077 == 0
    for name in ("privacy-manager.db", "embedded-issuer.jwk"):
        assert (folder / name).stat().st_mode & 0o077 == 0
    assert run(folder, "verify").stdout == "The store is whole.\n"


def test_production_mints_no_token(tmp_path: Path) -> None:
    refused = run(tmp_path, "token", "--role", "gateway", MODE="production")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert not (tmp_path / "embedded-issuer.jwk").exists()


def test_serve_refuses_a_schema_that_is_not_at_the_head(tmp_path: Path) -> None:
    refused = run(tmp_path, "serve", MODE="test")
    assert refused.returncode == 1
    assert "privacy-manager migrate" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_a_setting_that_makes_no_sense_is_named_without_its_value(tmp_path: Path) -> None:
    refused = run(tmp_path, "migrate", DATABASE_URL="mysql://user:secret@host/name")
    assert refused.returncode == 1
    assert "PRIVACY_MANAGER_DATABASE_URL" in refused.stderr
    assert "secret" not in refused.stderr


def test_a_store_that_is_not_there_is_a_sentence_and_not_a_traceback(tmp_path: Path) -> None:
    url = f"postgresql+asyncpg://user:secret@127.0.0.1:{free_port()}/none"
    for words in (["serve"], ["migrate"], ["verify"]):
        refused = run(tmp_path, *words, MODE="test", DATABASE_URL=url)
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr
        assert "secret" not in refused.stderr


def test_an_import_with_a_refused_line_changes_nothing(tmp_path: Path) -> None:
    header, row = "INSTELLINGSCODE;VESTIGINGSCODE;VESTIGINGSNAAM", "16SW;16SW{:02};De Regenboog"
    good, bad = tmp_path / "good-bo.csv", tmp_path / "bad-bo.csv"
    rows = [header, *(row.format(number) for number in range(20))]
    good.write_text("\n".join(rows), encoding="utf-8")
    bad.write_text("\n".join([*rows[:16], "16sw;16SW15;De Regenboog", *rows[17:]]), encoding="utf-8")
    run(tmp_path, "migrate")
    refused = run(tmp_path, "schools", "import", str(bad))
    assert refused.returncode == 1
    assert "bad-bo.csv line 17" in refused.stderr
    imported = run(tmp_path, "schools", "import", str(good))
    assert "20 added" in imported.stdout
    assert "nothing changed" in run(tmp_path, "schools", "import", str(good)).stdout
    assert run(tmp_path, "verify").stdout == "The store is whole.\n"


def test_verify_finds_a_grant_that_was_changed_behind_the_services_back(demo: tuple[str, list[str], Path]) -> None:
    _, commands, folder = demo
    subprocess.run(shlex.split(commands[0]), check=True, capture_output=True)
    assert run(folder, "verify").returncode == 0
    with closing(sqlite3.connect(folder / "privacy-manager.db")) as behind_its_back:
        behind_its_back.execute("UPDATE grants SET scopes = '[]'")
        behind_its_back.commit()
    found = run(folder, "verify")
    assert found.returncode == 1
    assert "not as its last event left it" in found.stdout


@pytest.fixture
def curl() -> str:
    """The program that the demo's commands call."""
    found = shutil.which("curl")
    if found is None:
        pytest.skip("curl is not installed: the demo's commands cannot be pasted (Debian: apt-get install curl)")
    return found


@pytest.fixture
def demo(curl: str, tmp_path: Path) -> Iterator[tuple[str, list[str], Path]]:
    """A running demo: its address, the commands that it printed, and its folder."""
    port = free_port()
    with subprocess.Popen(
        [*LAUNCH, "demo", "--port", str(port)],
        cwd=ROOT,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield f"http://127.0.0.1:{port}", _printed_commands(process), tmp_path
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


def test_the_demos_three_commands_grant_show_and_permit_and_a_revoke_denies(demo: tuple[str, list[str], Path]) -> None:
    address, commands, _ = demo
    answers = [
        subprocess.run([*shlex.split(command), "-w", "\n%{http_code}"], check=True, capture_output=True, text=True)
        for command in commands
    ]
    (grant, granted), (shown, _), (decided, _) = (answer.stdout.rsplit("\n", 1) for answer in answers)
    assert granted == "201"
    grant_id = json.loads(grant)["grantId"]
    assert [consent["grantId"] for consent in json.loads(shown)["items"]] == [grant_id]
    decision = json.loads(decided)
    assert decision["decision"] is True
    assert "achternaam" in decision["context"]["fields"]
    token = re.findall(r"Bearer (\S+?)'", commands[0])[0]
    revoked = httpx2.post(
        f"{address}/v1/schools/16SW/grants/{grant_id}/_revoke",
        json={"reason": "Klaar."},
        headers={"Authorization": f"Bearer {token}"},
    )
    assert revoked.status_code == 200
    after = subprocess.run(shlex.split(commands[2]), check=True, capture_output=True, text=True)
    assert (json.loads(after.stdout)["decision"], json.loads(after.stdout)["context"]["reason"]) == (False, "revoked")
    assert httpx2.get(f"{address}/health/ready").json()["status"] == "ready"


def test_a_second_demo_on_the_same_folder_has_something_left_to_grant(demo: tuple[str, list[str], Path]) -> None:
    _, commands, folder = demo
    subprocess.run(shlex.split(commands[0]), check=True, capture_output=True)
    again = subprocess.Popen(
        [*LAUNCH, "demo", "--port", str(free_port())],
        cwd=ROOT,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        command = [*shlex.split(_printed_commands(again)[0]), "-o", os.devnull, "-w", "%{http_code}"]
        assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "201"
    finally:
        again.terminate()
        again.communicate(timeout=20)


def test_a_minted_token_is_accepted_by_the_demo(demo: tuple[str, list[str], Path]) -> None:
    address, _, folder = demo
    for words, path in (
        (["--role", "school", "--school", "16SW"], "/v1/schools/16SW"),
        (["--role", "partner", "--client-id", "rekenrijk"], "/v1/consents"),
        (["--role", "operator"], "/v1/partners"),
    ):
        token = run(folder, "token", *words).stdout.strip()
        assert httpx2.get(address + path, headers={"Authorization": f"Bearer {token}"}).status_code == 200
