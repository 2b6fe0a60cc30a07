"""references: what the parties of a consent call it

Revision: 0009, after 0008, on 2026-11-26 14:45:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Fixed-width text on SQLite, where text order is then time order.
INSTANT = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def upgrade() -> None:
    op.create_table(
        "consent_references",
        sa.Column("reference_id", sa.String(36), nullable=False),
        sa.Column("client_id", sa.String(64), nullable=False),
        sa.Column("brin", sa.String(4), nullable=False),
        sa.Column("party", sa.String(8), nullable=False),
        sa.Column("reference", sa.String(36), nullable=False),
        sa.Column("request_id", sa.String(36), nullable=True),
        sa.Column("grant_id", sa.String(36), nullable=True),
        sa.Column("confirmed_at", INSTANT, nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["client_id"], ["connections.client_id"]),
        sa.ForeignKeyConstraint(["brin"], ["schools.brin"]),
        sa.ForeignKeyConstraint(["request_id"], ["access_requests.request_id"]),
        sa.ForeignKeyConstraint(["grant_id"], ["grants.grant_id"]),
        sa.PrimaryKeyConstraint("reference_id"),
    )
    op.create_index(
        "ux_consent_references", "consent_references", ["client_id", "party", "brin", "reference"], unique=True
    )
    op.create_index("ix_consent_references_brin", "consent_references", ["brin"], unique=False)
    op.create_index("ix_consent_references_grant_id", "consent_references", ["grant_id"], unique=False)
    op.create_index("ix_consent_references_revision", "consent_references", ["revision"], unique=False)


def downgrade() -> None:
    op.drop_table("consent_references")
