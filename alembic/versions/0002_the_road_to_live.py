"""the road to live: cases, stages, stops, richer agreements and ground rules, incidents, files

Revision: 0002, after 0001, on 2026-11-24 05:35:16.342277
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Fixed-width text on SQLite, where text order is then time order.
INSTANT = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def upgrade() -> None:
    op.create_table(
        "cases",
        sa.Column("case_id", sa.String(36), nullable=False),
        sa.Column("reference", sa.String(16), nullable=False),
        sa.Column("secret_digest", sa.String(64), nullable=False),
        sa.Column("company_name", sa.String(200), nullable=False),
        sa.Column("kvk_number", sa.String(8), nullable=False),
        sa.Column("contact_name", sa.String(200), nullable=False),
        sa.Column("contact_email", sa.String(254), nullable=False),
        sa.Column("contact_phone", sa.String(40), nullable=True),
        sa.Column("product_name", sa.String(200), nullable=False),
        sa.Column("requested", sa.JSON(), nullable=False),
        sa.Column("legal_relation", sa.String(2000), nullable=False),
        sa.Column("convenant_version", sa.String(8), nullable=False),
        sa.Column("convenant_status", sa.String(16), nullable=False),
        sa.Column("convenant_registration", sa.String(200), nullable=True),
        sa.Column("step", sa.String(24), nullable=False),
        sa.Column("client_id", sa.String(64), nullable=True),
        sa.Column("due_at", INSTANT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["client_id"], ["connections.client_id"]),
        sa.PrimaryKeyConstraint("case_id"),
        sa.UniqueConstraint("reference")
    )
    op.create_index("ix_cases_client_id", "cases", ["client_id"], unique=False)
    op.create_index("ix_cases_created_at", "cases", ["created_at"], unique=False)
    op.create_index("ix_cases_step_due_at", "cases", ["step", "due_at"], unique=False)

    op.create_table(
        "incidents",
        sa.Column("incident_id", sa.String(36), nullable=False),
        sa.Column("client_id", sa.String(64), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("description", sa.String(4000), nullable=False),
        sa.Column("severity", sa.String(12), nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("assignee", sa.String(255), nullable=True),
        sa.Column("first_answered_at", INSTANT, nullable=True),
        sa.Column("resolved_at", INSTANT, nullable=True),
        sa.Column("breach_suspected_at", INSTANT, nullable=True),
        sa.Column("notice_due_at", INSTANT, nullable=True),
        sa.Column("notified_at", INSTANT, nullable=True),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["client_id"], ["connections.client_id"]),
        sa.PrimaryKeyConstraint("incident_id")
    )
    op.create_index("ix_incidents_client_id", "incidents", ["client_id"], unique=False)
    op.create_index("ix_incidents_status", "incidents", ["status"], unique=False)

    op.create_table(
        "case_steps",
        sa.Column("case_id", sa.String(36), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.String(24), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("actor_role", sa.String(16), nullable=False),
        sa.Column("evidence", sa.String(1000), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"]),
        sa.PrimaryKeyConstraint("case_id", "number")
    )
    op.create_table(
        "files",
        sa.Column("file_id", sa.String(36), nullable=False),
        sa.Column("agreement_id", sa.String(36), nullable=True),
        sa.Column("incident_id", sa.String(36), nullable=True),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("media_type", sa.String(40), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.Column("uploaded_by", sa.String(255), nullable=False),
        sa.Column("uploaded_by_role", sa.String(16), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["agreement_id"], ["agreements.agreement_id"]),
        sa.ForeignKeyConstraint(["incident_id"], ["incidents.incident_id"]),
        sa.PrimaryKeyConstraint("file_id")
    )
    op.create_index("ix_files_agreement_id", "files", ["agreement_id"], unique=False)
    op.create_index("ix_files_incident_id", "files", ["incident_id"], unique=False)

    op.create_table(
        "incident_entries",
        sa.Column("incident_id", sa.String(36), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.String(16), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("actor_role", sa.String(16), nullable=False),
        sa.Column("text", sa.String(4000), nullable=True),
        sa.ForeignKeyConstraint(["incident_id"], ["incidents.incident_id"]),
        sa.PrimaryKeyConstraint("incident_id", "number")
    )
    op.create_table(
        "file_chunks",
        sa.Column("file_id", sa.String(36), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["files.file_id"]),
        sa.PrimaryKeyConstraint("file_id", "number")
    )

    # What is there already gets what was true of it; from then on, whoever writes a row says it.
    with op.batch_alter_table("agreements") as batch:
        for name in ("signatories", "sub_processors", "categories", "storage_countries"):
            batch.add_column(sa.Column(name, sa.JSON(), nullable=False, server_default="[]"))
        batch.add_column(sa.Column("retention_days", sa.Integer(), nullable=False, server_default="0"))
        batch.add_column(sa.Column("grace_until", INSTANT, nullable=True))
    # A connection that was in the register could be permitted: it is live, unless a ground rule was taken from it.
    with op.batch_alter_table("connections") as batch:
        batch.add_column(sa.Column("stage", sa.String(12), nullable=False, server_default="live"))
        batch.add_column(sa.Column("stopped_at", INSTANT, nullable=True))
    with op.batch_alter_table("partners") as batch:
        batch.add_column(sa.Column("stopped_at", INSTANT, nullable=True))
    with op.batch_alter_table("ground_rules") as batch:
        batch.add_column(sa.Column("kept", sa.Boolean(), nullable=False, server_default=sa.true()))
        batch.add_column(sa.Column("checked_at", INSTANT, nullable=True))
        batch.add_column(sa.Column("check_again_on", sa.Date(), nullable=True))
        batch.add_column(sa.Column("convenant_version", sa.String(8), nullable=True))
        batch.add_column(sa.Column("convenant_status", sa.String(16), nullable=True))
        batch.alter_column("evidence", existing_type=sa.String(500), type_=sa.String(1000), existing_nullable=False)
    op.execute("UPDATE ground_rules SET checked_at = created_at")
    op.execute(
        "UPDATE connections SET stage = 'building' WHERE client_id IN (SELECT client_id FROM ground_rules"
        " GROUP BY client_id, rule HAVING COUNT(CASE WHEN NOT ended THEN 1 END) = 0)"
    )
    with op.batch_alter_table("grants") as batch:
        batch.add_column(sa.Column("agreement_id", sa.String(36), nullable=True))
        batch.add_column(sa.Column("reconfirm_by", INSTANT, nullable=True))
        batch.create_foreign_key("grants_agreement_id_fkey", "agreements", ["agreement_id"], ["agreement_id"])
        batch.create_index("ix_grants_reconfirm_by", ["reconfirm_by"], unique=False)

    with op.batch_alter_table("agreements") as batch:
        for name in ("signatories", "sub_processors", "categories", "storage_countries"):
            batch.alter_column(name, existing_type=sa.JSON(), existing_nullable=False, server_default=None)
        batch.alter_column("retention_days", existing_type=sa.Integer(), existing_nullable=False, server_default=None)
    with op.batch_alter_table("connections") as batch:
        batch.alter_column("stage", existing_type=sa.String(12), existing_nullable=False, server_default=None)
    with op.batch_alter_table("ground_rules") as batch:
        batch.alter_column("kept", existing_type=sa.Boolean(), existing_nullable=False, server_default=None)
        batch.alter_column("checked_at", existing_type=INSTANT, nullable=False)


def downgrade() -> None:
    _deny_what_the_older_version_would_permit()
    with op.batch_alter_table("grants") as batch:
        batch.drop_index("ix_grants_reconfirm_by")
        batch.drop_constraint("grants_agreement_id_fkey", type_="foreignkey")
        batch.drop_column("reconfirm_by")
        batch.drop_column("agreement_id")
    for table, names in {
        "ground_rules": ("kept", "checked_at", "check_again_on", "convenant_version", "convenant_status"),
        "partners": ("stopped_at",),
        "connections": ("stage", "stopped_at"),
        "agreements": (
            "signatories",
            "sub_processors",
            "categories",
            "storage_countries",
            "retention_days",
            "grace_until",
        ),
    }.items():
        with op.batch_alter_table(table) as batch:
            for name in names:
                batch.drop_column(name)
    with op.batch_alter_table("ground_rules") as batch:
        batch.alter_column("evidence", existing_type=sa.String(1000), type_=sa.String(500), existing_nullable=False)
    for table in ("file_chunks", "files", "incident_entries", "incidents", "case_steps", "cases"):
        op.drop_table(table)


def _deny_what_the_older_version_would_permit() -> None:
    """It knows no stages, no emergency stops and no date to confirm by: what they deny must stay denied."""
    op.execute("UPDATE ground_rules SET evidence = SUBSTR(evidence, 1, 500)")
    op.execute(
        "UPDATE ground_rules SET ended = TRUE WHERE client_id IN ("
        "SELECT c.client_id FROM connections c JOIN partners p ON p.kvk_number = c.kvk_number"
        " WHERE c.stage <> 'live' OR c.stopped_at IS NOT NULL OR p.stopped_at IS NOT NULL)"
    )
    op.execute(
        "UPDATE grants SET status = 'needs_reconfirmation', suspended_until = NULL"
        " WHERE status IN ('granted', 'suspended') AND reconfirm_by IS NOT NULL"
    )
