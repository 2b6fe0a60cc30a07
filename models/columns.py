"""Column types that behave the same on PostgreSQL and on SQLite."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, Index, String, TypeDecorator, text
from sqlalchemy.types import TypeEngine

from models.vocabulary.instants import SQLITE_INSTANT, instant_of


class Instant(TypeDecorator[datetime]):
    """An instant in UTC: `timestamptz` on PostgreSQL, fixed-width text on SQLite, where text order is time order."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(27))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).strftime(SQLITE_INSTANT)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if dialect.name == "sqlite":
            return instant_of(value)
        moment: datetime = value
        return moment.astimezone(UTC)


def one_open_a_place(table: str, is_open: str) -> tuple[Index, Index]:
    """Partial unique indexes: at most one row that satisfies `is_open` per connection and school, and per connection
    and location."""

    def index(name: str, column: str, rows: str) -> Index:
        where = text(f"{rows} AND {is_open}")
        return Index(name, "client_id", column, unique=True, postgresql_where=where, sqlite_where=where)

    return (
        index(f"ux_{table}_open_school", "brin", "location IS NULL"),
        index(f"ux_{table}_open_location", "location", "location IS NOT NULL"),
    )
