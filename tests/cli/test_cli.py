"""The commands, each with what it refuses: in this process, with an environment and an installation of its own."""

import json
from pathlib import Path

import pytest

from tests.cli.commands import run
from tests.exchange.peers.running import free_port


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
