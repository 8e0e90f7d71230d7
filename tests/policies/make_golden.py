"""Writes `policies/decisions/ALLOW|DENY/<who>-<does>-<what>.json` from the table below.

The files have the shape of `cedar run-tests`. Run it after changing a case or a policy, and read the difference:
`python tests/policies/make_golden.py`. The decision stands in the table, not in the engine's answer; reasons are
what the engine names.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clinic_mcp.core.identity import consultation_entity
from clinic_mcp.core.policy import Entity, PolicySet, Request, Uid, moment, ref, uid

FOLDER = Path(__file__).parents[2] / "policies" / "decisions"
HOME, ELSEWHERE = ("Clinic", "main"), ("Clinic", "elsewhere")
INPUTS: dict[str, dict[str, str]] = {
    "get_patient_record": {"patient_id": "P001"},
    "get_medical_history": {"patient_id": "P001"},
    "search_knowledge_base": {"query": "fever in adults"},
    "check_pharmacy_inventory": {"medication_name": "Paracetamol 500mg"},
    "record_prescription": {"session_id": "C-1", "prescription": "Paracetamol 500mg"},
    "read_audit_log": {},
}


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

    @property
    def request(self) -> Request:
        context: dict[str, Any] = {
            "auth": {"transport": "http"},
            "now": moment("2026-11-22T10:00:00.000Z"),
            "input": INPUTS[self.action],
        }
        roles = [Entity(role) for role in self.principal.parents]
        entities = {e.uid: e for e in (self.principal, *roles, Entity(HOME), self.resource)}
        if self.bound is not None:
            context["bound"] = {"consultation": ref(self.bound.uid), "patient": ref(self.patient)}
            entities[self.bound.uid] = self.bound
        return Request(self.principal.uid, self.action, self.resource.uid, context, list(entities.values()))


def agent(name: str, clinic: Uid = HOME, role: str | None = None) -> Entity:
    return Entity(("Agent", name), {"clinic": ref(clinic)}, (("Role", role or name),))


def person(name: str, role: str, kind: str = "Clinician", *, active: bool = True, clinic: Uid = HOME) -> Entity:
    return Entity((kind, name), {"clinic": ref(clinic), "active": active}, (("Role", role),))


def patient(name: str, *, team: tuple[str, ...] = (), attending: tuple[str, ...] = (), clinic: Uid = HOME) -> Entity:
    attrs = {
        "clinic": ref(clinic),
        "careTeam": [ref(("Clinician", one)) for one in team],
        "attending": [ref(("Clinician", one)) for one in attending],
    }
    return Entity(("Patient", name), attrs)


def consultation(
    name: str = "C-1",
    about: str = "P001",
    *,
    agents: tuple[str, ...] = ("intake_agent", "prescription_agent"),
    is_open: bool = True,
    signed: bool = True,
    clinic: str = "main",
) -> Entity:
    return consultation_entity(
        name,
        clinic=clinic,
        patient=("Patient", about),
        agent_ids=list(agents),
        assignee=None,
        is_open=is_open,
        signed_off=signed,
    )


INTAKE, PRESCRIBER = agent("intake_agent"), agent("prescription_agent")
VISITOR = agent("visiting_agent", role="intake_agent")
VISITING_PRESCRIBER = agent("visiting_prescriber", role="prescription_agent")
OSEI, NURSE = person("dr-osei", "physician"), person("nurse-adeyemi", "nurse")
PHARMACIST = person("pharm-rossi", "pharmacist")
GONE = person("dr-gone", "physician", active=False)
AUDITOR, ADMIN = person("auditor-tan", "auditor", "Auditor"), person("admin-kaur", "administrator", "Administrator")
P001, P002 = patient("P001", team=("dr-osei", "nurse-adeyemi", "dr-gone")), patient("P002")
OPEN, CLOSED, UNSIGNED = consultation(), consultation(is_open=False), consultation(signed=False)
KNOWLEDGE, STOCK = (
    Entity(("KnowledgeBase", "main"), {"clinic": ref(HOME)}),
    Entity(("Pharmacy", "main"), {"clinic": ref(HOME)}),
)
LOG = Entity(("AuditLog", "main"), {"clinic": ref(HOME)})


def cases() -> Iterator[Case]:
    """Every golden case."""
    for action, what in (("get_patient_record", "record"), ("get_medical_history", "history")):
        yield Case(f"intake-agent-reads-{what}-of-its-patient", True, INTAKE, action, P001, OPEN)
        yield Case(f"intake-agent-reads-{what}-of-another-patient", False, INTAKE, action, P002, OPEN)
        yield Case(f"physician-reads-{what}-of-care-team-patient", True, OSEI, action, P001)
        yield Case(f"physician-reads-{what}-of-a-stranger", False, OSEI, action, P002)
        yield Case(f"prescription-agent-reads-{what}-of-its-patient", False, PRESCRIBER, action, P001, OPEN)
        yield Case(f"auditor-reads-{what}-of-a-patient", False, AUDITOR, action, P001)
        yield Case(f"administrator-reads-{what}-of-a-patient", False, ADMIN, action, P001)
        yield Case(f"nurse-reads-{what}-of-care-team-patient", False, NURSE, action, P001)
    read, write = "get_patient_record", "record_prescription"
    yield Case("intake-agent-reads-record-in-a-closed-consultation", False, INTAKE, read, P001, CLOSED)
    yield Case("intake-agent-reads-record-without-a-consultation", False, INTAKE, read, P001)
    yield Case("visiting-agent-reads-record-in-a-consultation-it-takes-no-part-in", False, VISITOR, read, P001, OPEN)
    elsewhere = agent("intake_agent", ELSEWHERE)
    yield Case("agent-of-another-clinic-reads-record-of-its-patient", False, elsewhere, read, P001, OPEN)
    assigned = patient("P002", attending=("dr-osei",))
    yield Case("physician-reads-record-of-patient-of-assigned-consultation", True, OSEI, read, assigned)
    yield Case("inactive-physician-reads-record-of-care-team-patient", False, GONE, read, P001)
    gone_assigned = patient("P002", attending=("dr-gone",))
    yield Case("inactive-physician-reads-record-of-assigned-consultation", False, GONE, read, gone_assigned)
    foreign = patient("P001", team=("dr-osei",), clinic=ELSEWHERE)
    yield Case("physician-reads-record-at-another-clinic", False, OSEI, read, foreign)

    for action, thing, what in (
        ("search_knowledge_base", KNOWLEDGE, "searches-knowledge-base"),
        ("check_pharmacy_inventory", STOCK, "reads-stock"),
    ):
        yield Case(f"intake-agent-{what}-in-its-consultation", True, INTAKE, action, thing, OPEN)
        yield Case(f"prescription-agent-{what}-in-its-consultation", True, PRESCRIBER, action, thing, OPEN)
        yield Case(f"visiting-agent-{what}-in-a-consultation-it-takes-no-part-in", False, VISITOR, action, thing, OPEN)
        yield Case(f"intake-agent-{what}-without-a-consultation", False, INTAKE, action, thing)
        yield Case(f"intake-agent-{what}-in-a-closed-consultation", False, INTAKE, action, thing, CLOSED)
        yield Case(f"physician-{what}", True, OSEI, action, thing)
        yield Case(f"nurse-{what}", True, NURSE, action, thing)
        yield Case(f"pharmacist-{what}", True, PHARMACIST, action, thing)
        yield Case(f"inactive-physician-{what}", False, GONE, action, thing)
        yield Case(f"auditor-{what}", False, AUDITOR, action, thing)
        yield Case(f"administrator-{what}", False, ADMIN, action, thing)

    yield Case("prescription-agent-records-after-sign-off", True, PRESCRIBER, write, OPEN, OPEN)
    yield Case("prescription-agent-records-before-sign-off", False, PRESCRIBER, write, UNSIGNED, UNSIGNED)
    yield Case("prescription-agent-records-in-its-closed-consultation", False, PRESCRIBER, write, CLOSED, CLOSED)
    other, other_closed = consultation("C-2", "P002"), consultation("C-2", "P002", is_open=False)
    yield Case("prescription-agent-records-in-another-consultation", False, PRESCRIBER, write, other, OPEN)
    yield Case(
        "prescription-agent-records-in-another-closed-consultation", False, PRESCRIBER, write, other_closed, OPEN
    )
    unknown = consultation("C-9", "unknown", agents=(), signed=False)
    yield Case("prescription-agent-records-in-a-consultation-nobody-opened", False, PRESCRIBER, write, unknown, OPEN)
    yield Case("intake-agent-records-after-sign-off", False, INTAKE, write, OPEN, OPEN)
    yield Case(
        "visiting-prescriber-records-in-a-consultation-it-takes-no-part-in",
        False,
        VISITING_PRESCRIBER,
        write,
        OPEN,
        OPEN,
    )
    yield Case("physician-records-after-sign-off", False, OSEI, write, OPEN)

    yield Case("auditor-reads-audit-log", True, AUDITOR, "read_audit_log", LOG)
    yield Case(
        "auditor-reads-audit-log-of-another-clinic",
        False,
        AUDITOR,
        "read_audit_log",
        Entity(LOG.uid, {"clinic": ref(ELSEWHERE)}),
    )
    inactive = person("auditor-gone", "auditor", "Auditor", active=False)
    yield Case("inactive-auditor-reads-audit-log", False, inactive, "read_audit_log", LOG)
    yield Case("physician-reads-audit-log", False, OSEI, "read_audit_log", LOG)
    yield Case("administrator-reads-audit-log", False, ADMIN, "read_audit_log", LOG)
    yield Case("intake-agent-reads-audit-log", False, INTAKE, "read_audit_log", LOG)


def document(case: Case, policies: PolicySet) -> dict[str, Any]:
    """A case with its decision, as a file holds it."""
    request = case.request
    decision = policies.decide(request)
    if decision.allowed is not case.allow:
        raise SystemExit(f"{case.name}: the table says {case.allow}, the policies say {decision}")
    return {
        "request": {
            "principal": _literal(request.principal),
            "action": _literal(("Action", request.action)),
            "resource": _literal(request.resource),
            "context": request.context,
        },
        "entities": [entity.as_json() for entity in request.entities],
        "decision": "allow" if decision.allowed else "deny",
        "reason": [name for name in decision.policies if name in policies.policies],
        "num_errors": decision.errors,
    }


def _literal(entity: Uid) -> str:
    return f"{uid(entity)['type']}::{json.dumps(entity[1])}"


def main() -> None:
    policies = PolicySet.load(FOLDER.parent)
    shutil.rmtree(FOLDER, ignore_errors=True)
    for case in cases():
        path = FOLDER / ("ALLOW" if case.allow else "DENY") / f"{case.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise SystemExit(f"two cases are named {case.name}")
        path.write_text(json.dumps(document(case, policies), indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
