"""Migrations of the schema, for `serve` and `migrate`."""

from pathlib import Path

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import make_url

from alembic import command
from api.store.engines import make_file
from api.store.store import Store

ROOT = Path(__file__).resolve().parents[2]


def configuration(url: str) -> Config:
    """Alembic's configuration for the store at `url`."""
    config = Config(ROOT / "alembic.ini")
    config.attributes["url"] = url
    # Needed by alembic's own command only; here it would lengthen the module search path on each call.
    config.set_main_option("prepend_sys_path", "")
    return config


def migrate(url: str, to: str = "head") -> None:
    """Migrates the schema of the store at `url` to a revision, up or down."""
    make_file(make_url(url))
    if to == "head":
        command.upgrade(configuration(url), to)
    else:
        command.downgrade(configuration(url), to)


def head() -> str | None:
    """The newest revision of the schema."""
    return ScriptDirectory.from_config(configuration("")).get_current_head()


async def revision_of(store: Store) -> str | None:
    """The present revision of the store's schema; None without one. Raises whatever the driver raises."""
    if _is_missing(store):
        return None
    async with store.engine.connect() as connection:
        return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())


def _is_missing(store: Store) -> bool:
    return store.is_sqlite and not Path(str(store.url.database)).exists()
