"""Opens and closes the store of a command: the store of the settings, which must exist."""

from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from api.settings import Settings
from api.store.outage import StoreUnreachable
from api.store.store import Store

Result = TypeVar("Result")


def store_of(settings: Settings) -> Store:
    """The store of these settings. Raises `StoreUnreachable` if its SQLite file does not exist."""
    store = Store(settings.store_url)
    # Checked first: the SQLite driver leaves a thread that prints an error when it cannot open its file.
    if store.is_sqlite and not Path(str(store.url.database)).is_file():
        raise StoreUnreachable(f"there is no store at {store.url.database}: `privacy-manager migrate` makes one")
    return store


async def closing(store: Store, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`; the store is closed after it."""
    try:
        return await work
    finally:
        await store.aclose()
