"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "agents",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("clinic_id", sa.String(length=32), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agents")),
    )
    op.create_table(
        "articles",
        sa.Column("rowid", BIG, sa.Identity(), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("clinic_id", sa.String(length=32), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("category", sa.String(length=64), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("reviewed", sa.String(length=10), nullable=False),
        sa.Column("licence", sa.String(length=64), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=True),
        sa.PrimaryKeyConstraint("rowid", name=op.f("pk_articles")),
        sa.UniqueConstraint("id", name=op.f("uq_articles_id")),
    )
    op.create_table(
        "audit_event_patients",
        sa.Column("patient_id", sa.String(length=64), nullable=False),
        sa.Column("event_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("patient_id", "event_id", name=op.f("pk_audit_event_patients")),
    )
    op.create_table(
        "audit_events",
        # SQLite's own row number there; on PostgreSQL an identity, which needs no privilege on a sequence.
        sa.Column("id", BIG, sa.Identity(), autoincrement=True, nullable=False),
        sa.Column("event_id", sa.String(length=36), nullable=False),
        sa.Column("clinic_id", sa.String(length=32), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("recorded", sa.String(length=32), nullable=False),
        sa.Column("server", sa.String(length=32), nullable=False),
        sa.Column("boot_id", sa.String(length=36), nullable=False),
        sa.Column("writer_seq", sa.Integer(), nullable=False),
        sa.Column("principal", sa.String(length=128), nullable=True),
        sa.Column("agent", sa.String(length=64), nullable=True),
        sa.Column("consultation", sa.String(length=64), nullable=True),
        sa.Column("tool", sa.String(length=64), nullable=True),
        sa.Column("decision", sa.String(length=8), nullable=True),
        sa.Column("policies", sa.Text(), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("patient", sa.String(length=64), nullable=True),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_events")),
        sa.UniqueConstraint("boot_id", "writer_seq", name="uq_audit_events_writer"),
        sa.UniqueConstraint("call_id", "phase", name="uq_audit_events_call_phase"),
        sa.UniqueConstraint("event_id", name=op.f("uq_audit_events_event_id")),
    )
    with op.batch_alter_table("audit_events", schema=None) as batch_op:
        batch_op.create_index("ix_audit_events_consultation", ["consultation"], unique=False)
        batch_op.create_index("ix_audit_events_patient", ["patient"], unique=False)
        batch_op.create_index(
            "ix_audit_events_lifecycle",
            ["server"],
            unique=False,
            sqlite_where=sa.text("phase = 'lifecycle'"),
            postgresql_where=sa.text("phase = 'lifecycle'"),
        )

    op.create_table(
        "audit_policy_texts",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("first_used", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_audit_policy_texts")),
    )
    op.create_table(
        "inventory_items",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("clinic_id", sa.String(length=32), nullable=False),
        sa.Column("medication", sa.Text(), nullable=False),
        sa.Column("inn", sa.Text(), nullable=False),
        sa.Column("generic_name", sa.Text(), nullable=False),
        sa.Column("strength", sa.String(length=64), nullable=False),
        sa.Column("unit", sa.String(length=32), nullable=False),
        sa.Column("classes", sa.Text(), nullable=False),
        sa.Column("atc", sa.String(length=7), nullable=False),
        sa.Column("alternatives", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inventory_items")),
    )
    op.create_table(
        "patients",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("clinic_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("birth_date", sa.String(length=10), nullable=True),
        sa.Column("blood_type", sa.String(length=8), nullable=True),
        sa.Column("allergy_status", sa.String(length=16), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=True),
        sa.CheckConstraint(
            "allergy_status in ('known', 'none_known', 'never_asked')", name=op.f("ck_patients_allergy_status")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patients")),
    )
    op.create_table(
        "people",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("clinic_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=True),
        sa.CheckConstraint("kind in ('Clinician', 'Auditor', 'Administrator')", name=op.f("ck_people_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people")),
    )
    op.create_table(
        "allergy_intolerances",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("clinic_id", sa.String(length=32), nullable=False),
        sa.Column("patient_id", sa.String(length=64), nullable=False),
        sa.Column("substance", sa.Text(), nullable=False),
        sa.Column("substance_class", sa.String(length=64), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(
            ["patient_id"], ["patients.id"], name=op.f("fk_allergy_intolerances_patient_id_patients")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_allergy_intolerances")),
    )
    with op.batch_alter_table("allergy_intolerances", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_allergy_intolerances_patient_id"), ["patient_id"], unique=False)

    op.create_table(
        "care_team",
        sa.Column("patient_id", sa.String(length=64), nullable=False),
        sa.Column("clinician_id", sa.String(length=64), nullable=False),
        sa.Column("clinic_id", sa.String(length=32), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(["patient_id"], ["patients.id"], name=op.f("fk_care_team_patient_id_patients")),
        sa.PrimaryKeyConstraint("patient_id", "clinician_id", name=op.f("pk_care_team")),
    )
    op.create_table(
        "clients",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("clinic_id", sa.String(length=32), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("person_id", sa.String(length=64), nullable=True),
        sa.Column("agent_ids", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name=op.f("fk_clients_person_id_people")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clients")),
    )
    op.create_table(
        "conditions",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("clinic_id", sa.String(length=32), nullable=False),
        sa.Column("patient_id", sa.String(length=64), nullable=False),
        sa.Column("recorded_date", sa.String(length=10), nullable=False),
        sa.Column("condition", sa.Text(), nullable=False),
        sa.Column("treatment", sa.Text(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(["patient_id"], ["patients.id"], name=op.f("fk_conditions_patient_id_patients")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conditions")),
    )
    with op.batch_alter_table("conditions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_conditions_patient_id"), ["patient_id"], unique=False)

    op.create_table(
        "consultations",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("clinic_id", sa.String(length=32), nullable=False),
        sa.Column("patient_id", sa.String(length=64), nullable=False),
        sa.Column("symptoms", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.Column("agent_ids", sa.Text(), nullable=False),
        sa.Column("assignee_id", sa.String(length=64), nullable=True),
        sa.Column("opened_at", sa.String(length=32), nullable=False),
        sa.Column("closed_at", sa.String(length=32), nullable=True),
        sa.Column("call_id", sa.String(length=36), nullable=False),
        sa.CheckConstraint(
            "status in ('intake', 'awaiting_doctor', 'clarifying', 'prescribing', 'complete', 'emergency')",
            name=op.f("ck_consultations_status"),
        ),
        sa.ForeignKeyConstraint(["assignee_id"], ["people.id"], name=op.f("fk_consultations_assignee_id_people")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consultations")),
    )
    with op.batch_alter_table("consultations", schema=None) as batch_op:
        batch_op.create_index("ix_consultations_patient", ["patient_id", "open"], unique=False)

    op.create_table(
        "stock_entries",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("clinic_id", sa.String(length=32), nullable=False),
        sa.Column("item_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("lot", sa.String(length=64), nullable=False),
        sa.Column("expires", sa.String(length=10), nullable=False),
        sa.Column("recorded", sa.String(length=32), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(
            ["item_id"], ["inventory_items.id"], name=op.f("fk_stock_entries_item_id_inventory_items")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stock_entries")),
    )
    with op.batch_alter_table("stock_entries", schema=None) as batch_op:
        batch_op.create_index("ix_stock_entries_item", ["item_id", "expires"], unique=False)

    op.create_table(
        "clarifications",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("clinic_id", sa.String(length=32), nullable=False),
        sa.Column("consultation_id", sa.String(length=64), nullable=False),
        sa.Column("clinician_id", sa.String(length=64), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("asked_at", sa.String(length=32), nullable=False),
        sa.Column("answered_at", sa.String(length=32), nullable=True),
        sa.Column("call_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["clinician_id"], ["people.id"], name=op.f("fk_clarifications_clinician_id_people")),
        sa.ForeignKeyConstraint(
            ["consultation_id"], ["consultations.id"], name=op.f("fk_clarifications_consultation_id_consultations")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clarifications")),
    )
    with op.batch_alter_table("clarifications", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_clarifications_consultation_id"), ["consultation_id"], unique=False)

    op.create_table(
        "sign_offs",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("clinic_id", sa.String(length=32), nullable=False),
        sa.Column("consultation_id", sa.String(length=64), nullable=False),
        sa.Column("clinician_id", sa.String(length=64), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("signed_at", sa.String(length=32), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["clinician_id"], ["people.id"], name=op.f("fk_sign_offs_clinician_id_people")),
        sa.ForeignKeyConstraint(
            ["consultation_id"], ["consultations.id"], name=op.f("fk_sign_offs_consultation_id_consultations")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_offs")),
        sa.UniqueConstraint("consultation_id", name=op.f("uq_sign_offs_consultation_id")),
    )
    op.create_table(
        "prescriptions",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("clinic_id", sa.String(length=32), nullable=False),
        sa.Column("consultation_id", sa.String(length=64), nullable=False),
        sa.Column("sign_off_id", sa.String(length=64), nullable=False),
        sa.Column("patient_id", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("text_sha256", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("intent", sa.String(length=16), nullable=False),
        sa.Column("findings", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("recorded", sa.String(length=32), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=False),
        sa.CheckConstraint("intent in ('proposal', 'order')", name=op.f("ck_prescriptions_intent")),
        sa.CheckConstraint(
            "status in ('draft', 'active', 'completed', 'cancelled', 'entered-in-error')",
            name=op.f("ck_prescriptions_status"),
        ),
        sa.ForeignKeyConstraint(
            ["consultation_id"], ["consultations.id"], name=op.f("fk_prescriptions_consultation_id_consultations")
        ),
        sa.ForeignKeyConstraint(["sign_off_id"], ["sign_offs.id"], name=op.f("fk_prescriptions_sign_off_id_sign_offs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prescriptions")),
        sa.UniqueConstraint("sign_off_id", name=op.f("uq_prescriptions_sign_off_id")),
    )
    op.create_table(
        "used_assertions",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("clinic_id", sa.String(length=32), nullable=False),
        sa.Column("expires", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_used_assertions")),
    )
    _full_text_index()
    _append_only()


AUDIT_KEYS = {
    "audit_events": (("id",), ("event_id",), ("call_id", "phase"), ("boot_id", "writer_seq")),
    "audit_event_patients": (("patient_id", "event_id"),),
    "audit_policy_texts": (("digest",),),
}
"""The log's tables and their unique keys."""
AUDIT_TABLES = tuple(AUDIT_KEYS)


def _append_only() -> None:
    """The log's tables refuse UPDATE and DELETE: an accident is stopped here, an attack shows in `audit verify`."""
    if op.get_bind().dialect.name == "sqlite":
        for table in AUDIT_TABLES:
            for verb in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
                )
        # INSERT OR REPLACE deletes without asking a DELETE trigger: what it would replace is looked for first.
        for table, keys in AUDIT_KEYS.items():
            taken = " OR ".join("(" + " AND ".join(f"{key} IS new.{key}" for key in unique) + ")" for unique in keys)
            op.execute(
                f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
                f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {taken}) "
                f"BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
            )
    else:
        op.execute(
            "CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$"
        )
        for table in AUDIT_TABLES:
            op.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()"
            )


def _full_text_index() -> None:
    """FTS5 over the articles' titles and texts, kept in step by triggers; on PostgreSQL a generated column."""
    if op.get_bind().dialect.name != "sqlite":
        _text_search_vector()
        return
    op.execute(
        "CREATE VIRTUAL TABLE articles_fts USING fts5(topic, content, content='articles', content_rowid='rowid', "
        "tokenize='porter unicode61 remove_diacritics 2')"
    )
    added = "INSERT INTO articles_fts(rowid, topic, content) VALUES (new.rowid, new.topic, new.content);"
    removed = (
        "INSERT INTO articles_fts(articles_fts, rowid, topic, content) "
        "VALUES ('delete', old.rowid, old.topic, old.content);"
    )
    op.execute(f"CREATE TRIGGER articles_added AFTER INSERT ON articles BEGIN {added} END")
    op.execute(f"CREATE TRIGGER articles_removed AFTER DELETE ON articles BEGIN {removed} END")
    op.execute(f"CREATE TRIGGER articles_changed AFTER UPDATE ON articles BEGIN {removed} {added} END")


def _text_search_vector() -> None:
    """English stems without accents, the title's marked A and the text's B, with an index over them.

    Marks become spaces first: PostgreSQL's parser would keep `trimethoprim/sulfamethoxazole` whole, as a file's name.
    """
    accents, marks = r"[\u0300-\u036f]", r"[\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00bf\u2000-\u206f]+"
    plain = f"regexp_replace(regexp_replace(normalize({{column}}, NFKD), '{accents}', '', 'g'), '{marks}', ' ', 'g')"
    parts = (
        f"setweight(to_tsvector('english', {plain.format(column=column)}), '{mark}')"
        for column, mark in (("topic", "A"), ("content", "B"))
    )
    op.execute(f"ALTER TABLE articles ADD COLUMN search tsvector GENERATED ALWAYS AS ({' || '.join(parts)}) STORED")
    op.execute("CREATE INDEX ix_articles_search ON articles USING gin (search)")
