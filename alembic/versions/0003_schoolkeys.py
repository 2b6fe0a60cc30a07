"""schoolkeys: by which other name a LAS knows a school

Revision: 0003, after 0002, on 2026-11-24 17:20:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Fixed-width text on SQLite, where text order is then time order.
INSTANT = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def upgrade() -> None:
    op.create_table(
        "school_keys",
        sa.Column("schoolkey", sa.String(64), nullable=False),
        sa.Column("brin", sa.String(4), nullable=False),
        sa.Column("location", sa.String(6), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["brin"], ["schools.brin"]),
        sa.ForeignKeyConstraint(["location"], ["locations.code"]),
        sa.PrimaryKeyConstraint("schoolkey"),
    )
    op.create_index("ix_school_keys_brin", "school_keys", ["brin"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_school_keys_brin", table_name="school_keys")
    op.drop_table("school_keys")
