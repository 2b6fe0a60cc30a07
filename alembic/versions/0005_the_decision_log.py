"""the decision log: a line for each decision

Revision: 0005, after 0004, on 2026-11-24 19:20:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Fixed-width text on SQLite, where text order is then time order.
INSTANT = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def upgrade() -> None:
    op.create_table(
        "decision_log",
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("issuer", sa.String(255), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("door", sa.String(16), nullable=False),
        sa.Column("client_id", sa.String(64), nullable=False),
        sa.Column("school", sa.String(4), nullable=False),
        sa.Column("place", sa.String(16), nullable=False),
        sa.Column("resource_type", sa.String(16), nullable=False),
        sa.Column("scopes", sa.String(1000), nullable=False),
        sa.Column("fields", sa.String(1000), nullable=False),
        sa.Column("purpose", sa.String(64), nullable=True),
        sa.Column("permit", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("grant_id", sa.String(36), nullable=True),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("trace_id", sa.String(32), nullable=True),
        # The order in which lines are read, deleted and digested.
        sa.PrimaryKeyConstraint("at", "id"),
    )
    # For whoever reads a school's lines. No further index: each makes every decision wait longer for the disk.
    op.create_index("ix_decision_log_school_at", "decision_log", ["school", "at"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_decision_log_school_at", table_name="decision_log")
    op.drop_table("decision_log")
