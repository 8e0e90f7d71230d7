"""What the patient-records server keeps, named after FHIR: Patient, CareTeam, AllergyIntolerance, Condition."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, String, Table, Text

from clinic_mcp.core.db import metadata

patients = Table(
    "patients",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("clinic_id", String(32), nullable=False),
    Column("name", Text, nullable=False),
    Column("birth_date", String(10)),  # ISO 8601, possibly only a year or a month
    Column("blood_type", String(8)),
    # FHIR tells "no known allergies" from an empty list; so does this: never asked is not none.
    Column("allergy_status", String(16), nullable=False),
    # HL7 v3 Confidentiality: N normal, R restricted, V very restricted (no agent touches it).
    Column("sensitivity", String(1), nullable=False, server_default="N"),
    Column("call_id", String(36)),
    CheckConstraint("allergy_status in ('known', 'none_known', 'never_asked')", name="allergy_status"),
    CheckConstraint("sensitivity in ('N', 'R', 'V')", name="sensitivity"),
    Index("ix_patients_born", "clinic_id", "birth_date"),
)

care_team = Table(
    "care_team",
    metadata,
    Column("patient_id", String(64), ForeignKey("patients.id"), primary_key=True),
    Column("clinician_id", String(64), primary_key=True),
    Column("clinic_id", String(32), nullable=False),
    Column("call_id", String(36)),
)

allergies = Table(
    "allergy_intolerances",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("clinic_id", String(32), nullable=False),
    Column("patient_id", String(64), ForeignKey("patients.id"), nullable=False, index=True),
    Column("substance", Text, nullable=False),  # as the record words it
    Column("substance_class", String(64), nullable=False),  # the class the prescribing checks compare
    Column("call_id", String(36)),
)

conditions = Table(
    "conditions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("clinic_id", String(32), nullable=False),
    Column("patient_id", String(64), ForeignKey("patients.id"), nullable=False, index=True),
    Column("recorded_date", String(10), nullable=False),
    Column("condition", Text, nullable=False),
    Column("treatment", Text, nullable=False),
    Column("notes", Text, nullable=False),
    Column("call_id", String(36)),
)

medication_statements = Table(
    "medication_statements",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("clinic_id", String(32), nullable=False),
    Column("patient_id", String(64), ForeignKey("patients.id"), nullable=False, index=True),
    Column("medication", Text, nullable=False),  # as the record words it
    Column("atc", String(7), nullable=False),  # WHO ATC code, for what is the same therapy
    Column("classes", Text, nullable=False),  # the names interactions are listed under, space-separated
    Column("status", String(16), nullable=False),
    Column("since", String(10)),
    Column("call_id", String(36)),
    CheckConstraint("status in ('active', 'completed', 'stopped', 'entered-in-error')", name="status"),
)

emergency_access = Table(
    "emergency_access",
    metadata,
    # Break-glass: who opened whose record, why, and until when.
    Column("id", String(64), primary_key=True),
    Column("clinic_id", String(32), nullable=False),
    Column("patient_id", String(64), ForeignKey("patients.id"), nullable=False),
    Column("clinician_id", String(64), ForeignKey("people.id"), nullable=False),
    Column("reason_code", String(32), nullable=False),
    Column("reason", Text, nullable=False),
    Column("granted_at", String(32), nullable=False),
    Column("expires_at", String(32), nullable=False),
    Column("call_id", String(36), nullable=False),
    Index("ix_emergency_access_who", "patient_id", "clinician_id", "expires_at"),
)
