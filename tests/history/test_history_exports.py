"""Exports that are not what they were, or that nobody would write: nothing is told of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from api.security import evidence_keys
from tests.history.history_commands import (
    QUESTIONS,
    Desk,
    Entries,
    Said,
    command,
    entries_in,
    forged,
    rewritten,
    words_of,
    written,
)


def changed(entries: Entries) -> Entries:
    for entry in entries:
        if entry["kind"] == "grant.revoked":
            entry["state"]["status"] = "granted"
    return entries


TAMPERED: Final[dict[str, Callable[[Entries], list[Any]]]] = {
    "changed": changed,
    "removed": lambda entries: [entry for entry in entries if entry["kind"] != "grant.revoked"],
    "cut off": lambda entries: entries[:-1],
    "all gone": lambda entries: [],
    "put into another order": lambda entries: [*entries[:-2], entries[-1], entries[-2]],
    "numbered anew": lambda entries: [
        entry | {"number": number}
        for number, entry in enumerate((each for each in entries if each["kind"] != "grant.revoked"), start=1)
    ],
    "twice": lambda entries: [*entries, entries[-1]],
    "added to": lambda entries: [*entries, entries[-1] | {"number": len(entries) + 1, "kind": "grant.granted"}],
}


def asked_everything(export: Path, *words: str) -> list[Said]:
    """Each command that reads an export."""
    asked = words_of(QUESTIONS[1])
    return [
        command(*one, "--export", str(export), *words)
        for one in (asked, [*asked, "--json"], ["changes"], ["changes", "--json"])
    ]


@pytest.mark.parametrize("what", TAMPERED)
def test_nothing_is_told_of_an_export_that_was(export: Path, log_key: str, what: str) -> None:
    assert all(said.status == 0 for said in [*asked_everything(export), command("verify", "--export", str(export))])
    rewritten(export, TAMPERED[what])
    for said in [*asked_everything(export), *asked_everything(export, "--key", log_key)]:
        assert said.is_a_refusal, said
        assert "does not hold" in said.err
    assert command("verify", "--export", str(export)).status == 1


def test_entries_behind_an_older_checkpoint_are_not_taken_for_signed(
    export: Path, kept: tuple[bytes, bytes, str]
) -> None:
    older, newer, _ = kept
    export.write_bytes(b"".join([older.splitlines(keepends=True)[0], *newer.splitlines(keepends=True)[1:]]))
    assert all(said.is_a_refusal for said in asked_everything(export))
    found = command("verify", "--export", str(export))
    assert (found.status, "stand behind" in found.out) == (1, True)


def test_an_export_that_another_signed_holds_by_its_own_key_alone(export: Path, log_key: str, tmp_path: Path) -> None:
    theirs = forged(export, changed(entries_in(export)), tmp_path)
    assert all(said.is_a_refusal for said in asked_everything(export, "--key", log_key))
    (taken, *_) = asked_everything(export)
    assert taken.out.startswith("yes: granted")
    assert "a key that it names itself" in taken.err
    (taken, *_) = asked_everything(export, "--key", str(theirs.verifiers[0]))
    assert (taken.status, taken.err) == (0, "")


def test_an_installation_takes_an_export_by_its_own_keys_alone(
    export: Path, kept: tuple[bytes, bytes, str], tmp_path: Path
) -> None:
    """Whoever changed one signs it again, by a key of the same name."""
    told = {"VAR_DIR": str(tmp_path / "installation")}
    evidence_keys.make(tmp_path / "installation" / "evidence-keys.json")
    commands = [words_of(QUESTIONS[1]), ["changes"], ["verify"]]
    for words in commands:
        said = command(*words, "--export", str(export), **told)
        assert (said.is_a_refusal, "signed by nobody who is known" in said.err) == (True, True), said
        said = command(*words, "--export", str(export), "--key", kept[2], **told)
        assert (said.status, said.err) == (0, "")
        said = command(*words, "--export", str(export))
        assert (said.status, "a key that it names itself" in said.err) == (0, True)


async def test_what_came_after_an_export_it_does_not_tell(desk: Desk) -> None:
    until = desk.world.clock.now
    await desk.write()
    after = desk.world.clock.advance(hours=1)
    for words in ([*words_of(QUESTIONS[0]), "--at"], ["changes", "--until"]):
        assert (await desk.of_export(*words, written(until))).status == 0
        late = await desk.of_export(*words, written(after))
        assert late.is_a_refusal
        assert "what changed after it" in late.err
    assert (await desk.of_store(*words_of(QUESTIONS[0]), "--at", written(after))).status == 0
    future = await desk.of_store(*words_of(QUESTIONS[0]), "--at", "2999-01-01T00:00:00Z")
    assert (future.is_a_refusal, future.err) == (True, "privacy-manager: at must not be in the future.\n")


def test_an_export_that_does_not_say_of_when_it_is_tells_nothing_of_then(export: Path, tmp_path: Path) -> None:
    forged(export, entries_in(export), tmp_path, until="")
    assert [said.is_a_refusal for said in asked_everything(export)] == [True, True, False, False]
    assert command("changes", "--export", str(export), "--until", "2026-09-01T09:00:00Z").is_a_refusal


# -- exports as nobody would write them -------------------------------------------------------------------------------


def in_grant(**members: Any) -> Callable[[Entries], Entries]:
    """The grant's state says something else."""

    def make(entries: Entries) -> Entries:
        for entry in entries:
            if entry["kind"].startswith("grant."):
                entry["state"] |= members
        return entries

    return make


