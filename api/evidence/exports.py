"""The log as a file of JSON lines, which is verified and asked anywhere, without a store and without a secret.

    {"checkpoint": a signed note, "keys": [verifier keys]}
    an entry, in the canonical form of RFC 8785
    ...

The note has a line behind the root that says of which instant the export is: what changed after it, it does not tell.
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
from models.log.verification import Audit, Kept
from models.vocabulary.identifiers import Brin, ClientId
from models.vocabulary.instants import SQLITE_INSTANT, instant_of

#: A note of 64 KiB at most, and the keys.
MOST_BYTES_OF_THE_HEAD: Final = 256 * 1024
#: How the line of the checkpoint begins that says of which instant it is.
OF: Final = "at "


class ExportRefused(Exception):
    """Why a file is no export, or one that does not hold."""


class _Head(BaseModel):
    """The first line of an export."""

    checkpoint: str
    keys: list[str]


def _moment(text: str) -> str:
    instant_of(text)
    return text


def _texts(longest: int, pattern: str = PRINTABLE) -> Any:
    return StringConstraints(max_length=longest, pattern=pattern)


class _Entry(BaseModel):
    """What every entry has. Members of a later version may stand beside these: they are in the leaf too."""

    model_config = ConfigDict(strict=True, extra="allow")

    number: Annotated[int, Field(ge=1, le=2**53)]
    revision: Annotated[int, Field(ge=0, le=2**53)]
    mark: Annotated[str, _texts(32)]
    at: Annotated[str, _texts(27, r"^[0-9-]{10}T[0-9:]{8}\.[0-9]{6}Z$"), AfterValidator(_moment)]
    kind: Annotated[str, _texts(40)]
    actor: Annotated[str, _texts(255)]
    actorRole: Annotated[str, _texts(16)]  # noqa: N815
    reason: Annotated[str, _texts(500)] | None
    brin: Brin | None
    clientId: ClientId | None  # noqa: N815
    grantId: RecordId | None  # noqa: N815
    state: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Export:
    """An export whose checkpoint was verified; its entries were not yet. They are read once."""

    checkpoint: Checkpoint
    known: tuple[VerifierKey, ...]
    path: Path
    lines: BinaryIO

    @property
    def until(self) -> datetime:
        """The instant that it is of. Raises `ExportRefused` when it does not say so."""
        for line in self.checkpoint.extensions:
            if line.startswith(OF):
                try:
                    return instant_of(line.removeprefix(OF)).astimezone(UTC)
                except (ValueError, OverflowError):
                    break
        raise ExportRefused(f"{self.path} does not say of which instant it is.")

    def entries(self) -> Iterator[dict[str, Any]]:
        """The entries as they stand there. Raises `ExportRefused` for a line that is none."""
        for number, line in enumerate(lines_of(self.lines), start=2):
            try:
                entry = _entry(line)
            except Malformed as malformed:
                raise ExportRefused(f"{self.path}, line {number}: {malformed}") from None
            yield entry

    def faults(self, audit: Audit) -> list[str]:
        """What is wrong with its entries, against what `audit` knows of before too; empty when nothing is."""
        for _ in self.audited(audit):
            pass
        return audit.found

    def held(self) -> Iterator[dict[str, Any]]:
        """Its entries. Raises `ExportRefused` behind the last when they are not those of its checkpoint.

        Nothing may be told of them before that: whoever takes them in takes in all.
        """
        audit = Audit()
        yield from self.audited(audit)
        if audit.found:
            faults = "\n".join(audit.found)
            raise ExportRefused(f"{self.path} does not hold, and nothing is told of it.\n{faults}")

    def audited(self, audit: Audit) -> Iterator[dict[str, Any]]:
        """Its entries; behind the last, `audit` has found what is wrong with them."""
        audit.older = [*audit.older, self.checkpoint]
        entries = self.entries()
        for entry in islice(entries, self.checkpoint.size):
            audit.read(Kept(entry))
            yield entry
        audit.ended()
        # However many: nobody signed them, and nobody reads them.
        if next(entries, None) is not None:
            audit.found.append(f"Entries stand behind the {self.checkpoint.size} of the checkpoint.")


def _entry(line: bytes) -> dict[str, Any]:
    """Raises `Malformed`."""
    entry = object_in(line)
    try:
        _Entry.model_validate(entry)
        # Half of a character has no bytes, and so no leaf.
        canonical(entry)
    except (ValidationError, UnicodeEncodeError):
        raise Malformed("not an entry") from None
    return entry


@contextmanager
def opened(path: Path, known: Sequence[VerifierKey]) -> Iterator[Export]:
    """The export at `path`, whose checkpoint one of these keys has signed; without any, one that it names itself.

    Raises `ExportRefused` for what does not begin as an export, `NoteInvalid`, and `OSError`.
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
    """Writes the log to a file for its owner only, in the place of what is there; how many entries it has.

    When that fails, what is there stays. Raises `StoreUnreachable`, also where a change holds the store for too long,
    and `OSError`.
    """
    with private_files.replacing(path) as file:
        return await _write(store, found, file)


async def _write(store: Store, found: EvidenceKeys, file: BinaryIO) -> int:
    size = 0
    async with store.writing() as write:
        # While no other change is under way: of those until now all are committed, and any later one is of later.
        until = write.now.astimezone(UTC).strftime(SQLITE_INSTANT)
    async with store.reading() as session:
        note = await checkpoint(session, found, f"{OF}{until}")
        head = {"checkpoint": note, "keys": [str(key) for key in found.verifiers]}
        file.write(json.dumps(head).encode() + b"\n")
        query = select(Event).order_by(col(Event.number)).execution_options(yield_per=1000)
        async for event in await session.stream_scalars(query):
            file.write(canonical(entry_of(event)) + b"\n")
            size += 1
    return size
