"""What the whole floor of policies needs to know: emergencies, overrides, restricted records, active medication."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("clients", sa.Column("secret_sha256", sa.String(length=64), nullable=True))
    # Written out, because Alembic's portable form would copy the table; both databases know this one.
    op.execute(
        "ALTER TABLE patients ADD COLUMN sensitivity VARCHAR(1) DEFAULT 'N' NOT NULL "
        "CONSTRAINT ck_patients_sensitivity CHECK (sensitivity in ('N', 'R', 'V'))"
    )
    op.create_index("ix_patients_born", "patients", ["clinic_id", "birth_date"])
    op.add_column("inventory_items", sa.Column("controlled", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("stock_entries", sa.Column("prescription_id", sa.String(length=64), nullable=True))
    op.add_column("prescriptions", sa.Column("items", sa.Text(), server_default="", nullable=False))
    op.execute("ALTER TABLE prescriptions ADD COLUMN signed_by VARCHAR(64) REFERENCES people (id)")
    op.create_table(
        "medication_statements",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("clinic_id", sa.String(length=32), nullable=False),
        sa.Column("patient_id", sa.String(length=64), nullable=False),
        sa.Column("medication", sa.Text(), nullable=False),
        sa.Column("atc", sa.String(length=7), nullable=False),
        sa.Column("classes", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("since", sa.String(length=10), nullable=True),
        sa.Column("call_id", sa.String(length=36), nullable=True),
        sa.CheckConstraint(
            "status in ('active', 'completed', 'stopped', 'entered-in-error')",
            name=op.f("ck_medication_statements_status"),
        ),
        sa.ForeignKeyConstraint(
            ["patient_id"], ["patients.id"], name=op.f("fk_medication_statements_patient_id_patients")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_medication_statements")),
    )
    op.create_index("ix_medication_statements_patient_id", "medication_statements", ["patient_id"])
    op.create_table(
        "emergency_access",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("clinic_id", sa.String(length=32), nullable=False),
        sa.Column("patient_id", sa.String(length=64), nullable=False),
        sa.Column("clinician_id", sa.String(length=64), nullable=False),
        sa.Column("reason_code", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("granted_at", sa.String(length=32), nullable=False),
        sa.Column("expires_at", sa.String(length=32), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["clinician_id"], ["people.id"], name=op.f("fk_emergency_access_clinician_id_people")),
        sa.ForeignKeyConstraint(["patient_id"], ["patients.id"], name=op.f("fk_emergency_access_patient_id_patients")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_emergency_access")),
    )
    op.create_index("ix_emergency_access_who", "emergency_access", ["patient_id", "clinician_id", "expires_at"])
    op.create_table(
        "guardrail_overrides",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("clinic_id", sa.String(length=32), nullable=False),
        sa.Column("consultation_id", sa.String(length=64), nullable=False),
        sa.Column("rule", sa.String(length=32), nullable=False),
        sa.Column("item_id", sa.String(length=64), nullable=False),
        sa.Column("clinician_id", sa.String(length=64), nullable=False),
        sa.Column("reason_code", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("signed_at", sa.String(length=32), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=False),
        sa.CheckConstraint(
            "rule in ('allergy', 'interaction', 'duplicate', 'never_asked')", name=op.f("ck_guardrail_overrides_rule")
        ),
        sa.ForeignKeyConstraint(
            ["clinician_id"], ["people.id"], name=op.f("fk_guardrail_overrides_clinician_id_people")
        ),
        sa.ForeignKeyConstraint(
            ["consultation_id"], ["consultations.id"], name=op.f("fk_guardrail_overrides_consultation_id_consultations")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guardrail_overrides")),
        sa.UniqueConstraint("consultation_id", "rule", "item_id", name="uq_guardrail_overrides_once"),
    )
    op.create_table(
        "review_items",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("clinic_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("row_id", sa.String(length=64), nullable=False),
        sa.Column("person_id", sa.String(length=64), nullable=False),
        sa.Column("patient_id", sa.String(length=64), nullable=False),
        sa.Column("opened_at", sa.String(length=32), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=True),
        sa.Column("verdict_reason", sa.Text(), nullable=True),
        sa.Column("reviewer_id", sa.String(length=64), nullable=True),
        sa.Column("reviewed_at", sa.String(length=32), nullable=True),
        sa.Column("call_id", sa.String(length=36), nullable=False),
        sa.CheckConstraint("kind in ('break-glass', 'override')", name=op.f("ck_review_items_kind")),
        sa.CheckConstraint("verdict in ('justified', 'not_justified')", name=op.f("ck_review_items_verdict")),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name=op.f("fk_review_items_person_id_people")),
        sa.ForeignKeyConstraint(["reviewer_id"], ["people.id"], name=op.f("fk_review_items_reviewer_id_people")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review_items")),
    )
    op.create_table(
        "interactions",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("clinic_id", sa.String(length=32), nullable=False),
        sa.Column("one", sa.String(length=64), nullable=False),
        sa.Column("other", sa.String(length=64), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("reviewed", sa.String(length=10), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=True),
        sa.CheckConstraint(
            "severity in ('contraindicated', 'avoid', 'precaution', 'note')", name=op.f("ck_interactions_severity")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_interactions")),
    )
    op.create_table(
        "audit_slices",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("first_used", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_audit_slices")),
    )
    _append_only("audit_slices")


def _append_only(table: str) -> None:
    """As the log's other tables: no UPDATE, no DELETE, no INSERT OR REPLACE."""
    if op.get_bind().dialect.name == "sqlite":
        abort = "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        for verb in ("UPDATE", "DELETE"):
            op.execute(f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} {abort}")
        op.execute(
            f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
            f"WHEN EXISTS (SELECT 1 FROM {table} WHERE digest IS new.digest) {abort}"
        )
    else:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()"
        )
