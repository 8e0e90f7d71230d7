"""Indexes for what auditors ask of the log: who, by, denied, in-doubt, and periods of time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_audit_events_patient": (("patient", "id"), "patient IS NOT NULL"),
    "ix_audit_events_principal": (("principal", "id"), "principal IS NOT NULL"),
    "ix_audit_events_agent": (("agent", "id"), "agent IS NOT NULL"),
    "ix_audit_events_denied": (("id", "policies"), "decision = 'deny'"),
    "ix_audit_events_admin": (("id", "code"), "phase = 'admin'"),
    "ix_audit_events_audit_read": (("id", "code"), "phase = 'audit_read'"),
    "ix_audit_events_recorded": (("recorded", "phase", "id"), None),
}
"""Columns, and the rows that are in it. Without `id` a database sorts all of a patient's events for one page."""


def upgrade() -> None:
    op.drop_index("ix_audit_events_patient", table_name="audit_events")
    for name, (columns, rows) in INDEXES.items():
        only = None if rows is None else sa.text(rows)
        op.create_index(name, "audit_events", list(columns), sqlite_where=only, postgresql_where=only)
