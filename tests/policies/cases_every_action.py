"""Guardrails that hold for whole groups of actions, at each action of the group."""

from __future__ import annotations

from collections.abc import Iterator

from clinic_mcp.core.policy import Entity, ref
from golden_world import (
    ADMIN,
    AUDITOR,
    CLOSED,
    ELSEWHERE,
    GONE,
    INTAKE,
    OSEI,
    PHARMACIST,
    PRESCRIBER,
    VERY_RESTRICTED,
    Case,
    agent,
    consultation,
    patient,
    prescription,
)

DOES = {
    "get_patient_record": "reads-record",
    "get_medical_history": "reads-history",
    "find_patients": "finds-patients",
    "request_emergency_access": "requests-emergency-access",
    "search_knowledge_base": "searches-knowledge-base",
    "check_pharmacy_inventory": "reads-stock",
    "receive_stock": "receives-stock",
    "dispense_medication": "dispenses-active-prescription",
    "record_prescription": "records",
    "list_my_consultations": "lists-consultations",
    "get_consultation": "reads-consultation",
    "sign_off_consultation": "signs-off",
    "override_guardrail": "overrides",
    "assign_consultation": "assigns-consultation",
    "read_audit_log": "reads-audit-log",
    "read_access_report": "reads-access-report",
}
"""Each action as a file name says it."""

WHO = {
    "receive_stock": ("pharmacist", PHARMACIST),
    "dispense_medication": ("pharmacist", PHARMACIST),
    "assign_consultation": ("administrator", ADMIN),
    "read_audit_log": ("auditor", AUDITOR),
}
"""Who may do it at their own clinic, where it is not a physician."""

_KINDS = {
    "find_patients": "Register",
    "search_knowledge_base": "KnowledgeBase",
    "check_pharmacy_inventory": "Pharmacy",
    "receive_stock": "Pharmacy",
    "list_my_consultations": "Desk",
    "read_audit_log": "AuditLog",
}
_PATIENT_ACTIONS = ("get_patient_record", "get_medical_history", "request_emergency_access", "read_access_report")


def resource(action: str, clinic: str = "main") -> Entity:
    """What an action is about: Alice, or her consultation or prescription, at a clinic."""
    if action in _PATIENT_ACTIONS:
        return patient("P001", team=("dr-osei", "dr-gone"), clinic=clinic)
    if action == "dispense_medication":
        return prescription(clinic=clinic)
    if action in _KINDS:
        return Entity((_KINDS[action], clinic), {"clinic": ref(("Clinic", clinic))})
    return consultation(clinic=clinic)


def cases() -> Iterator[Case]:
    """Each rule at each action."""
    here = patient("P001", team=("dr-osei", "dr-gone"))
    there = patient("P001", team=("dr-osei",), clinic=ELSEWHERE[1])
    for action, does in DOES.items():
        who, principal = WHO.get(action, ("physician", OSEI))
        foreign = resource(action, ELSEWHERE[1])
        yield Case(f"{who}-{does}-at-another-clinic", False, principal, action, foreign, about=there)
        yield Case(f"inactive-physician-{does}", False, GONE, action, resource(action), about=here)
        if action not in ("read_audit_log", "read_access_report"):  # nobody bound to a consultation asks these
            name = f"intake-agent-{does}-in-a-closed-consultation"
            closed = CLOSED if resource(action).uid == CLOSED.uid else resource(action)
            yield Case(name, False, INTAKE, action, closed, CLOSED, about=here)
    for action in ("get_consultation", "sign_off_consultation", "override_guardrail", "assign_consultation"):
        does, other = DOES[action], consultation("C-2", "P002", assignee="dr-osei")
        name = f"prescription-agent-{does}-of-another-consultation"
        yield Case(name, False, PRESCRIBER, action, other, consultation(), about=patient("P002"))
        name = f"prescription-agent-{does}-in-its-very-restricted-consultation"
        yield Case(name, False, PRESCRIBER, action, consultation(), consultation(), about=VERY_RESTRICTED)
    read, history = "get_patient_record", "get_medical_history"
    name = "agent-of-another-clinic-reads-record-of-its-patient"
    yield Case(name, False, agent("intake_agent", ELSEWHERE), read, here, consultation())
    name = "intake-agent-reads-very-restricted-history-of-its-patient"
    yield Case(name, False, INTAKE, history, VERY_RESTRICTED, consultation())
    name = "intake-agent-requests-emergency-access-to-its-very-restricted-patient"
    yield Case(name, False, INTAKE, "request_emergency_access", VERY_RESTRICTED, consultation())
    # Only agents have grants. The rules about a grant do not ask who holds it.
    elsewhere = consultation("C-2", "P002")
    name = "physician-reads-record-with-a-grant-for-another-patient"
    yield Case(name, False, OSEI, read, here, elsewhere, ("Patient", "P002"))
    name = "physician-reads-consultation-with-a-grant-for-another"
    yield Case(name, False, OSEI, "get_consultation", consultation(), elsewhere, ("Patient", "P002"), about=here)
    yield Case("physician-reads-record-with-a-grant-for-a-closed-consultation", False, OSEI, read, here, CLOSED)
