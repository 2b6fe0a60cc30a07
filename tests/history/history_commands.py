"""The commands about the past as tests give them, and exports as nobody should write them."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Final

import pytest

from api.cli import history
from api.evidence.exports import write_export
from api.security import evidence_keys
from api.security.evidence_keys import EvidenceKeys
from api.store.store import Store
from models.log.log_entries import canonical
from models.log.merkle import leaf_hash, peaks_of
from models.log.signed_notes import Checkpoint, signed
from tests.cli.commands import run
from tests.worlds.world import PURPOSE, HandClock, World
from tests.worlds.world_evidence import keys_of

Entries = list[dict[str, Any]]


@dataclass(frozen=True)
class Said:
    """What a command answered: its exit status, and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def is_a_refusal(self) -> bool:
        """A sentence, and nothing that could be taken for an answer."""
        return self.status in (1, 2) and not self.out and bool(self.err.strip()) and "Traceback" not in self.err


def command(*words: str, **settings: str) -> Said:
    """A command with these settings, of an installation that there is not unless they name one."""
    folder = Path(settings.pop("VAR_DIR", str(Path(gettempdir()) / "no-installation")))
    ended = run(folder, *words, **settings)
    return Said(ended.returncode, ended.stdout, ended.stderr)


@dataclass(frozen=True)
class Desk:
    """Where the commands are given: at the machine of the store, or elsewhere with an export of it."""

    world: World
    export: Path

    async def of_store(self, *words: str) -> Said:
        url = self.world.store.url.render_as_string(hide_password=False)
        return await asyncio.to_thread(command, *words, DATABASE_URL=url)

    async def of_export(self, *words: str) -> Said:
        """Without a store, and with the key of the log that was told before."""
        key = str(keys_of(self.world).verifiers[0])
        return await asyncio.to_thread(command, *words, "--export", str(self.export), "--key", key)

    async def write(self) -> None:
        await write_export(self.world.store, keys_of(self.world), self.export)


def by_clock(monkeypatch: pytest.MonkeyPatch, clock: HandClock) -> None:
    """Puts the tests' clock behind the store that a command opens."""
    monkeypatch.setattr(history, "store_of", lambda settings: Store(settings.store_url, clock))


def entries_in(export: Path) -> Entries:
    return [json.loads(line) for line in export.read_text("utf-8").splitlines()[1:]]


def rewritten(export: Path, change: Callable[[Entries], Sequence[Any]]) -> None:
    """The export with its own head, and the entries as `change` makes them."""
    head = export.read_bytes().splitlines(keepends=True)[0]
    export.write_bytes(head + b"".join(canonical(entry) + b"\n" for entry in change(entries_in(export))))


def forged(
    path: Path, entries: Sequence[dict[str, Any]], folder: Path, until: str = "at 2026-12-01T00:00:00.000000Z"
) -> EvidenceKeys:
    """An export of these entries that holds, by keys of whoever wrote it; the keys."""
    made = evidence_keys.make(folder / "keys-of-another.json")
    root = peaks_of(leaf_hash(canonical(entry)) for entry in entries).root
    note = signed(Checkpoint(made.origin, len(entries), root, (until,) if until else ()).text, made.notes)
    head = json.dumps({"checkpoint": note, "keys": [str(key) for key in made.verifiers]}).encode()
    path.write_bytes(b"\n".join([head, *(canonical(entry) for entry in entries), b""]))
    return made


#: What is asked: options of the command by the names that they have in the API.
Question = dict[str, Any]

QUESTIONS: Final[tuple[Question, ...]] = (
    {"clientId": "rekenrijk", "place": "16SW", "type": "leerling"},
    {"clientId": "rekenrijk", "place": "16SW00", "type": "leerling", "field": ["achternaam"]},
    {"clientId": "rekenrijk", "place": "16SW01", "type": "leerling", "scope": ["leerling.naam"], "purpose": PURPOSE},
    {"clientId": "taalhuis", "place": "17TX00", "type": "leerling", "field": ["roepnaam", "achternaam"]},
)


def words_of(asked: Question) -> list[str]:
    """The question as options of the command."""
    words = ["replay"]
    for name, value in asked.items():
        option = "--client-id" if name == "clientId" else f"--{name}"
        for each in value if isinstance(value, list) else [value]:
            words += [option, str(each)]
    return words


def written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
