"""Detail that can be erased, and purges: after its retention an event may go, and nothing else."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
BELOW = "SELECT 1 FROM audit_leaves JOIN audit_purges ON audit_leaves.leaf_index < audit_purges.upto"
OLDER = "SELECT 1 FROM audit_purges WHERE old.first_used < audit_purges.cutoff"
UNRECORDED = "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM audit_purges WHERE old.leaf_index < audit_purges.upto)"
PURGED = {
    "audit_events": f"{BELOW} WHERE audit_leaves.event = old.id AND audit_leaves.event_id = old.event_id",
    "audit_event_patients": f"{BELOW} JOIN audit_events ON audit_events.id = audit_leaves.event"
    " WHERE audit_events.event_id = old.event_id AND audit_leaves.event_id = old.event_id",
    "audit_policy_texts": OLDER,
    "audit_slices": OLDER,
    "audit_purged_calls": UNRECORDED,
}
"""What must be there for a row of these tables to go."""
ABORT = "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"


def upgrade() -> None:
    op.create_table(
        "audit_detail",
        sa.Column("id", BIG, sa.Identity(), autoincrement=True, nullable=False),
        sa.Column("event_id", sa.String(length=36), nullable=False),
        sa.Column("part", sa.String(length=16), nullable=False),
        sa.Column("salt", sa.LargeBinary(length=16), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("recorded", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_detail")),
        sa.UniqueConstraint("event_id", "part", name="uq_audit_detail_part"),
    )
    op.create_index("ix_audit_detail_recorded", "audit_detail", ["recorded"])
    op.create_table(
        "audit_purges",
        sa.Column("upto", BIG, autoincrement=False, nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=False),
        sa.Column("cutoff", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("upto", name=op.f("pk_audit_purges")),
    )
    op.create_table(
        "audit_purged_calls",
        sa.Column("leaf_index", BIG, autoincrement=False, nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=False),
        sa.Column("table_name", sa.String(length=64), nullable=True),
        sa.Column("row_id", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("leaf_index", name=op.f("pk_audit_purged_calls")),
    )
    op.create_index("ix_audit_purged_calls_call", "audit_purged_calls", ["call_id"])
    if op.get_bind().dialect.name == "sqlite":
        _on_sqlite()
    else:
        _on_postgresql()


def _on_sqlite() -> None:
    for table, taken in (
        ("audit_purges", "(upto IS new.upto)"),
        ("audit_purged_calls", "(leaf_index IS new.leaf_index)"),
        ("audit_detail", "(id IS new.id) OR (event_id IS new.event_id AND part IS new.part)"),
    ):
        op.execute(f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {ABORT}")
        if table == "audit_purges":
            op.execute(f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {ABORT}")
        _no_replace(table, taken)
    op.execute("DROP TRIGGER audit_slices_no_replace")  # so that it reads as the others do
    _no_replace("audit_slices", "(digest IS new.digest)")
    for table, purged in PURGED.items():
        op.execute(f"DROP TRIGGER IF EXISTS {table}_no_delete")
        op.execute(f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} WHEN NOT EXISTS ({purged}) {ABORT}")


def _no_replace(table: str, taken: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {taken}) {ABORT}"
    )


def _on_postgresql() -> None:
    # The tables a function judges by are named in a path of its own, so that a temporary one cannot stand in for them.
    schema = op.get_bind().execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one()
    _statement_trigger("audit_purges", "UPDATE OR DELETE OR TRUNCATE")
    _statement_trigger("audit_detail", "UPDATE")
    for table, purged in PURGED.items():
        op.execute(f"DROP TRIGGER IF EXISTS {table}_append_only ON {table}")
        _statement_trigger(table, "UPDATE OR TRUNCATE")
        op.execute(
            f"CREATE FUNCTION {table}_purged_only() RETURNS trigger LANGUAGE plpgsql "
            f"SET search_path = {schema}, pg_temp AS "
            f"$$ BEGIN IF EXISTS ({purged}) THEN RETURN old; END IF; "
            f"RAISE EXCEPTION 'the audit log is append-only'; END $$"
        )
        op.execute(
            f"CREATE TRIGGER {table}_purged_only BEFORE DELETE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION {table}_purged_only()"
        )


def _statement_trigger(table: str, verbs: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE {verbs} ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()"
    )
