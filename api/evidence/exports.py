"""Exports: the log as a file of JSON lines, which anyone can verify and query without a store and without a secret.

    {"checkpoint": a signed note, "keys": [verifier keys]}
    an entry, in the canonical form of RFC 8785
    ...

The note has an extension line, after the root, with the instant of the export: it holds no change after that instant.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from sqlmodel import col, select

from api.evidence.json_lines import lines_of, object_in
from api.evidence.proofs import checkpoint
from api.security import private_files
from api.security.evidence_keys import EvidenceKeys
from api.security.strict_json import Malformed
from api.store.store import Store
from api.web.schemas import PRINTABLE, RecordId
from models.log.events import Event
from models.log.log_entries import canonical, entry_of
from models.log.signed_notes import Checkpoint, NoteInvalid, VerifierKey, checkpoint_in
from models.log.verification import Audit, StoredEntry
from models.vocabulary.identifiers import Brin, ClientId
from models.vocabulary.instants import SQLITE_INSTANT, instant_of

#: The longest first line: a note of at most 64 KiB, and the keys.
MOST_BYTES_OF_THE_HEAD: Final = 256 * 1024
#: The prefix of the checkpoint's extension line with the instant of the export.
INSTANT_PREFIX: Final = "at "


class ExportRefused(Exception):
    """A file that is no export, or an export that fails verification; the text says why."""


class _Head(BaseModel):
    """The first line of an export."""

    checkpoint: str
    keys: list[str]


def _require_instant(text: str) -> str:
    instant_of(text)
    return text


def _text_of(longest: int, pattern: str = PRINTABLE) -> Any:
    return StringConstraints(max_length=longest, pattern=pattern)


class _Entry(BaseModel):
    """The members of every entry. Members of later versions are allowed beside these, and are part of the leaf too."""

    model_config = ConfigDict(strict=True, extra="allow")

    number: Annotated[int, Field(ge=1, le=2**53)]
    revision: Annotated[int, Field(ge=0, le=2**53)]
    mark: Annotated[str, _text_of(32)]
    at: Annotated[str, _text_of(27, r"^[0-9-]{10}T[0-9:]{8}\.[0-9]{6}Z$"), AfterValidator(_require_instant)]
    kind: Annotated[str, _text_of(40)]
    actor: Annotated[str, _text_of(255)]
    actorRole: Annotated[str, _text_of(16)]  # noqa: N815
    reason: Annotated[str, _text_of(500)] | None
    brin: Brin | None
    clientId: ClientId | None  # noqa: N815
    grantId: RecordId | None  # noqa: N815
    state: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Export:
    """An export whose checkpoint was verified, and whose entries were not yet. Its lines can be read once."""

    checkpoint: Checkpoint
    known: tuple[VerifierKey, ...]
    path: Path
    lines: BinaryIO

    @property
    def until(self) -> datetime:
        """The instant of the export, in UTC. Raises `ExportRefused` where its checkpoint has none."""
        for line in self.checkpoint.extensions:
            if line.startswith(INSTANT_PREFIX):
                try:
                    return instant_of(line.removeprefix(INSTANT_PREFIX)).astimezone(UTC)
                except (ValueError, OverflowError):
                    break
        raise ExportRefused(f"{self.path} does not say of which instant it is.")

    def entries(self) -> Iterator[dict[str, Any]]:
        """The unverified entries. Raises `ExportRefused` for a line that is no entry."""
        for number, line in enumerate(lines_of(self.lines), start=2):
            try:
                entry = _entry(line)
            except Malformed as malformed:
                raise ExportRefused(f"{self.path}, line {number}: {malformed}") from None
            yield entry

    def faults(self, audit: Audit) -> list[str]:
        """Audits all entries, also against the older checkpoints in `audit`; returns the faults."""
        for _ in self.audited_entries(audit):
            pass
        return audit.found

    def verified_entries(self) -> Iterator[dict[str, Any]]:
        """The entries, verified once the iterator has ended: it raises `ExportRefused` after the last one for faults.

        A caller must read all entries before it uses any.
        """
        audit = Audit()
        yield from self.audited_entries(audit)
        if audit.found:
            faults = "\n".join(audit.found)
            raise ExportRefused(f"{self.path} does not hold, and nothing is told of it.\n{faults}")

    def audited_entries(self, audit: Audit) -> Iterator[dict[str, Any]]:
        """The entries, which `audit` reads along; after the last one it holds their faults."""
        audit.older = [*audit.older, self.checkpoint]
        entries = self.entries()
        for entry in islice(entries, self.checkpoint.size):
            audit.read(StoredEntry(entry))
            yield entry
        audit.ended()
        # Entries after the checkpoint's are reported and not read, however many: no signature covers them.
        if next(entries, None) is not None:
            audit.found.append(f"Entries stand behind the {self.checkpoint.size} of the checkpoint.")


def _entry(line: bytes) -> dict[str, Any]:
    """The entry in a line. Raises `Malformed`."""
    entry = object_in(line)
    try:
        _Entry.model_validate(entry)
        # A lone surrogate has no UTF-8 form, and so no leaf.
        canonical(entry)
    except (ValidationError, UnicodeEncodeError):
        raise Malformed("not an entry") from None
    return entry


@contextmanager
def opened(path: Path, known: Sequence[VerifierKey]) -> Iterator[Export]:
    """Opens the export at `path`, whose checkpoint one of the `known` keys must have signed; without any, a key that
    the file itself names.

    Raises `ExportRefused` for a file that does not begin as an export, `NoteInvalid`, and `OSError`.
    """
    with path.open("rb") as lines:
        try:
            head = _Head.model_validate_json(lines.readline(MOST_BYTES_OF_THE_HEAD))
        except ValidationError:
            raise ExportRefused(f"{path} does not begin as an export") from None
        keys = tuple(known) or tuple(VerifierKey.parse(each) for each in head.keys)
        try:
            found = checkpoint_in(head.checkpoint.encode(), keys)
        except NoteInvalid as invalid:
            raise NoteInvalid(f"{path}: {invalid}") from None
        yield Export(found, keys, path, lines)


async def write_export(store: Store, found: EvidenceKeys, path: Path) -> int:
    """Writes the log to a file that only its owner can read, replacing an earlier one; returns the number of entries.

    When that fails, the earlier file stays. Raises `StoreUnreachable`, also where a change holds the store for too
    long, and `OSError`.
    """
    with private_files.replacing(path) as file:
        return await _write(store, found, file)


async def _write(store: Store, found: EvidenceKeys, file: BinaryIO) -> int:
    size = 0
    async with store.writing() as write:
        # Under the writers' lock: every change up to this instant is committed, and any other one gets a later instant.
        until = write.now.astimezone(UTC).strftime(SQLITE_INSTANT)
    async with store.reading() as session:
        note = await checkpoint(session, found, f"{INSTANT_PREFIX}{until}")
        head = {"checkpoint": note, "keys": [str(key) for key in found.verifiers]}
        file.write(json.dumps(head).encode() + b"\n")
        query = select(Event).order_by(col(Event.number)).execution_options(yield_per=1000)
        async for event in await session.stream_scalars(query):
            file.write(canonical(entry_of(event)) + b"\n")
            size += 1
    return size
