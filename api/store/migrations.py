"""Migrations of the schema, for `serve` and `migrate`. Alembic is imported only where the schema changes."""

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import make_url

from api.store.engines import make_file
from api.store.store import Store

if TYPE_CHECKING:
    from alembic.config import Config

ROOT: Final = Path(__file__).resolve().parents[2]
#: The name of a revision's file begins with the revision, and each is higher than the one before it.
_REVISION: Final = re.compile(r"(\d{4})_\w+\.py")


def configuration(url: str) -> "Config":
    """Alembic's configuration for the store at `url`."""
    from alembic.config import Config

    config = Config(ROOT / "alembic.ini")
    config.attributes["url"] = url
    # Needed by alembic's own command only; here it would lengthen the module search path on each call.
    config.set_main_option("prepend_sys_path", "")
    return config


def migrate(url: str, to: str = "head") -> None:
    """Migrates the schema of the store at `url` to a revision, up or down."""
    from alembic import command

    make_file(make_url(url))
    if to == "head":
        command.upgrade(configuration(url), to)
    else:
        command.downgrade(configuration(url), to)


@cache
def head() -> str:
    """The newest revision of the schema, read once in a process."""
    names = (path.name for path in (ROOT / "alembic" / "versions").iterdir())
    return max(found[1] for found in map(_REVISION.fullmatch, names) if found is not None)


async def revision_of(store: Store) -> str | None:
    """The present revision of the store's schema; None without one. Raises whatever the driver raises."""
    if _is_missing(store):
        return None
    async with store.engine.connect() as connection:
        return await connection.run_sync(_revision)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.scalars(text("SELECT version_num FROM alembic_version")).all()
    # Of a history with branches, which ours is not, a schema has more than one.
    return ", ".join(sorted(found)) or None


def _is_missing(store: Store) -> bool:
    return store.is_sqlite and not Path(str(store.url.database)).exists()
