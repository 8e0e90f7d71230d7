"""Who works here and who is consulting about whom: the tables every guard reads and only consultations writes."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from clinic_mcp.core.db import metadata


class Status(StrEnum):
    """Where a consultation stands."""

    INTAKE = "intake"
    AWAITING_DOCTOR = "awaiting_doctor"
    CLARIFYING = "clarifying"
    PRESCRIBING = "prescribing"
    COMPLETE = "complete"
    EMERGENCY = "emergency"


class Rule(StrEnum):
    """The prescribing guardrails that a clinician can override in person, for one medication in one consultation."""

    ALLERGY = "allergy"
    INTERACTION = "interaction"
    DUPLICATE = "duplicate"
    NEVER_ASKED = "never_asked"


def now() -> str:
    """This moment as the tables and events keep it: ISO 8601, UTC, milliseconds."""
    return timestamp(datetime.now(UTC))


def timestamp(moment: datetime) -> str:
    """A moment as ISO 8601 in UTC with milliseconds, e.g. `2026-11-22T10:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


people = Table(
    "people",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("clinic_id", String(32), nullable=False),
    Column("kind", String(16), nullable=False),  # the Cedar entity type: Clinician, Auditor, Administrator
    Column("role", String(32), nullable=False),
    Column("name", Text, nullable=False),
    Column("active", Boolean, nullable=False, default=True),
    Column("call_id", String(36)),
    CheckConstraint("kind in ('Clinician', 'Auditor', 'Administrator')", name="kind"),
)

agents = Table(
    "agents",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("clinic_id", String(32), nullable=False),
    Column("role", String(32), nullable=False),
    Column("active", Boolean, nullable=False, default=True),
    Column("call_id", String(36)),
)

clients = Table(
    "clients",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("clinic_id", String(32), nullable=False),
    Column("public_key", Text, nullable=False),  # JWK, OKP Ed25519; empty for a client with a secret
    Column("secret_sha256", String(64)),
    Column("person_id", String(64), ForeignKey("people.id")),  # the person this credential belongs to, or none
    Column("agent_ids", Text, nullable=False, default=""),  # the agents this client may act as, space-separated
    Column("active", Boolean, nullable=False, default=True),
    Column("call_id", String(36)),
)

used_assertions = Table(
    "used_assertions",
    metadata,
    # A client's assertion counts once, over restarts too: the SHA-256 of its client and jti, until it has expired.
    Column("id", String(64), primary_key=True),
    Column("clinic_id", String(32), nullable=False),
    Column("expires", Integer, nullable=False),  # seconds since the epoch
)

consultations = Table(
    "consultations",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("clinic_id", String(32), nullable=False),
    Column("patient_id", String(64), nullable=False),
    Column("symptoms", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("open", Boolean, nullable=False, default=True),
    Column("agent_ids", Text, nullable=False),  # the agents that take part, space-separated
    Column("assignee_id", String(64), ForeignKey("people.id")),
    Column("opened_at", String(32), nullable=False),
    Column("closed_at", String(32)),
    Column("call_id", String(36), nullable=False),
    CheckConstraint(
        "status in ('intake', 'awaiting_doctor', 'clarifying', 'prescribing', 'complete', 'emergency')", name="status"
    ),
    Index("ix_consultations_patient", "patient_id", "open"),
)

sign_offs = Table(
    "sign_offs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("clinic_id", String(32), nullable=False),
    # One sign-off a consultation: what it allows, one prescription, then happens once.
    Column("consultation_id", String(64), ForeignKey("consultations.id"), nullable=False, unique=True),
    Column("clinician_id", String(64), ForeignKey("people.id"), nullable=False),
    Column("notes", Text, nullable=False),
    Column("signed_at", String(32), nullable=False),
    Column("call_id", String(36), nullable=False),
)

clarifications = Table(
    "clarifications",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("clinic_id", String(32), nullable=False),
    Column("consultation_id", String(64), ForeignKey("consultations.id"), nullable=False, index=True),
    Column("clinician_id", String(64), ForeignKey("people.id"), nullable=False),
    Column("question", Text, nullable=False),
    Column("answer", Text),
    Column("asked_at", String(32), nullable=False),
    Column("answered_at", String(32)),
    Column("call_id", String(36), nullable=False),
)

guardrail_overrides = Table(
    "guardrail_overrides",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("clinic_id", String(32), nullable=False),
    Column("consultation_id", String(64), ForeignKey("consultations.id"), nullable=False),
    Column("rule", String(32), nullable=False),  # which guardrail, by the name of its fact: Rule
    Column("item_id", String(64), nullable=False),  # for which medication of the formulary
    Column("clinician_id", String(64), ForeignKey("people.id"), nullable=False),
    Column("reason_code", String(32), nullable=False),
    Column("reason", Text, nullable=False),
    Column("signed_at", String(32), nullable=False),
    Column("call_id", String(36), nullable=False),
    UniqueConstraint("consultation_id", "rule", "item_id", name="uq_guardrail_overrides_once"),
    CheckConstraint("rule in ('allergy', 'interaction', 'duplicate', 'never_asked')", name="rule"),
)

review_items = Table(
    "review_items",
    metadata,
    # What a person did beyond the ordinary, and somebody else has to look at afterwards.
    Column("id", String(64), primary_key=True),
    Column("clinic_id", String(32), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("row_id", String(64), nullable=False),  # the emergency access or the override
    Column("person_id", String(64), ForeignKey("people.id"), nullable=False),
    Column("patient_id", String(64), nullable=False),
    Column("opened_at", String(32), nullable=False),
    Column("verdict", String(16)),
    Column("verdict_reason", Text),
    Column("reviewer_id", String(64), ForeignKey("people.id")),
    Column("reviewed_at", String(32)),
    Column("call_id", String(36), nullable=False),
    CheckConstraint("kind in ('break-glass', 'override')", name="kind"),
    CheckConstraint("verdict in ('justified', 'not_justified')", name="verdict"),
)
