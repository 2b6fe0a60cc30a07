"""A witness: keeps the log's entries and checkpoints where who runs the service cannot change them.

    keys               whose signatures it accepts, as C2SP verifier keys: pinned when it begins
    entries.jsonl      every entry, a line each, in the canonical form that its leaf is made of
    checkpoints/SIZE   every checkpoint that it accepted, as it was signed

A log that forked, or is smaller than it was, is refused; the checkpoint that shows it is kept as `refused-SIZE`.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import httpx2
from pydantic import BaseModel, ValidationError

from models.log_entries import canonical
from models.merkle import Peaks, leaf_hash, verify_consistency
from models.signed_notes import Checkpoint, VerifierKey, checkpoint_in, opened

AT_ONCE: Final = 500
SECONDS: Final = 30.0


class LogRefused(Exception):
    """The log is not one that grew from what this witness has. The text says why."""


class Witness:
    """The folder of one witness of one log."""

    def __init__(self, folder: Path, keys: Iterable[VerifierKey] = ()) -> None:
        self.folder = folder
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        self._entries = folder / "entries.jsonl"
        self._entries.touch()
        self._keys = folder / "keys"
        if not self._keys.exists():
            self.accept(keys)
        self.last = self._last()
        self._peaks = Peaks()
        self._drop_what_was_not_accepted()

    @property
    def keys(self) -> list[VerifierKey]:
        lines = self._keys.read_text("utf-8").split("\n") if self._keys.exists() else []
        return [VerifierKey.parse(line) for line in lines if line]

    def accept(self, keys: Iterable[VerifierKey]) -> None:
        """From now on signatures by these are accepted too."""
        known = {str(key) for key in self.keys} | {str(key) for key in keys}
        if known:
            _replace(self._keys, "".join(f"{key}\n" for key in sorted(known)).encode())

    def entries(self) -> Iterator[dict[str, Any]]:
        """The entries that were accepted, in order."""
        with self._entries.open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)

    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints that were accepted, the oldest first. Raises `NoteInvalid`."""
        paths = sorted((self.folder / "checkpoints").iterdir(), key=lambda path: int(path.name))
        return [checkpoint_in(path.read_bytes(), self.keys) for path in paths]

    def take(self, note: bytes, consistency: Sequence[bytes], entries: Iterable[dict[str, Any]]) -> Checkpoint:
        """Accepts a later checkpoint, with the proof that it follows and the entries since. Raises `LogRefused`."""
        found = checkpoint_in(note, self.keys)
        try:
            self._require_follows(found, consistency)
            peaks, lines = self._grown(found, entries)
        except LogRefused:
            _replace(self.folder / f"refused-{found.size}", note)
            raise
        with self._entries.open("ab") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        _replace(self.folder / "checkpoints" / str(found.size), note)
        self._peaks, self.last = peaks, found
        return found

    def _require_follows(self, found: Checkpoint, consistency: Sequence[bytes]) -> None:
        last = self.last
        if last is None:
            return
        if found.origin != last.origin:
            raise LogRefused(f"this is the log of {found.origin}, not of {last.origin}")
        if found.size < last.size:
            raise LogRefused(f"the log has {found.size} entries, and had {last.size}: it was rolled back or cut off")
        if last.size and not verify_consistency(last.size, found.size, consistency, last.root, found.root):
            raise LogRefused(f"the log of {found.size} entries does not begin with the {last.size} that it had: a fork")

    def _grown(self, found: Checkpoint, entries: Iterable[dict[str, Any]]) -> tuple[Peaks, bytes]:
        peaks, lines = self._peaks, bytearray()
        for each in entries:
            line = canonical(each)
            if each.get("number") != peaks.size + 1:
                raise LogRefused(f"entry {peaks.size + 1} is not the one that follows")
            peaks, _ = peaks.appended(leaf_hash(line))
            lines += line + b"\n"
        if (peaks.size, peaks.root) != (found.size, found.root):
            raise LogRefused(f"the entries are not those of the checkpoint of {found.size}")
        return peaks, bytes(lines)

    def _last(self) -> Checkpoint | None:
        accepted = self.checkpoints()
        return accepted[-1] if accepted else None

    def _drop_what_was_not_accepted(self) -> None:
        """Of entries whose checkpoint was never written, since the witness was stopped in between."""
        size, end = self.last.size if self.last is not None else 0, 0
        with self._entries.open("rb") as lines:
            for line in lines:
                if self._peaks.size == size:
                    break
                self._peaks, _ = self._peaks.appended(leaf_hash(line.rstrip(b"\n")))
                end += len(line)
        os.truncate(self._entries, end)
        if self.last is not None and self._peaks.root != self.last.root:
            raise LogRefused(f"{self._entries} is not what was accepted: it was changed here")


class _Keys(BaseModel):
    notes: list[str]


class _Proof(BaseModel):
    proof: list[str]


class _Page(BaseModel):
    items: list[dict[str, Any]]


def follow(witness: Witness, url: str, token: str) -> Checkpoint:
    """Takes in what the log at this address has become. Raises `LogRefused`, `NoteInvalid` and `httpx2.HTTPError`."""
    with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=SECONDS) as client:
        try:
            return _followed(witness, client)
        except ValidationError:
            raise LogRefused("what was answered is not what a log answers") from None


def _followed(witness: Witness, client: httpx2.Client) -> Checkpoint:
    published = _Keys.model_validate_json(_asked(client, "/v1/log/keys"))
    keys = [VerifierKey.parse(each) for each in published.notes]
    if not witness.keys:
        witness.accept(keys)
    note = _asked(client, "/v1/log/checkpoint")
    found = checkpoint_in(note, witness.keys)
    last = witness.last.size if witness.last is not None else 0
    taken = witness.take(note, _consistency(client, last, found.size), _entries(client, last, found.size))
    # A new key is known by signing beside one that was.
    _, signers = opened(note, keys)
    witness.accept(key for key in keys if str(key) in signers)
    return taken


def _consistency(client: httpx2.Client, first: int, second: int) -> list[bytes]:
    if not 0 < first <= second:
        return []
    answer = _Proof.model_validate_json(_asked(client, f"/v1/log/consistency?first={first}&second={second}"))
    try:
        return [bytes.fromhex(each) for each in answer.proof]
    except ValueError:
        raise LogRefused("what was answered is not a proof") from None


def _entries(client: httpx2.Client, after: int, size: int) -> Iterator[dict[str, Any]]:
    while after < size:
        path = f"/v1/log/entries?after={after}&limit={min(AT_ONCE, size - after)}"
        page = _Page.model_validate_json(_asked(client, path)).items
        if not page:
            return
        yield from page
        after += len(page)


def _asked(client: httpx2.Client, path: str) -> bytes:
    return client.get(path).raise_for_status().content


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
