"""A witness: keeps the log's entries and checkpoints in a folder that the service's operator cannot change.

    keys               the C2SP verifier keys that it accepts, pinned when it begins
    entries.jsonl      every entry, a line each, in the canonical form that its leaf is made of
    checkpoints/SIZE   every checkpoint that it accepted, as it was signed

A log that forked, or is smaller than it was, is refused; the checkpoint that shows it is kept as `refused-SIZE`.
Verification and recovery only read the folder, as a `WitnessRecords`.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import httpx2
from pydantic import BaseModel, ValidationError

from api.evidence.json_lines import lines_of, object_in
from api.security.strict_json import Malformed
from models.log.log_entries import canonical
from models.log.merkle import Peaks, leaf_hash, verify_consistency
from models.log.signed_notes import Checkpoint, NoteInvalid, VerifierKey, checkpoint_in, opened

ENTRIES_AT_ONCE: Final = 500
TIMEOUT_SECONDS: Final = 30.0
#: The prefix of the name of a file that is being written.
DRAFT: Final = "."


class LogRefused(Exception):
    """A log that did not grow from the one that the witness has, or a folder of no witness; the text says why."""


class WitnessRecords:
    """The records of a witness in its folder, read-only; it may be read while the witness writes."""

    def __init__(self, folder: Path, known: Sequence[VerifierKey] | None = None) -> None:
        """`known` are the keys whose signatures are accepted; None accepts those pinned in the folder by its maker.

        Raises `LogRefused` for a folder that is no witness's, and `NoteInvalid` for a checkpoint without a signature by
        one of the keys.
        """
        self.folder = folder
        self._known = known
        self._entries = folder / "entries.jsonl"
        self._keys = folder / "keys"
        if not (self._entries.is_file() and (folder / "checkpoints").is_dir()):
            raise LogRefused(f"{folder} is not the folder of a witness")
        self.last = self._last()

    @property
    def keys(self) -> list[VerifierKey]:
        """The keys that the witness has pinned."""
        lines = self._keys.read_text("utf-8").split("\n") if self._keys.exists() else []
        return [VerifierKey.parse(line) for line in lines if line]

    def entries(self) -> Iterator[dict[str, Any]]:
        """The entries of the last checkpoint, in order. Raises `LogRefused` after the last when they do not match it.

        Lines after these were not accepted, or not yet.
        """
        last, peaks = self.last, Peaks()
        with self._entries.open("rb") as file:
            for line in islice(lines_of(file), last.size if last is not None else 0):
                peaks, _ = peaks.appended(leaf_hash(line.rstrip(b"\n")))
                try:
                    entry = object_in(line)
                except Malformed as malformed:
                    raise LogRefused(f"{self._entries}, line {peaks.size}: {malformed}") from None
                yield entry
        if last is not None and (peaks.size, peaks.root) != (last.size, last.root):
            raise LogRefused(f"{self._entries} is not what was accepted: it was changed here")

    def checkpoints(self) -> list[Checkpoint]:
        """The accepted checkpoints, the oldest first. Raises `NoteInvalid`."""
        return [self._checkpoint(size) for size in self._sizes()]

    def _last(self) -> Checkpoint | None:
        sizes = self._sizes()
        return self._checkpoint(sizes[-1]) if sizes else None

    def _sizes(self) -> list[int]:
        """The sizes of the accepted checkpoints, sorted, without the draft of a witness that was stopped in a write.

        Raises `LogRefused` for any other file.
        """
        names = [path.name for path in (self.folder / "checkpoints").iterdir() if not path.name.startswith(DRAFT)]
        if not all(name.isascii() and name.isdecimal() for name in names):
            raise LogRefused(f"{self.folder / 'checkpoints'} has what is no checkpoint")
        return sorted(map(int, names))

    def _checkpoint(self, size: int) -> Checkpoint:
        path = self.folder / "checkpoints" / str(size)
        try:
            found = checkpoint_in(path.read_bytes(), self.keys if self._known is None else self._known)
        except NoteInvalid as invalid:
            raise NoteInvalid(f"{path}: {invalid}") from None
        if found.size != size:
            raise LogRefused(f"{path} is a checkpoint of {found.size}")
        return found


class Witness(WitnessRecords):
    """The witness that writes the folder; only one may run on it."""

    def __init__(self, folder: Path, keys: Sequence[VerifierKey] = ()) -> None:
        """Begins in an empty or missing folder, where it pins `keys`, or continues in its own folder.

        Raises `LogRefused`, also for a key that is not among the pinned ones, and `NoteInvalid`.
        """
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        (folder / "entries.jsonl").touch()
        super().__init__(folder)
        if not self.keys:
            self.pin(keys)
        if others := {str(key) for key in keys} - {str(key) for key in self.keys}:
            raise LogRefused(f"{folder} follows a log by other keys than {', '.join(sorted(others))}")
        self._peaks = Peaks()
        with self._locked_entries():
            self.last = self._last()
            for draft in [*folder.glob(f"{DRAFT}refused-*"), *(folder / "checkpoints").glob(f"{DRAFT}[0-9]*")]:
                draft.unlink()
            self._cut_unaccepted_entries()

    def pin(self, keys: Iterable[VerifierKey]) -> None:
        """Pins further keys."""
        known = {str(key) for key in self.keys} | {str(key) for key in keys}
        if known:
            _replace(self._keys, "".join(f"{key}\n" for key in sorted(known)).encode())

    def accept(self, note: bytes, consistency: Sequence[bytes], entries: Iterable[dict[str, Any]]) -> Checkpoint:
        """Accepts a later checkpoint, with its consistency proof and the entries since the last one.

        Raises `LogRefused`, after it has stored the refused checkpoint, and `NoteInvalid`.
        """
        found = checkpoint_in(note, self.keys)
        try:
            self._require_follows(found, consistency)
            peaks, lines = self._appended(found, entries)
        except LogRefused:
            _replace(self.folder / f"refused-{found.size}", note)
            raise
        with self._locked_entries() as file:
            if self._sizes()[-1:] != ([self.last.size] if self.last is not None else []):
                raise LogRefused(f"another witness is at work in {self.folder}")
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
            _replace(self.folder / "checkpoints" / str(found.size), note)
        self._peaks, self.last = peaks, found
        return found

    @contextmanager
    def _locked_entries(self) -> Iterator[BinaryIO]:
        """The file of entries, opened for appending under an exclusive lock against other witnesses in this folder."""
        with self._entries.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

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

    def _appended(self, found: Checkpoint, entries: Iterable[dict[str, Any]]) -> tuple[Peaks, bytes]:
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

    def _cut_unaccepted_entries(self) -> None:
        """Cuts off entries without a checkpoint, which a witness left that was stopped between the two writes."""
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
    """Brings the witness up to the log at `url`; returns the accepted checkpoint.

    Raises `LogRefused`, `NoteInvalid` and `httpx2.HTTPError`.
    """
    with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_SECONDS) as client:
        try:
            return _follow(witness, client)
        except ValidationError:
            raise LogRefused("what was answered is not what a log answers") from None


def _follow(witness: Witness, client: httpx2.Client) -> Checkpoint:
    published = _Keys.model_validate_json(_get(client, "/v1/log/keys"))
    keys = [VerifierKey.parse(each) for each in published.notes]
    if not witness.keys:
        witness.pin(keys)
    note = _get(client, "/v1/log/checkpoint")
    found = checkpoint_in(note, witness.keys)
    last = witness.last.size if witness.last is not None else 0
    accepted = witness.accept(note, _consistency(client, last, found.size), _entries(client, last, found.size))
    # A new key is accepted once it has signed a checkpoint beside a pinned key.
    _, signers = opened(note, keys)
    witness.pin(key for key in keys if str(key) in signers)
    return accepted


def _consistency(client: httpx2.Client, first: int, second: int) -> list[bytes]:
    if not 0 < first <= second:
        return []
    answer = _Proof.model_validate_json(_get(client, f"/v1/log/consistency?first={first}&second={second}"))
    try:
        return [bytes.fromhex(each) for each in answer.proof]
    except ValueError:
        raise LogRefused("what was answered is not a proof") from None


def _entries(client: httpx2.Client, after: int, size: int) -> Iterator[dict[str, Any]]:
    while after < size:
        path = f"/v1/log/entries?after={after}&limit={min(ENTRIES_AT_ONCE, size - after)}"
        page = _Page.model_validate_json(_get(client, path)).items
        if not page:
            return
        yield from page
        after += len(page)


def _get(client: httpx2.Client, path: str) -> bytes:
    return client.get(path).raise_for_status().content


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{DRAFT}{path.name}")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
