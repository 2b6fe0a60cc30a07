"""deletion duties: what partners delete after a grant has ended

Revision: 0007, after 0006, on 2026-11-26 15:10:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# Fixed-width text on SQLite, where text order is then time order.
INSTANT = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")
OPEN = sa.text("confirmed_at IS NULL AND lapsed_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "deletion_duties",
        sa.Column("grant_id", sa.String(36), nullable=False),
        sa.Column("client_id", sa.String(64), nullable=False),
        sa.Column("brin", sa.String(4), nullable=False),
        sa.Column("location", sa.String(6), nullable=True),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("ended_at", INSTANT, nullable=False),
        sa.Column("due_at", INSTANT, nullable=False),
        sa.Column("confirmed_at", INSTANT, nullable=True),
        sa.Column("confirmed_in_entry", sa.Integer(), nullable=True),
        sa.Column("lapsed_at", INSTANT, nullable=True),
        sa.Column("overdue_told_at", INSTANT, nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["grant_id"], ["grants.grant_id"]),
        sa.ForeignKeyConstraint(["client_id"], ["connections.client_id"]),
        sa.ForeignKeyConstraint(["brin"], ["schools.brin"]),
        sa.PrimaryKeyConstraint("grant_id"),
    )
    op.create_index("ix_deletion_duties_client_id_brin", "deletion_duties", ["client_id", "brin"], unique=False)
    op.create_index("ix_deletion_duties_brin", "deletion_duties", ["brin"], unique=False)
    for name, columns in (("open_due_at", ["due_at"]), ("open_brin", ["brin", "due_at"])):
        op.create_index(
            f"ix_deletion_duties_{name}",
            "deletion_duties",
            columns,
            unique=False,
            postgresql_where=OPEN,
            sqlite_where=OPEN,
        )
    op.create_index("ix_deletion_duties_revision", "deletion_duties", ["revision"], unique=False)


def downgrade() -> None:
    op.drop_table("deletion_duties")
