"""requests: what partners ask of schools

Revision: 0006, after 0005, on 2026-11-26 11:45:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Fixed-width text on SQLite, where text order is then time order.
INSTANT = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")
OPEN_SCHOOL = sa.text("location IS NULL AND status = 'open'")
OPEN_LOCATION = sa.text("location IS NOT NULL AND status = 'open'")


def upgrade() -> None:
    op.create_table(
        "access_requests",
        sa.Column("request_id", sa.String(36), nullable=False),
        sa.Column("client_id", sa.String(64), nullable=False),
        sa.Column("brin", sa.String(4), nullable=False),
        sa.Column("location", sa.String(6), nullable=True),
        sa.Column("required_scopes", sa.JSON(), nullable=False),
        sa.Column("optional_scopes", sa.JSON(), nullable=False),
        sa.Column("purposes", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("request_version", sa.Integer(), nullable=False),
        sa.Column("asked_in_entry", sa.Integer(), nullable=False),
        sa.Column("answered_in_entry", sa.Integer(), nullable=True),
        sa.Column("grant_id", sa.String(36), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["client_id"], ["connections.client_id"]),
        sa.ForeignKeyConstraint(["brin"], ["schools.brin"]),
        sa.ForeignKeyConstraint(["location"], ["locations.code"]),
        sa.ForeignKeyConstraint(["grant_id"], ["grants.grant_id"]),
        sa.PrimaryKeyConstraint("request_id"),
    )
    op.create_index("ix_access_requests_brin", "access_requests", ["brin"], unique=False)
    op.create_index("ix_access_requests_revision", "access_requests", ["revision"], unique=False)
    op.create_index("ix_access_requests_client_id_brin", "access_requests", ["client_id", "brin"], unique=False)
    op.create_index(
        "ux_access_requests_open_school",
        "access_requests",
        ["client_id", "brin"],
        unique=True,
        postgresql_where=OPEN_SCHOOL,
        sqlite_where=OPEN_SCHOOL,
    )
    op.create_index(
        "ux_access_requests_open_location",
        "access_requests",
        ["client_id", "location"],
        unique=True,
        postgresql_where=OPEN_LOCATION,
        sqlite_where=OPEN_LOCATION,
    )


def downgrade() -> None:
    op.drop_table("access_requests")
