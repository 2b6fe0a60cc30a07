"""The commands about the evidence, against a service that runs: witness, verify, export, receipts and keys."""

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.cli.commands import run
from tests.exchange.peers.running import Manager, manager_in
from tests.worlds.world import NAMES

CLIENT = "rekenrijk"
OBEYED = "\x1b]0;x\x07\u009b2J\nThe store is whole."


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Manager, Path]]:
    """A service that runs, with a grant that was revoked and one that holds, and a token of an operator in a file."""
    folder = tmp_path_factory.mktemp("service")
    with manager_in(folder, [CLIENT, "taalhuis"], NAMES) as manager:
        manager.revoke(manager.grant(CLIENT, NAMES))
        (folder / "token").write_text(manager.token("operator"))
        yield manager, folder


def commanded(service: tuple[Manager, Path], *words: str) -> subprocess.CompletedProcess[str]:
    return run(service[1], *words, MODE="test")


def witnessed(service: tuple[Manager, Path]) -> subprocess.CompletedProcess[str]:
    manager, folder = service
    return commanded(
        service, "witness", str(folder / "witness"), "--url", manager.url, "--token-file", str(folder / "token")
    )


def test_a_witness_follows_and_the_store_is_whole(service: tuple[Manager, Path]) -> None:
    first = witnessed(service)
    assert (first.returncode, "entries" in first.stdout) == (0, True), first.stderr
    service[0].grant("taalhuis", NAMES)
    assert witnessed(service).stdout != first.stdout
    found = commanded(service, "verify", "--witness", str(service[1] / "witness"))
    assert (found.returncode, found.stdout) == (0, "The store is whole.\n"), found.stdout + found.stderr


def test_an_export_is_verified_without_the_store(service: tuple[Manager, Path], tmp_path: Path) -> None:
    export = tmp_path / "export.jsonl"
    assert commanded(service, "export", str(export)).returncode == 0
    found = run(tmp_path, "verify", "--export", str(export))
    assert (found.returncode, found.stdout) == (0, "The export is whole.\n"), found.stderr
    head, *entries = export.read_text("utf-8").splitlines()
    changed = json.loads(entries[1]) | {"kind": "grant.granted"}
    export.write_text("\n".join([head, entries[0], json.dumps(changed), *entries[2:], ""]), "utf-8")
    found = run(tmp_path, "verify", "--export", str(export))
    assert (found.returncode, "rewritten" in found.stdout) == (1, True)


def test_a_store_that_was_changed_is_named_and_ends_with_1(service: tuple[Manager, Path], tmp_path: Path) -> None:
    folder = service[1]
    assert witnessed(service).returncode == 0
    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / "evidence-keys.json").write_bytes((folder / "evidence-keys.json").read_bytes())
    with (
        sqlite3.connect(folder / "privacy-manager.db") as source,
        sqlite3.connect(changed / "privacy-manager.db") as copy,
    ):
        source.backup(copy)
        copy.execute("DROP TRIGGER events_no_update")
        copy.execute("UPDATE events SET kind = 'grant.resumed' WHERE kind = 'grant.revoked'")
        copy.execute("UPDATE grants SET status = 'granted' WHERE status = 'revoked'")
    source.close()
    copy.close()
    found = run(changed, "verify", "--witness", str(folder / "witness"), MODE="test")
    assert found.returncode == 1
    assert "was changed: its leaf was made of another one." in found.stdout
    assert "was changed: it is not the one that was kept apart." in found.stdout
    assert "is not as its last event left it." in found.stdout


def test_a_receipt_is_verified_offline(service: tuple[Manager, Path], tmp_path: Path) -> None:
    manager = service[0]
    headers = {"Authorization": f"Bearer {manager.token('operator')}"}
    entries = httpx2.get(f"{manager.url}/v1/log/entries?limit=500", headers=headers).json()["items"]
    number = next(entry["number"] for entry in entries if entry["kind"] == "grant.revoked")
    shown = httpx2.get(f"{manager.url}/v1/receipts/{number}", headers=headers).json()
    public = commanded(service, "keys", "show").stdout.splitlines()
    (tmp_path / "receipt").write_text(shown["receipt"])
    (tmp_path / "jwks").write_text(public[-1])
    words = ("--jwks", str(tmp_path / "jwks"), "--key", public[0])
    found = run(tmp_path, "verify-receipt", str(tmp_path / "receipt"), *words)
    assert (found.returncode, "grant.revoked" in found.stdout) == (0, True), found.stderr
    (tmp_path / "receipt").write_text(shown["receipt"].replace("a", "b", 1))
    found = run(tmp_path, "verify-receipt", str(tmp_path / "receipt"), *words)
    assert (found.returncode, found.stdout[:27]) == (1, "The receipt does not hold: ")


def test_keys_rotate_and_retire(service: tuple[Manager, Path], tmp_path: Path) -> None:
    (tmp_path / "evidence-keys.json").write_bytes((service[1] / "evidence-keys.json").read_bytes())
    assert run(tmp_path, "keys", "retire").returncode == 1
    before = run(tmp_path, "keys", "show").stdout.splitlines()
    rotated = run(tmp_path, "keys", "rotate").stdout.splitlines()
    assert rotated[0] == before[0]
    assert len(rotated) == len(before) + 1
    retired = run(tmp_path, "keys", "retire").stdout.splitlines()
    assert sorted(retired[:-1]) == sorted(rotated[:-1])
    assert len(json.loads(retired[-1])["keys"]) == 2
    assert '"d"' not in "".join(retired)


def test_a_store_without_its_keys_is_not_served(service: tuple[Manager, Path], tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{service[1] / 'privacy-manager.db'}"
    refused = run(tmp_path, "serve", MODE="test", DATABASE_URL=url)
    assert (refused.returncode, "kept with the keys of" in refused.stderr) == (1, True)
    assert not (tmp_path / "evidence-keys.json").exists()


@pytest.mark.parametrize("words", [["restore"], ["restore", "--confirm", "--from", "x"], ["witness", "x"], ["export"]])
def test_a_command_that_lacks_what_it_needs_says_so(tmp_path: Path, words: list[str]) -> None:
    refused = run(tmp_path, *words, MODE="test")
    assert refused.returncode != 0
    assert "Traceback" not in refused.stderr


def test_what_stands_in_tables_does_not_command_the_terminal(service: tuple[Manager, Path], tmp_path: Path) -> None:
    """Whoever can write to the tables chooses what `verify` has to say of them."""
    folder = service[1]
    (tmp_path / "evidence-keys.json").write_bytes((folder / "evidence-keys.json").read_bytes())
    source, copy = (sqlite3.connect(each / "privacy-manager.db") for each in (folder, tmp_path))
    source.backup(copy)
    copy.execute("UPDATE locations SET code = code || ? WHERE code IN (SELECT code FROM locations LIMIT 1)", (OBEYED,))
    copy.commit()
    source.close()
    copy.close()
    found = run(tmp_path, "verify", MODE="test")
    assert found.returncode == 1, found.stderr
    assert "\\u{1b}]0;x\\u{7}" in found.stdout
    assert not [sign for sign in found.stdout + found.stderr if not (sign.isprintable() or sign == "\n")]
    assert "The store is whole." not in found.stdout.splitlines()
