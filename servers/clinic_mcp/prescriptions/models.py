"""What the prescriptions server keeps. A prescription is FHIR's MedicationRequest group: draft or active."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, String, Table, Text

from clinic_mcp.core.db import metadata

prescriptions = Table(
    "prescriptions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("clinic_id", String(32), nullable=False),
    Column("consultation_id", String(64), ForeignKey("consultations.id"), nullable=False),
    # UNIQUE makes a prescription exactly-once per sign-off, whatever retries, races or restarts.
    Column("sign_off_id", String(64), ForeignKey("sign_offs.id"), nullable=False, unique=True),
    Column("patient_id", String(64), nullable=False),
    Column("text", Text, nullable=False),
    Column("text_sha256", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("intent", String(16), nullable=False),
    Column("items", Text, nullable=False, server_default=""),  # ids of its formulary items, space-separated
    Column("signed_by", String(64), ForeignKey("people.id")),  # who signed exactly this text, where somebody did
    Column("findings", Text, nullable=False),  # JSON list of {code, severity, sentence, source}
    Column("result", Text, nullable=False),  # what the first call answered, and every repeat answers
    Column("recorded", String(32), nullable=False),
    Column("call_id", String(36), nullable=False),
    CheckConstraint("status in ('draft', 'active', 'completed', 'cancelled', 'entered-in-error')", name="status"),
    CheckConstraint("intent in ('proposal', 'order')", name="intent"),
)

interactions = Table(
    "interactions",
    metadata,
    # One row a pair of drugs or classes. No row means that no rule is known, never that the pair is safe.
    Column("id", String(64), primary_key=True),
    Column("clinic_id", String(32), nullable=False),
    Column("one", String(64), nullable=False),
    Column("other", String(64), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("sentence", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("reviewed", String(10), nullable=False),  # ISO 8601 date
    Column("call_id", String(36)),
    CheckConstraint("severity in ('contraindicated', 'avoid', 'precaution', 'note')", name="severity"),
)
