"""webhooks: where partners are told of changes, what waits to be told, and what came of it

Revision: 0010, after 0009, on 2026-11-26 15:00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# Fixed-width text on SQLite, where text order is then time order.
INSTANT = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")
# SQLite numbers rows by itself in a column of this type alone.
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "webhook_subscriptions",
        sa.Column("subscription_id", sa.String(36), nullable=False),
        sa.Column("client_id", sa.String(64), nullable=False),
        sa.Column("url", sa.String(1000), nullable=False),
        sa.Column("url_version", sa.Integer(), nullable=False),
        sa.Column("types", sa.JSON(), nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("disabled_reason", sa.String(16), nullable=True),
        sa.Column("disabled_at", INSTANT, nullable=True),
        sa.Column("seed", sa.String(32), nullable=False),
        sa.Column("former_seed", sa.String(32), nullable=True),
        sa.Column("former_until", INSTANT, nullable=True),
        sa.Column("failing_since", INSTANT, nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["client_id"], ["connections.client_id"]),
        sa.PrimaryKeyConstraint("subscription_id"),
    )
    op.create_index("ix_webhook_subscriptions_client_id", "webhook_subscriptions", ["client_id"], unique=False)
    op.create_table(
        "webhook_messages",
        sa.Column("subscription_id", sa.String(36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("lane", sa.String(4), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("subscription_id", "number"),
    )
    op.create_index("ix_webhook_messages_at", "webhook_messages", ["at"], unique=False)
    _index("webhook_messages", "waiting", ["subscription_id", "lane", "number"], "state = 'waiting'")
    _index("webhook_messages", "dead", ["subscription_id", "number"], "state = 'dead'")
    op.create_table(
        "webhook_lanes",
        sa.Column("subscription_id", sa.String(36), nullable=False),
        sa.Column("lane", sa.String(4), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", INSTANT, nullable=True),
        sa.Column("claim", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("subscription_id", "lane"),
    )
    _index("webhook_lanes", "fresh", ["subscription_id", "next_at"], "attempts = 0")
    _index("webhook_lanes", "again", ["subscription_id", "next_at"], "attempts > 0")
    op.create_table(
        "webhook_attempts",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("subscription_id", sa.String(36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("milliseconds", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_webhook_attempts_at", "webhook_attempts", ["at"], unique=False)
    op.create_index(
        "ix_webhook_attempts_subscription_id_id", "webhook_attempts", ["subscription_id", "id"], unique=False
    )


def downgrade() -> None:
    for table in ("webhook_attempts", "webhook_lanes", "webhook_messages", "webhook_subscriptions"):
        op.drop_table(table)


def _index(table: str, name: str, columns: list[str], rows: str) -> None:
    where = sa.text(rows)
    op.create_index(f"ix_{table}_{name}", table, columns, unique=False, postgresql_where=where, sqlite_where=where)
