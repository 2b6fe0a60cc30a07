"""names in remembered answers: whom and what an answer names, so that an erasure finds the answers to drop

Revision: 0011, after 0010, on 2026-11-28 08:00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # NULL in rows that are there already: bodies of older versions, which this one reads as those wrote them.
    with op.batch_alter_table("remembered_answers") as batch:
        batch.add_column(sa.Column("names", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    # The older version can neither open these bodies nor find the ones to drop at an erasure. The key stays used.
    op.execute("UPDATE remembered_answers SET fingerprint = '', body = '' WHERE names IS NOT NULL")
    with op.batch_alter_table("remembered_answers") as batch:
        batch.drop_column("names")
