"""the first tables

Revision: 0001, the first, on 2026-11-24 02:17:31.719562
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Fixed-width text on SQLite, where text order is then time order.
INSTANT = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")
OPEN = "status IN ('granted', 'suspended', 'needs_reconfirmation')"
OPEN_SCHOOL = sa.text(f"location IS NULL AND {OPEN}")
OPEN_LOCATION = sa.text(f"location IS NOT NULL AND {OPEN}")


def upgrade() -> None:
    op.create_table(
        "boards",
        sa.Column("number", sa.String(5), nullable=False),
        sa.Column("name", sa.String(200), nullable=True),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_table(
        "consent_revision",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("mark", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "events",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("mark", sa.String(32), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("actor_role", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(500), nullable=True),
        sa.Column("brin", sa.String(4), nullable=True),
        sa.Column("client_id", sa.String(64), nullable=True),
        sa.Column("grant_id", sa.String(36), nullable=True),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ix_events_client_id_number", "events", ["client_id", "number"], unique=False)
    op.create_index("ix_events_grant_id_number", "events", ["grant_id", "number"], unique=False)
    op.create_index("ix_events_revision", "events", ["revision"], unique=False)

    op.create_table(
        "partners",
        sa.Column("kvk_number", sa.String(8), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("kvk_number"),
    )
    op.create_table(
        "remembered_answers",
        sa.Column("caller", sa.String(64), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("etag", sa.String(80), nullable=True),
        sa.Column("body", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("caller", "key"),
    )
    op.create_table(
        "connections",
        sa.Column("client_id", sa.String(64), nullable=False),
        sa.Column("kvk_number", sa.String(8), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("profile", sa.String(40), nullable=False),
        sa.Column("recipient_role", sa.String(12), nullable=False),
        sa.Column("required_scopes", sa.JSON(), nullable=False),
        sa.Column("optional_scopes", sa.JSON(), nullable=False),
        sa.Column("purposes", sa.JSON(), nullable=False),
        sa.Column("request_version", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["kvk_number"],
            ["partners.kvk_number"],
        ),
        sa.PrimaryKeyConstraint("client_id"),
    )
    op.create_index("ix_connections_kvk_number", "connections", ["kvk_number"], unique=False)
    op.create_index("ix_connections_revision", "connections", ["revision"], unique=False)

    op.create_table(
        "schools",
        sa.Column("brin", sa.String(4), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("board_number", sa.String(), nullable=True),
        sa.Column("gone_at", INSTANT, nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["board_number"],
            ["boards.number"],
        ),
        sa.PrimaryKeyConstraint("brin"),
    )
    op.create_index("ix_schools_board_number", "schools", ["board_number"], unique=False)
    op.create_index("ix_schools_revision", "schools", ["revision"], unique=False)

    op.create_table(
        "agreements",
        sa.Column("agreement_id", sa.String(36), nullable=False),
        sa.Column("client_id", sa.String(64), nullable=False),
        sa.Column("board_number", sa.String(5), nullable=True),
        sa.Column("agreement_version", sa.String(40), nullable=False),
        sa.Column("privacybijsluiter_version", sa.String(40), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("purposes", sa.JSON(), nullable=False),
        sa.Column("signed_on", sa.Date(), nullable=False),
        sa.Column("valid_from", INSTANT, nullable=False),
        sa.Column("valid_until", INSTANT, nullable=True),
        sa.Column("registered_at_revision", sa.Integer(), nullable=False),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["board_number"],
            ["boards.number"],
        ),
        sa.ForeignKeyConstraint(
            ["client_id"],
            ["connections.client_id"],
        ),
        sa.PrimaryKeyConstraint("agreement_id"),
    )
    op.create_index("ix_agreements_client_id", "agreements", ["client_id"], unique=False)
    op.create_index("ix_agreements_revision", "agreements", ["revision"], unique=False)

    op.create_table(
        "ground_rules",
        sa.Column("ground_rule_id", sa.String(36), nullable=False),
        sa.Column("client_id", sa.String(64), nullable=False),
        sa.Column("rule", sa.String(24), nullable=False),
        sa.Column("evidence", sa.String(500), nullable=False),
        sa.Column("source", sa.String(200), nullable=False),
        sa.Column("valid_from", INSTANT, nullable=False),
        sa.Column("valid_until", INSTANT, nullable=True),
        sa.Column("checked_by", sa.String(255), nullable=False),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["client_id"],
            ["connections.client_id"],
        ),
        sa.PrimaryKeyConstraint("ground_rule_id"),
    )
    op.create_index("ix_ground_rules_client_id", "ground_rules", ["client_id"], unique=False)
    op.create_index("ix_ground_rules_revision", "ground_rules", ["revision"], unique=False)

    op.create_table(
        "locations",
        sa.Column("code", sa.String(6), nullable=False),
        sa.Column("brin", sa.String(), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("street", sa.String(200), nullable=True),
        sa.Column("house_number", sa.String(40), nullable=True),
        sa.Column("postcode", sa.String(10), nullable=True),
        sa.Column("city", sa.String(100), nullable=True),
        sa.Column("municipality", sa.String(100), nullable=True),
        sa.Column("province", sa.String(60), nullable=True),
        sa.Column("denomination", sa.String(100), nullable=True),
        sa.Column("website", sa.String(300), nullable=True),
        sa.Column("kinds", sa.JSON(), nullable=False),
        sa.Column("gone_at", INSTANT, nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["brin"],
            ["schools.brin"],
        ),
        sa.PrimaryKeyConstraint("code"),
    )
    op.create_index("ix_locations_brin", "locations", ["brin"], unique=False)
    op.create_index("ix_locations_revision", "locations", ["revision"], unique=False)

    op.create_table(
        "grants",
        sa.Column("grant_id", sa.String(36), nullable=False),
        sa.Column("client_id", sa.String(64), nullable=False),
        sa.Column("brin", sa.String(4), nullable=False),
        sa.Column("location", sa.String(6), nullable=True),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("purposes", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(24), nullable=False),
        sa.Column("valid_from", INSTANT, nullable=False),
        sa.Column("valid_until", INSTANT, nullable=True),
        sa.Column("suspended_until", INSTANT, nullable=True),
        sa.Column("request_version", sa.Integer(), nullable=False),
        sa.Column("granted_at_revision", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["brin"],
            ["schools.brin"],
        ),
        sa.ForeignKeyConstraint(
            ["client_id"],
            ["connections.client_id"],
        ),
        sa.ForeignKeyConstraint(
            ["location"],
            ["locations.code"],
        ),
        sa.PrimaryKeyConstraint("grant_id"),
    )
    op.create_index("ix_grants_brin", "grants", ["brin"], unique=False)
    op.create_index("ix_grants_client_id_brin", "grants", ["client_id", "brin"], unique=False)
    op.create_index("ix_grants_valid_until", "grants", ["valid_until"], unique=False)
    op.create_index("ix_grants_suspended_until", "grants", ["suspended_until"], unique=False)
    op.create_index("ix_grants_revision", "grants", ["revision"], unique=False)
    op.create_index(
        "ux_grants_open_location",
        "grants",
        ["client_id", "location"],
        unique=True,
        postgresql_where=OPEN_LOCATION,
        sqlite_where=OPEN_LOCATION,
    )
    op.create_index(
        "ux_grants_open_school",
        "grants",
        ["client_id", "brin"],
        unique=True,
        postgresql_where=OPEN_SCHOOL,
        sqlite_where=OPEN_SCHOOL,
    )

    # The one row that every write locks.
    op.execute("INSERT INTO consent_revision (id, revision, events, mark) VALUES (1, 0, 0, '')")


def downgrade() -> None:
    op.drop_table("grants")
    op.drop_table("locations")
    op.drop_table("ground_rules")
    op.drop_table("agreements")
    op.drop_table("schools")
    op.drop_table("connections")
    op.drop_table("remembered_answers")
    op.drop_table("partners")
    op.drop_table("events")
    op.drop_table("consent_revision")
    op.drop_table("boards")