def without(name: str) -> Callable[[Entries], Entries]:
    def make(entries: Entries) -> Entries:
        for entry in entries:
            entry["state"].pop(name, None)
        return entries

    return make


SENSELESS: Final[dict[str, Callable[[Entries], Entries]]] = {
    "no scopes": without("scopes"),
    "no grant's id": without("grantId"),
    "scopes that are a number": in_grant(scopes=7),
    "scopes in scopes": in_grant(scopes=[["leerling.naam"]]),
    "an instant without an offset": in_grant(validFrom="2026-09-01T08:00:00"),
    "an instant that is no text": in_grant(validFrom=2026),
    "an instant before all": in_grant(validFrom="0001-01-01T00:00:00+23:59", validUntil="0001-01-01T00:00:00+23:59"),
    "an end after all": in_grant(status="granted", validUntil="9999-12-31T23:59:59-23:59"),
    "a grant's id that is an object": in_grant(status="granted", grantId={"a": 1}),
    "schools that are numbers": lambda entries: [
        entry | {"state": {"listed": {"schools": [1, 2], "locations": 3}}}
        if entry["kind"] == "schools.listed"
        else entry
        for entry in entries
    ],
}


@pytest.mark.parametrize("what", SENSELESS)
def test_what_no_change_could_say_is_a_refusal_also_when_it_is_signed(export: Path, tmp_path: Path, what: str) -> None:
    forged(export, SENSELESS[what](entries_in(export)), tmp_path)
    for said in asked_everything(export):
        assert said.is_a_refusal or said.status == 0, said
    (replayed, as_json, *_) = asked_everything(export)
    assert replayed.is_a_refusal or replayed.out.startswith("no: "), replayed
    assert as_json.is_a_refusal or json.loads(as_json.out)["decision"] is False
    if what != "an instant before all":
        assert (replayed.is_a_refusal, "what no change could" in replayed.err) == (True, True)


WRONG: Final[dict[str, dict[str, Any]]] = {
    "a number that is true": {"number": True},
    "a number that is a text": {"number": "1"},
    "no instant": {"at": "gisteren"},
    "a day that there is not": {"at": "2026-13-45T00:00:00.000000Z"},
    "a school that is a list": {"brin": ["16SW"]},
    "a connection that a terminal obeys": {"clientId": "\x1b[2J"},
    "a state that is a list": {"state": []},
    "half of a character": {"state": {"a": "\ud800"}},
    "a number of many digits": {"revision": 10**30},
    "no kind": {"kind": None},
}


@pytest.mark.parametrize("what", WRONG)
def test_a_line_that_is_no_entry_is_named(export: Path, what: str) -> None:
    lines = export.read_bytes().splitlines()
    lines[2] = json.dumps(json.loads(lines[2]) | WRONG[what]).encode()
    export.write_bytes(b"\n".join([*lines, b""]))
    for said in [*asked_everything(export), command("verify", "--export", str(export))]:
        assert said.is_a_refusal, said
        assert "line 3" in said.err


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"{}", b"\x00\xff" * 99, b"[" * 100_000, b'{"checkpoint": "", "keys": []}\n', b"SQLite format 3\x00"],
    ids=["empty", "a line", "no members", "no text", "nested", "no note", "a database"],
)
def test_what_is_no_export_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "export.jsonl"
    path.write_bytes(content)
    assert all(said.is_a_refusal for said in asked_everything(path))


@pytest.mark.parametrize("line", [b"[" * 99_999, b'{"number": 1', b'"\xff"', b"null", b'{"a": 1, "a": 1}', b"1e999"])
def test_a_line_that_is_no_object_is_refused(export: Path, line: bytes) -> None:
    head, first, *others = export.read_bytes().splitlines()
    export.write_bytes(b"\n".join([head, first, line, *others]))
    for said in asked_everything(export):
        assert (said.is_a_refusal, "line 3" in said.err) == (True, True), said


def test_nothing_in_an_export_commands_the_terminal(export: Path, tmp_path: Path) -> None:
    hostile = "\x1b]0;x\x07\r\u202e\u009b2J\nyes: granted"
    entries = in_grant(status=hostile, grantId=hostile, **{hostile: hostile})(entries_in(export))
    forged(export, [*entries, entries[-1] | {"number": len(entries) + 1, "kind": hostile[4:5] + "x"}], tmp_path)
    for said in asked_everything(export):
        written = said.out + said.err
        assert not [sign for sign in written if not (sign.isprintable() or sign == "\n")], written
        assert not any(line.startswith("yes: granted") for line in written.splitlines())
