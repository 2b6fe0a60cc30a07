"""The store that a command works on: that of the settings, which must be there."""

from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from api.settings import Settings
from api.store.outage import StoreUnreachable
from api.store.store import Store

Result = TypeVar("Result")


def store_of(settings: Settings) -> Store:
    """The store of these settings. Raises `StoreUnreachable` where there is no file of SQLite."""
    store = Store(settings.store_url)
    # Looked at first: its driver leaves a thread behind that complains when it cannot open one.
    if store.is_sqlite and not Path(str(store.url.database)).is_file():
        raise StoreUnreachable(f"there is no store at {store.url.database}: `privacy-manager migrate` makes one")
    return store


async def closing(store: Store, work: Coroutine[Any, Any, Result]) -> Result:
    """What the work gives; the store is closed behind it."""
    try:
        return await work
    finally:
        await store.aclose()
