"""The audit log's tables: the leaf bytes are the record, every column is a projection of them."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, LargeBinary, String, Table, Text, UniqueConstraint, text

from clinic_mcp.core.db import metadata


def _only(name: str, *columns: str, where: str) -> Index:
    """An index over some of the rows."""
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


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
    _only("ix_audit_events_lifecycle", "server", where="phase = 'lifecycle'"),
    # Each of the following answers one of the auditor's questions, the newest first: docs/decisions/010.
    _only("ix_audit_events_patient", "patient", "id", where="patient IS NOT NULL"),
    _only("ix_audit_events_principal", "principal", "id", where="principal IS NOT NULL"),
    _only("ix_audit_events_agent", "agent", "id", where="agent IS NOT NULL"),
    _only("ix_audit_events_denied", "id", "policies", where="decision = 'deny'"),
    _only("ix_audit_events_admin", "id", "code", where="phase = 'admin'"),
    _only("ix_audit_events_audit_read", "id", "code", where="phase = 'audit_read'"),
    Index("ix_audit_events_recorded", "recorded", "phase", "id"),
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

# The Merkle tree comes in tables of its own beside these, because a row of audit_events is never updated.

leaves = Table(
    "audit_leaves",
    metadata,
    # Which event is which leaf of the tree. The event's id twice: by its row it is found, by its name it is missed.
    Column("leaf_index", Integer, primary_key=True, autoincrement=False),
    Column("event", Integer, nullable=False, unique=True),
    Column("event_id", String(36), nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
)

nodes = Table(
    "audit_nodes",
    metadata,
    # The full subtrees above the leaves (RFC 6962, section 2.1): from level 1 on, positions from the left.
    Column("level", Integer, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("hash", LargeBinary(32), nullable=False),
    sqlite_with_rowid=False,
)

checkpoints = Table(
    "audit_checkpoints",
    metadata,
    # What the log signed, in the order it did; an idle log signs the same again.
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("size", Integer, nullable=False),
    Column("root", String(44), nullable=False),  # base64, as in the note
    Column("note", Text, nullable=False),
    Column("recorded", String(32), nullable=False),
)

# What may go again: the bodies behind commitments, and after the retention, the events themselves.

detail = Table(
    "audit_detail",
    metadata,
    # What an event's commitment is to: off by default, erased without touching the event. Rows in the order they came,
    # so that none moves on SQLite's pages and an erased one leaves no copy.
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("event_id", String(36), nullable=False),
    Column("part", String(16), nullable=False),  # arguments or result
    Column("salt", LargeBinary(16), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("recorded", String(32), nullable=False),
    UniqueConstraint("event_id", "part", name="uq_audit_detail_part"),
    Index("ix_audit_detail_recorded", "recorded"),
)

purges = Table(
    "audit_purges",
    metadata,
    # Events below this place of the tree may be gone: the triggers let those go, and nothing else. What was purged and
    # why says the event; a row without its event is named by `audit verify`.
    Column("upto", Integer, primary_key=True, autoincrement=False),
    Column("call_id", String(36), nullable=False),
    Column("cutoff", String(32), nullable=False),
)

purged_calls = Table(
    "audit_purged_calls",
    metadata,
    # What verification still needs of purged calls: which row a call wrote, and the intents whose outcome came later.
    Column("leaf_index", Integer, primary_key=True, autoincrement=False),
    Column("call_id", String(36), nullable=False),
    Column("table_name", String(64)),  # none for an intent whose outcome was not purged with it
    Column("row_id", String(64)),
    Index("ix_audit_purged_calls_call", "call_id"),
)
