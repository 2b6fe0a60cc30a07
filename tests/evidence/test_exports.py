"""Exports as they are written: every change until the instant that they are of, and whole or not at all."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api.evidence import exports, json_lines
from api.evidence.exports import Export, ExportRefused, opened, write_export
from api.store.events import SYSTEM, record
from api.store.outage import StoreUnreachable
from models.log.events import Event
from models.log.log_entries import canonical, entry_of
from models.past.replay import listed
from models.vocabulary.event_kinds import EventKind
from tests.worlds.world import World
from tests.worlds.world_evidence import keys_of


def exported(path: Path, world: World) -> tuple[Export, list[str]]:
    """The export, and the kinds of its entries; it holds."""
    with opened(path, keys_of(world).verifiers) as export:
        return export, [entry["kind"] for entry in export.held()]


async def test_an_export_has_every_change_until_its_instant_also_one_that_is_not_committed_yet(
    world: World, tmp_path: Path
) -> None:
    """A change takes its time before it commits: an export of an instant in between would lack it."""
    path = tmp_path / "export.jsonl"
    async with asyncio.TaskGroup() as group:
        async with world.store.writing() as write:
            changed = write.now
            world.clock.advance(seconds=5)
            writing = group.create_task(write_export(world.store, keys_of(world), path))
            await asyncio.sleep(0.5)
            record(write, EventKind.STORE_CONFIRMED, SYSTEM, {})
        size = await writing
    export, kinds = exported(path, world)
    assert export.until > changed
    assert (kinds[-1], len(kinds)) == ("store.confirmed", size)
    # To be alone for a moment is no change.
    assert (await entries_since(world, size)) == []


async def entries_since(world: World, number: int) -> list[str]:
    answer = await world.operate("GET", f"/v1/log/entries?after={number}")
    return [entry["kind"] for entry in answer.json()["items"]]


async def test_an_export_is_for_its_owner_and_takes_the_place_of_a_link(world: World, tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "export.jsonl", tmp_path / "elsewhere"
    elsewhere.write_text("van iemand anders")
    path.symlink_to(elsewhere)
    await write_export(world.store, keys_of(world), path)
    assert elsewhere.read_text() == "van iemand anders"
    assert not path.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    exported(path, world)


@pytest.mark.empty_world
async def test_an_export_that_fails_leaves_the_older_one(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "exports" / "export.jsonl"
    path.parent.mkdir()
    await write_export(world.store, keys_of(world), path)
    before = path.read_bytes()
    await world.register()

    def failing(event: Event) -> object:
        if event.number > 1:
            raise OSError("no space left on the device")
        return entry_of(event)

    with monkeypatch.context() as patched:
        patched.setattr(exports, "entry_of", failing)
        with pytest.raises((OSError, StoreUnreachable), match="no space left"):
            await write_export(world.store, keys_of(world), path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    await write_export(world.store, keys_of(world), path)
    assert path.read_bytes() != before


async def test_an_export_takes_the_place_of_a_file_alone(world: World, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="is no file"):
        await write_export(world.store, keys_of(world), tmp_path)
    with pytest.raises(FileNotFoundError):
        await write_export(world.store, keys_of(world), tmp_path / "nergens" / "export.jsonl")
    assert not (tmp_path / "nergens").exists()


async def test_a_line_that_no_entry_makes_so_long_is_not_read(world: World, tmp_path: Path) -> None:
    path = tmp_path / "export.jsonl"
    await write_export(world.store, keys_of(world), path)
    head, first, *_ = path.read_bytes().splitlines(keepends=True)
    for line in (b'{"a": "' + b"a" * json_lines.MOST_BYTES, b"[" + b"[]," * json_lines.MOST_BYTES):
        path.write_bytes(b"".join([head, first, line]))
        with pytest.raises(ExportRefused, match=r"line 3: |does not hold"):
            exported(path, world)
        path.write_bytes(b"".join([head, line]))
        with pytest.raises(ExportRefused, match="too long"):
            exported(path, world)
        path.write_bytes(line)
        with pytest.raises(ExportRefused, match="does not begin"):
            exported(path, world)


def test_the_largest_entry_is_far_smaller_than_what_is_read_of_a_line() -> None:
    """An import of all schools: 8,717 locations in 2026, of fewer schools; here as if each had one of its own."""
    now = datetime.now(UTC)
    names = [f"{number // 100:02d}{chr(65 + number % 26)}{chr(65 + number // 26 % 26)}" for number in range(8_717)]
    state = listed(((name, "12345", now) for name in names), ((f"{name}00", now) for name in names))
    assert 5 * len(canonical({"state": {"listed": state}})) < json_lines.MOST_BYTES


async def test_what_stands_behind_the_checkpoint_is_not_read(world: World, tmp_path: Path) -> None:
    path = tmp_path / "export.jsonl"
    await write_export(world.store, keys_of(world), path)
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines(keepends=True)[-1] * 1_000)
    with opened(path, keys_of(world).verifiers) as export:
        with pytest.raises(ExportRefused, match="Entries stand behind"):
            list(export.held())
        assert export.lines.readline(), "the rest"
