"""The command `schools import`: imports DUO's files of locations, with progress on a terminal."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from api.registry.schools_import import ImportReport, import_files
from api.settings import Settings
from api.store.store import Store


def load(files: list[Path], kind: str | None, *, allow_mass_removal: bool) -> None:
    """Imports the files into the store of the settings. Raises `ImportRefused`."""
    store = Store(Settings().store_url)
    with _progress("Locations") as on_progress:
        report = asyncio.run(
            _import(store, files, kind=kind, allow_mass_removal=allow_mass_removal, on_progress=on_progress)
        )
    typer.echo(str(report))


async def _import(
    store: Store,
    files: list[Path],
    kind: str | None,
    allow_mass_removal: bool,
    on_progress: Callable[[int, int], None],
) -> ImportReport:
    try:
        return await import_files(
            store, files, kind=kind, allow_mass_removal=allow_mass_removal, on_progress=on_progress
        )
    finally:
        await store.aclose()


@contextmanager
def _progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Shows progress if standard error is a terminal."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
