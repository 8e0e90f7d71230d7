"""The audit log's tables: the leaf bytes are the record, every column is a projection of them."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, LargeBinary, String, Table, Text, UniqueConstraint, text

from clinic_mcp.core.db import metadata

events = Table(
    "audit_events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("event_id", String(36), nullable=False, unique=True),
    Column("clinic_id", String(32), nullable=False),
    Column("call_id", String(36), nullable=False),
    Column("phase", String(16), nullable=False),
    Column("code", String(64), nullable=False),
    Column("recorded", String(32), nullable=False),
    Column("server", String(32), nullable=False),
    Column("boot_id", String(36), nullable=False),
    Column("writer_seq", Integer, nullable=False),
    Column("principal", String(128)),
    Column("agent", String(64)),
    Column("consultation", String(64)),
    Column("tool", String(64)),
    Column("decision", String(8)),
    Column("policies", Text),
    Column("outcome", String(16)),
    Column("patient", String(64)),  # where an event is about exactly one; about several: audit_event_patients
    Column("leaf", LargeBinary, nullable=False),
    UniqueConstraint("call_id", "phase", name="uq_audit_events_call_phase"),
    UniqueConstraint("boot_id", "writer_seq", name="uq_audit_events_writer"),
    Index("ix_audit_events_consultation", "consultation"),
    Index("ix_audit_events_patient", "patient"),
    Index(
        "ix_audit_events_lifecycle",
        "server",
        sqlite_where=text("phase = 'lifecycle'"),
        postgresql_where=text("phase = 'lifecycle'"),
    ),
)

event_patients = Table(
    "audit_event_patients",
    metadata,
    Column("patient_id", String(64), primary_key=True),
    Column("event_id", String(36), primary_key=True),
)

policy_texts = Table(
    "audit_policy_texts",
    metadata,
    # Which policies stood behind a decision: the text, kept under the digest the decision's event names.
    Column("digest", String(64), primary_key=True),
    Column("text", Text, nullable=False),
    Column("first_used", String(32), nullable=False),
)

slices = Table(
    "audit_slices",
    metadata,
    # What the policies saw of the data at a decision: the entities, kept under the digest the decision's event names.
    # Ids and codes only; equal slices are kept once.
    Column("digest", String(64), primary_key=True),
    Column("text", Text, nullable=False),
    Column("first_used", String(32), nullable=False),
)

# The place of the Merkle tree: leaf indexes, nodes and checkpoints come in tables of their own beside these,
# because a row of audit_events is never updated.
