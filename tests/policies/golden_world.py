"""The people, records and consultations that golden cases are about, and what a case is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clinic_mcp.core.identity import consultation_entity, patient_entity
from clinic_mcp.core.policy import Entity, Request, Uid, moment, ref

HOME, ELSEWHERE = ("Clinic", "main"), ("Clinic", "elsewhere")
SESSION = {"session_id": "C-1"}
INPUTS: dict[str, dict[str, Any]] = {
    "get_patient_record": {"patient_id": "P001"},
    "get_medical_history": {"patient_id": "P001"},
    "find_patients": {"name": "Alice", "birth_date": "1985-03-12"},
    "request_emergency_access": {"patient_id": "P002", "reason": "Found on the street", "reason_code": "unconscious"},
    "search_knowledge_base": {"query": "fever in adults"},
    "check_pharmacy_inventory": {"medication_name": "Paracetamol 500mg"},
    "receive_stock": {"medication_name": "Paracetamol 500mg", "quantity": 100, "lot": "L1", "expires": "2028-01-31"},
    "dispense_medication": {
        "medication_name": "Paracetamol 500mg",
        "quantity": 9,
        "prescription_id": "RX-0123456789ab",
    },
    "record_prescription": {**SESSION, "prescription": "Paracetamol 500mg"},
    "list_my_consultations": {},
    "get_consultation": SESSION,
    "sign_off_consultation": {**SESSION, "notes": "Paracetamol 500mg"},
    "override_guardrail": {
        **SESSION,
        "guardrail": "allergy",
        "medication": "Amoxicillin 500mg",
        "reason_code": "tolerated-before",
        "reason": "Took it last year",
    },
    "assign_consultation": {**SESSION, "clinician_id": "dr-lindqvist"},
    "read_audit_log": {},
    "read_access_report": {"patient_id": "P001"},
}
NOW = "2026-11-22T10:00:00.000Z"
RULES = ("allergy", "interaction", "duplicate", "never_asked")


@dataclass
class Case:
    """One question: who does what to what, and whether that is right."""

    name: str
    allow: bool
    principal: Entity
    action: str
    resource: Entity
    bound: Entity | None = None
    patient: Uid = ("Patient", "P001")
    facts: dict[str, Any] | None = None
    about: Entity | None = None

    @property
    def request(self) -> Request:
        context: dict[str, Any] = {"auth": {"transport": "http"}, "now": moment(NOW), "input": INPUTS[self.action]}
        facts = self.facts
        if facts is None and self.action in ("get_patient_record", "get_medical_history"):
            facts = {}
        if facts is None and self.action == "record_prescription":
            facts = findings()
        if facts is not None:
            context["facts"] = facts
        roles = [Entity(role) for role in self.principal.parents]
        named = [self.about or P001] if self.resource.uid[0] in ("Consultation", "Prescription") else []
        entities = {e.uid: e for e in (self.principal, *roles, Entity(HOME), *named, self.resource)}
        if self.bound is not None:
            context["bound"] = {"consultation": ref(self.bound.uid), "patient": ref(self.patient)}
            entities.setdefault(self.bound.uid, self.bound)
        return Request(self.principal.uid, self.action, self.resource.uid, context, list(entities.values()))


def emergency(until: str = "2026-11-22T10:30:00.000Z") -> dict[str, Any]:
    return {"emergency": {"reason": "unconscious", "expires": moment(until)}}


def findings(
    found: dict[str, list[str]] | None = None,
    *,
    controlled: bool = False,
    overridden: dict[str, list[str]] | None = None,
) -> dict[str, Any]:
    none: dict[str, list[str]] = {rule: [] for rule in RULES}
    return {
        "controlled": controlled,
        "findings": {**none, **(found or {})},
        "overridden": {**none, **(overridden or {})},
    }


def agent(name: str, clinic: Uid = HOME, role: str | None = None) -> Entity:
    return Entity(("Agent", name), {"clinic": ref(clinic)}, (("Role", role or name),))


def person(name: str, role: str, kind: str = "Clinician", *, active: bool = True, clinic: Uid = HOME) -> Entity:
    return Entity((kind, name), {"clinic": ref(clinic), "active": active}, (("Role", role),))


def patient(
    name: str,
    *,
    team: tuple[str, ...] = (),
    attending: tuple[str, ...] = (),
    clinic: str = "main",
    sensitivity: str = "N",
) -> Entity:
    return patient_entity(name, clinic=clinic, care_team=team, attending=attending, sensitivity=sensitivity)


def consultation(
    name: str = "C-1",
    about: str = "P001",
    *,
    agents: tuple[str, ...] = ("intake_agent", "prescription_agent"),
    is_open: bool = True,
    signed: bool = True,
    clinic: str = "main",
    assignee: str | None = None,
) -> Entity:
    return consultation_entity(
        name,
        clinic=clinic,
        patient=("Patient", about),
        agent_ids=list(agents),
        assignee=assignee,
        is_open=is_open,
        signed_off=signed,
    )


INTAKE, PRESCRIBER = agent("intake_agent"), agent("prescription_agent")
VISITOR = agent("visiting_agent", role="intake_agent")
VISITING_PRESCRIBER = agent("visiting_prescriber", role="prescription_agent")
OSEI, NURSE = person("dr-osei", "physician"), person("nurse-adeyemi", "nurse")
PHARMACIST, LINDQVIST = person("pharm-rossi", "pharmacist"), person("dr-lindqvist", "physician")
GONE = person("dr-gone", "physician", active=False)
AUDITOR, ADMIN = person("auditor-tan", "auditor", "Auditor"), person("admin-kaur", "administrator", "Administrator")
P001, P002 = patient("P001", team=("dr-osei", "nurse-adeyemi", "dr-gone", "pharm-rossi")), patient("P002")
ALICE, BOB = patient("P001"), patient("P002")  # as principals: what their records say is not loaded
VERY_RESTRICTED = patient("P001", team=("dr-osei",), sensitivity="V")
OPEN, CLOSED, UNSIGNED = consultation(), consultation(is_open=False), consultation(signed=False)
KNOWLEDGE, STOCK = (
    Entity(("KnowledgeBase", "main"), {"clinic": ref(HOME)}),
    Entity(("Pharmacy", "main"), {"clinic": ref(HOME)}),
)
LOG = Entity(("AuditLog", "main"), {"clinic": ref(HOME)})
REGISTER, DESK = (Entity((kind, "main"), {"clinic": ref(HOME)}) for kind in ("Register", "Desk"))


def prescription(*, active: bool = True, clinic: str = "main") -> Entity:
    attrs = {"clinic": ref(("Clinic", clinic)), "patient": ref(("Patient", "P001")), "active": active}
    return Entity(("Prescription", "RX-0123456789ab"), attrs)
