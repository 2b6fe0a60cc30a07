"""the log: leaves and subtrees of the Merkle tree over the events, and texts that are sealed apart

Revision: 0004, after 0003, on 2026-11-24 17:50:00

An event that is in the store already becomes a leaf here; who acted and why move to where they can be erased. There is no
key in a migration: they stay readable there until a process of the service seals them.
"""

import hashlib
import hmac
import json
import secrets
from datetime import UTC

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

#: Where persons are named besides the events.
PERSONS = (
    ("case_steps", "actor"),
    ("incident_entries", "actor"),
    ("incidents", "assignee"),
    ("files", "uploaded_by"),
    ("ground_rules", "checked_by"),
)
UNCHANGING = ("events", "log_nodes")
INSTANT = "%Y-%m-%dT%H:%M:%S.%fZ"
STORED_LEVEL = 8


def upgrade() -> None:
    op.create_table(
        "sealed_texts",
        sa.Column("commitment", sa.String(76), nullable=False),
        sa.Column("lookup", sa.String(64), nullable=True),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("text", sa.LargeBinary(), nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("commitment"),
        sa.UniqueConstraint("lookup"),
    )
    op.create_table(
        "log_nodes",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("level", "position"),
    )
    op.add_column("events", sa.Column("leaf", sa.LargeBinary(32), nullable=True))
    op.create_index("ix_events_brin_number", "events", ["brin", "number"], unique=False)
    op.create_index("ix_events_kind_number", "events", ["kind", "number"], unique=False)
    with op.batch_alter_table("consent_revision") as batch:
        batch.add_column(sa.Column("peaks", sa.LargeBinary(), nullable=False, server_default=sa.text("''")))
        batch.add_column(sa.Column("origin", sa.String(200), nullable=False, server_default=""))
        batch.add_column(sa.Column("sealed_with", sa.String(64), nullable=False, server_default=""))
        batch.add_column(sa.Column("erasures", sa.Integer(), nullable=False, server_default="0"))
    _seal_persons()
    _plant()
    with op.batch_alter_table("events") as batch:
        batch.alter_column("leaf", existing_type=sa.LargeBinary(32), nullable=False)
    with op.batch_alter_table("consent_revision") as batch:
        batch.alter_column("peaks", existing_type=sa.LargeBinary(), server_default=None)
        batch.alter_column("origin", existing_type=sa.String(200), server_default=None)
        batch.alter_column("sealed_with", existing_type=sa.String(64), server_default=None)
        batch.alter_column("erasures", existing_type=sa.Integer(), server_default=None)
    _forbid_changes()


def downgrade() -> None:
    """What is sealed cannot be opened here: where a name stood, its commitment stays."""
    _allow_changes()
    _open_what_is_open()
    op.execute("UPDATE events SET reason = NULL WHERE reason LIKE 'hmac-sha256:%'")
    with op.batch_alter_table("consent_revision") as batch:
        for name in ("erasures", "sealed_with", "origin", "peaks"):
            batch.drop_column(name)
    op.drop_index("ix_events_kind_number", table_name="events")
    op.drop_index("ix_events_brin_number", table_name="events")
    with op.batch_alter_table("events") as batch:
        batch.drop_column("leaf")
    op.drop_table("log_nodes")
    op.drop_table("sealed_texts")


# -- who and why ------------------------------------------------------------------------------------------------------


def _seal_persons() -> None:
    bind = op.get_bind()
    known: dict[str, str] = {}
    for table, column in (("events", "actor"), *PERSONS):
        not_system = " AND actor_role <> 'system'" if table == "events" else ""
        query = f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL{not_system}"
        for (name,) in bind.execute(sa.text(query)).fetchall():
            if name not in known:
                known[name] = _move(bind, name, lookup=f"open:{len(known)}")
            bind.execute(
                sa.text(f"UPDATE {table} SET {column} = :known WHERE {column} = :name{not_system}"),
                {"known": known[name], "name": name},
            )
    query = "SELECT number, reason FROM events WHERE reason IS NOT NULL AND actor_role <> 'system'"
    for number, reason in bind.execute(sa.text(query)).fetchall():
        bind.execute(
            sa.text("UPDATE events SET reason = :reason WHERE number = :number"),
            {"reason": _move(bind, reason), "number": number},
        )


def _move(bind: sa.Connection, text: str, lookup: str | None = None) -> str:
    """A person's name has a lookup, which is nothing yet: it is made with the key."""
    key = secrets.token_bytes(32)
    commitment = "hmac-sha256:" + hmac.digest(key, b"commitment\0" + text.encode(), hashlib.sha256).hex()
    columns = (sa.column("key", sa.LargeBinary), sa.column("text", sa.LargeBinary), sa.column("open", sa.Boolean))
    table = sa.table("sealed_texts", sa.column("commitment"), sa.column("lookup"), *columns)
    row = {"commitment": commitment, "lookup": lookup, "key": key, "text": text.encode(), "open": True}
    bind.execute(table.insert().values(row))
    return commitment


def _open_what_is_open() -> None:
    bind = op.get_bind()
    query = sa.text("SELECT commitment, text FROM sealed_texts WHERE open").columns(text=sa.LargeBinary)
    for commitment, text in bind.execute(query).fetchall():
        for table, column in (("events", "actor"), ("events", "reason"), *PERSONS):
            bind.execute(
                sa.text(f"UPDATE {table} SET {column} = :name WHERE {column} = :known"),
                {"name": bytes(text).decode(errors="replace"), "known": commitment},
            )


# -- the tree ---------------------------------------------------------------------------------------------------------


def _plant() -> None:
    """Every event so far becomes a leaf."""
    bind = op.get_bind()
    columns = ("number", "revision", "mark", "at", "kind", "actor", "actor_role", "reason", "brin", "client_id", "grant_id")
    events = sa.table("events", *(sa.column(name) for name in columns), sa.column("state", sa.JSON()), sa.column("leaf"))
    rows = bind.execute(sa.select(*(events.c[name] for name in (*columns, "state"))).order_by(events.c.number))
    peaks: list[tuple[int, int, bytes]] = []
    for position, row in enumerate(rows.fetchall()):
        leaf = hashlib.sha256(b"\0" + _canonical(row)).digest()
        bind.execute(events.update().where(events.c.number == row.number).values(leaf=sa.bindparam("leaf", leaf, sa.LargeBinary)))
        peaks.append((0, position, leaf))
        while len(peaks) > 1 and peaks[-1][0] == peaks[-2][0]:
            (level, of, right), (_, _, left) = peaks.pop(), peaks.pop()
            peaks.append((level + 1, of // 2, hashlib.sha256(b"\1" + left + right).digest()))
            if (level + 1) % STORED_LEVEL == 0:
                nodes = sa.table("log_nodes", sa.column("level"), sa.column("position"), sa.column("hash", sa.LargeBinary))
                bind.execute(nodes.insert().values(level=level + 1, position=of // 2, hash=peaks[-1][2]))
    packed = b"".join(node for _, _, node in peaks)
    revision = sa.table("consent_revision", sa.column("peaks", sa.LargeBinary))
    bind.execute(revision.update().values(peaks=packed))


def _canonical(row: sa.Row) -> bytes:
    # SQLite keeps an instant as the very text that an entry has.
    at = row.at if isinstance(row.at, str) else row.at.astimezone(UTC).strftime(INSTANT)
    entry = {
        "number": row.number,
        "revision": row.revision,
        "mark": row.mark,
        "at": at,
        "kind": row.kind,
        "actor": row.actor,
        "actorRole": row.actor_role,
        "reason": row.reason,
        "brin": row.brin,
        "clientId": row.client_id,
        "grantId": row.grant_id,
        "state": row.state,
    }
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


# -- what is written stays --------------------------------------------------------------------------------------------


def _forbid_changes() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for table in UNCHANGING:
            for what in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_no_{what.lower()} BEFORE {what} ON {table}"
                    f" BEGIN SELECT RAISE(ABORT, 'what is in the log stays as it is'); END"
                )
        # INSERT OR REPLACE deletes without a word to the trigger above.
        for table, same in (("events", "number = NEW.number"), ("log_nodes", "level = NEW.level AND position = NEW.position")):
            op.execute(
                f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table}"
                f" WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})"
                f" BEGIN SELECT RAISE(ABORT, 'what is in the log stays as it is'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION log_stays_as_it_is() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION 'what is in the log stays as it is' USING ERRCODE = 'restrict_violation'; END$$"
    )
    for table in UNCHANGING:
        op.execute(
            f"CREATE TRIGGER {table}_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION log_stays_as_it_is()"
        )


def _allow_changes() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for table in UNCHANGING:
            for what in ("update", "delete", "replace"):
                op.execute(f"DROP TRIGGER {table}_no_{what}")
        return
    for table in UNCHANGING:
        op.execute(f"DROP TRIGGER {table}_stays ON {table}")
    op.execute("DROP FUNCTION log_stays_as_it_is()")
