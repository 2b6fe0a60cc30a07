"""The schema's history, as `serve` and `migrate` use it."""

from functools import cache
from pathlib import Path

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import make_url

from alembic import command
from api.store.sqlite_files import make_file
from api.store.store import Store

ROOT = Path(__file__).resolve().parents[2]


def configuration(url: str) -> Config:
    """Alembic's configuration for the store at `url`."""
    config = Config(ROOT / "alembic.ini")
    config.attributes["url"] = url
    # That is for alembic's own command: here it would make the search for modules longer each time.
    config.set_main_option("prepend_sys_path", "")
    return config


def migrate(url: str, to: str = "head") -> None:
    """Brings the schema of the store at `url` to a revision of the history, up or down."""
    make_file(make_url(url))
    if to == "head":
        command.upgrade(configuration(url), to)
    else:
        command.downgrade(configuration(url), to)


@cache
def head() -> str | None:
    """The newest revision of the schema's history, read once in a process."""
    return ScriptDirectory.from_config(configuration("")).get_current_head()


async def revision_of(store: Store) -> str | None:
    """The revision that the store's schema is at; None when it has none. Raises what the driver raises."""
    if _is_missing(store):
        return None
    async with store.engine.connect() as connection:
        return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())


def _is_missing(store: Store) -> bool:
    return store.is_sqlite and not Path(str(store.url.database)).exists()
