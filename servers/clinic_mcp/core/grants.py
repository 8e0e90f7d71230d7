"""Which part of the suite may touch which table: one list, held by PostgreSQL's roles and by SQLite's authorizer.

What is not in it is refused by the database itself, whatever a server's code does. Columns are named where a part may
know only some of another's; no columns means all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clinic_mcp.core.settings import CONSULTATIONS, REVIEW, SERVERS

SEQUENCER = "sequencer"
PARTS = (*SERVERS, CONSULTATIONS, SEQUENCER, REVIEW)
"""Whoever opens the database, besides the operator's commands."""

ALL = ("*",)
"""Every column."""


@dataclass(frozen=True)
class Access:
    """What a part may do with one table.

    Args:
        select: The columns it may read, or `ALL`; none is none.
        insert: Whether it may add rows.
        update: The columns it may change.
        delete: Whether it may remove rows; no part may for the audit log.
    """

    select: tuple[str, ...] = ()
    insert: bool = False
    update: tuple[str, ...] = ()
    delete: bool = False


READ = Access(select=ALL)
ADD = Access(select=ALL, insert=True)

LOG = {
    "audit_events": ADD,
    "audit_event_patients": ADD,
    "audit_policy_texts": ADD,
    "audit_slices": ADD,
}
"""Every part puts what it does on the record; nobody changes what is there."""

CALLS = {**LOG, "audit_detail": Access(insert=True)}
"""The servers' calls may leave their detail beside the log too: put there by them, read and erased by the operator."""

TREE = {"audit_leaves": ADD, "audit_nodes": ADD, "audit_checkpoints": ADD}
"""Written by whoever numbers the events and signs."""

IDENTITY = {
    "people": Access(("id", "clinic_id", "kind", "role", "active")),
    "agents": Access(("id", "clinic_id", "role", "active")),
    "consultations": Access(("id", "clinic_id", "patient_id", "open", "agent_ids", "assignee_id")),
    "sign_offs": Access(("id", "consultation_id")),
}
"""What the guard of every server looks a caller up in."""

ALLOWED: Mapping[str, Mapping[str, Access]] = {
    "patient-records": {
        **CALLS,
        **IDENTITY,
        "patients": READ,
        "care_team": READ,
        "allergy_intolerances": READ,
        "conditions": READ,
        "emergency_access": ADD,
        "review_items": Access(("id", "row_id", "call_id"), insert=True),
    },
    "knowledge-base": {**LOG, **IDENTITY, "articles": READ},
    "pharmacy": {
        **CALLS,
        **IDENTITY,
        "inventory_items": READ,
        "stock_entries": ADD,
        "prescriptions": Access(("id", "clinic_id", "patient_id", "status", "items")),
    },
    "prescriptions": {
        **CALLS,
        **IDENTITY,
        "sign_offs": Access(("id", "consultation_id", "notes")),
        "prescriptions": Access(ALL, insert=True, update=("status", "intent", "signed_by", "result", "call_id")),
        "patients": Access(("id", "clinic_id", "allergy_status", "sensitivity")),
        "care_team": Access(("patient_id", "clinician_id")),
        "allergy_intolerances": Access(("patient_id", "substance_class")),
        "medication_statements": Access(("patient_id", "clinic_id", "atc", "classes", "status")),
        "inventory_items": Access(
            (
                "id",
                "clinic_id",
                "medication",
                "inn",
                "generic_name",
                "strength",
                "classes",
                "atc",
                "alternatives",
                "controlled",
            )
        ),
        "stock_entries": Access(("item_id", "quantity", "expires")),
        "interactions": READ,
        "guardrail_overrides": Access(("consultation_id", "clinic_id", "rule", "item_id")),
    },
    "desk": {
        **CALLS,
        **IDENTITY,
        "consultations": Access(ALL, update=("status", "assignee_id", "call_id")),
        "sign_offs": ADD,
        "clarifications": READ,
        "guardrail_overrides": ADD,
        "review_items": Access(("id", "call_id"), insert=True),
        "patients": Access(("id", "clinic_id", "sensitivity")),
        "care_team": Access(("patient_id", "clinician_id")),
        "inventory_items": Access(("id", "clinic_id", "medication")),
    },
    CONSULTATIONS: {
        **LOG,
        **TREE,  # the sequencer runs in this process where it has none of its own
        "people": Access(("id", "clinic_id", "kind", "role", "active")),
        "agents": Access(("id", "clinic_id", "role", "active")),
        "clients": READ,
        "used_assertions": Access(ALL, insert=True, delete=True),
        "consultations": Access(ALL, insert=True, update=("status", "open", "assignee_id", "closed_at", "call_id")),
        "sign_offs": ADD,
        "clarifications": Access(ALL, insert=True, update=("answer", "answered_at", "call_id")),
        "patients": Access(("id", "clinic_id", "sensitivity")),
        "care_team": Access(("patient_id", "clinician_id")),
    },
    # It numbers events and signs the tree over them; that it started and stopped is on the record too.
    SEQUENCER: {**LOG, **TREE},
    # It reads; what it writes is that somebody looked, and what they found of a break-glass or an override. Of the
    # tables that tools write it knows which call wrote a row, to check them against the log.
    REVIEW: {
        **LOG,
        "audit_leaves": READ,
        "audit_nodes": READ,
        "audit_checkpoints": READ,
        "audit_purges": READ,
        "audit_purged_calls": READ,
        "people": Access(("id", "clinic_id", "kind", "role", "name", "active")),
        "review_items": Access(ALL, update=("verdict", "verdict_reason", "reviewer_id", "reviewed_at")),
        "emergency_access": READ,
        "guardrail_overrides": READ,
        "consultations": Access(("id", "call_id")),
        "sign_offs": Access(("id", "call_id")),
        "prescriptions": Access(("id", "call_id")),
        "stock_entries": Access(("id", "call_id")),
    },
}
"""Part, table, access. A test holds every name to the tables there are."""


def role(part: str) -> str:
    """The PostgreSQL role of a part, e.g. `clinic_patient_records`."""
    return f"clinic_{part.replace('-', '_')}"
