"""Calls at random, each as plain facts and as the request that the policies get.

Most facts are as they should be and some are not, so that every policy decides often enough to be tried.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from clinic_mcp.core.clinic import timestamp
from clinic_mcp.core.policy import Entity, Request, moment, ref
from golden_world import INPUTS, RULES
from naive import CHANGES_A_CONSULTATION, READS_A_CONSULTATION, READS_A_RECORD, Call, Grant, Record, Visit

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
CLINICS = ("main", "elsewhere")
PATIENTS = ("P001", "P002", "P003")
VISITS = ("C-1", "C-2")
STAFF = ("dr-osei", "dr-lindqvist", "nurse-adeyemi", "pharm-rossi")
DRUGS = ("amoxicillin-500", "ibuprofen-400", "simvastatin-20")
AGENTS = ("intake_agent", "prescription_agent")
KINDS = {
    **dict.fromkeys(AGENTS, "Agent"),
    **dict.fromkeys(("physician", "nurse", "pharmacist"), "Clinician"),
    "auditor": "Auditor",
    "administrator": "Administrator",
    "patient": "Patient",
}
ABOUT_A_PATIENT = READS_A_RECORD | {"request_emergency_access", "read_access_report"}
ABOUT_A_VISIT = READS_A_CONSULTATION | CHANGES_A_CONSULTATION
PLACES = {
    "find_patients": "Register",
    "search_knowledge_base": "KnowledgeBase",
    "check_pharmacy_inventory": "Pharmacy",
    "receive_stock": "Pharmacy",
    "list_my_consultations": "Desk",
    "read_audit_log": "AuditLog",
}
LIKELY = {
    **dict.fromkeys(READS_A_RECORD, ("intake_agent", "intake_agent", "physician", "physician", "nurse", "patient")),
    "request_emergency_access": ("physician",),
    "find_patients": ("physician", "nurse"),
    "search_knowledge_base": ("intake_agent", "prescription_agent", "physician", "nurse"),
    "check_pharmacy_inventory": ("intake_agent", "prescription_agent", "physician", "pharmacist"),
    "receive_stock": ("pharmacist",),
    "dispense_medication": ("pharmacist",),
    "record_prescription": ("prescription_agent", "prescription_agent", "physician"),
    "list_my_consultations": ("physician", "nurse"),
    "get_consultation": ("physician", "nurse", "physician", "intake_agent"),
    "sign_off_consultation": ("physician",),
    "override_guardrail": ("physician",),
    "assign_consultation": ("administrator",),
    "read_audit_log": ("auditor",),
    "read_access_report": ("patient",),
}
"""Who usually does it."""
WEIGHTS = {"record_prescription": 5, "get_patient_record": 3, "get_medical_history": 3, "get_consultation": 2}


def call(random: Random) -> Call:
    """A call at random, in plain facts.

    Args:
        random: The source of chance.
    """

    def mostly(often: float = 0.92) -> bool:
        return random.random() < often

    action = random.choices(list(INPUTS), [WEIGHTS.get(one, 1) for one in INPUTS])[0]
    role = random.choice(LIKELY[action] if mostly(0.75) else tuple(KINDS))
    kind = KINDS[role]
    roles = {role} if mostly() else set(random.sample(sorted(KINDS.keys() - {"patient"}), 2))
    home = random.choice(CLINICS)
    thing_clinic = home if mostly() else random.choice(CLINICS)
    who = _name(random, kind, role)

    def record(name: str) -> Record:
        return Record(
            name,
            thing_clinic,
            care_team={one for one in (who, *STAFF) if one.partition("-")[2] and mostly(0.5)},
            attending={one for one in (who, *STAFF) if one.partition("-")[2] and mostly(0.3)},
            sensitivity="N" if mostly(0.8) else random.choice("RV"),
        )

    def visit(name: str, about: Record) -> Visit:
        agents = {one for one in (*AGENTS, "visiting_agent", who) if one in (*AGENTS, "visiting_agent") and mostly(0.9)}
        assignee = random.choice([None, who if kind == "Clinician" else "dr-osei", random.choice(STAFF)])
        return Visit(name, thing_clinic, about, agents, assignee, open=mostly(0.9), signed_off=mostly(0.9))

    own = kind == "Patient" and mostly(0.7)
    about = record(who if own else random.choice(PATIENTS))
    made = Call(kind, who, set() if kind == "Patient" else roles, home, action, thing_clinic, NOON, active=mostly(0.88))
    there = visit(random.choice(VISITS), about)
    if action in ABOUT_A_PATIENT:
        made.record = about
    elif action in ABOUT_A_VISIT:
        made.visit = there
    elif action == "dispense_medication":
        made.prescription_active = mostly(0.8)
    if action not in ("read_audit_log", "read_access_report") and mostly(0.93 if kind == "Agent" else 0.08):
        bound = there if mostly(0.88) else visit("C-3", record("P003"))
        made.grant = Grant(bound, bound.patient.id if mostly(0.95) else random.choice(PATIENTS))
    if (made.record or made.visit) and kind == "Patient" and about.id == who:
        made.clinic = thing_clinic  # what the call is about and who makes it are one record
    if action in READS_A_RECORD and mostly(0.35):
        made.emergency_until = NOON + timedelta(minutes=random.choice((-30, 0, 30, 30)))
    if action == "record_prescription":
        made.controlled = not mostly(0.9)
        made.found = {rule: _some(random, 0.06) for rule in RULES}
        made.overridden = {rule: _some(random, 0.25) for rule in RULES}
    return made


def _name(random: Random, kind: str, role: str) -> str:
    if kind == "Agent":
        return role if random.random() < 0.9 else "visiting_agent"
    if kind == "Patient":
        return random.choice(PATIENTS)
    return random.choice(STAFF) if kind == "Clinician" else f"{role}-tan"


def _some(random: Random, chance: float) -> set[str]:
    return {drug for drug in DRUGS if random.random() < chance}


def request(made: Call, inputs: Any = None) -> Request:
    """The request that a call is.

    Args:
        made: The call.
        inputs: Its arguments; ordinary ones where none are given.
    """
    context: dict[str, Any] = {
        "auth": {"transport": "http"},
        "now": moment(timestamp(made.now)),
        "input": INPUTS[made.action] if inputs is None else inputs,
    }
    principal = _principal(made)
    entities = {principal.uid: principal}

    def add(entity: Entity) -> Entity:
        return entities.setdefault(entity.uid, entity)

    if made.record is not None:
        resource = entities[("Patient", made.record.id)] = _record(made.record)
    elif made.visit is not None:
        resource = add(_visit(made.visit))
        entities[("Patient", made.visit.patient.id)] = _record(made.visit.patient)
    elif made.prescription_active is not None:
        attrs = {"patient": ref(("Patient", "P001")), "active": made.prescription_active}
        resource = add(Entity(("Prescription", "RX-0123456789ab"), {**_at(made.thing_clinic), **attrs}))
    else:
        resource = add(Entity((PLACES[made.action], made.thing_clinic), _at(made.thing_clinic)))
    if made.grant is not None:
        bound = add(_visit(made.grant.visit))
        context["bound"] = {"consultation": ref(bound.uid), "patient": ref(("Patient", made.grant.patient_id))}
    if made.action in READS_A_RECORD:
        until = made.emergency_until
        context["facts"] = (
            {"emergency": {"reason": "unconscious", "expires": moment(timestamp(until))}} if until else {}
        )
    if made.action == "record_prescription":
        findings, overridden = ({rule: sorted(of[rule]) for rule in RULES} for of in (made.found, made.overridden))
        context["facts"] = {"controlled": made.controlled, "findings": findings, "overridden": overridden}
    return Request(principal.uid, made.action, resource.uid, context, tuple(entities.values()))


def _at(clinic: str) -> dict[str, Any]:
    return {"clinic": ref(("Clinic", clinic))}


def _principal(made: Call) -> Entity:
    if made.kind == "Patient":
        return _record(Record(made.who, made.clinic))
    attrs = _at(made.clinic) if made.kind == "Agent" else {**_at(made.clinic), "active": made.active}
    return Entity((made.kind, made.who), attrs, tuple(("Role", role) for role in sorted(made.roles)))


def _record(record: Record) -> Entity:
    people = {
        name: [ref(("Clinician", one)) for one in sorted(members)]
        for name, members in (("careTeam", record.care_team), ("attending", record.attending))
    }
    return Entity(("Patient", record.id), {**_at(record.clinic), **people, "sensitivity": record.sensitivity})


def _visit(visit: Visit) -> Entity:
    attrs = {
        **_at(visit.clinic),
        "patient": ref(("Patient", visit.patient.id)),
        "agents": [ref(("Agent", one)) for one in sorted(visit.agents)],
        "open": visit.open,
        "signedOff": visit.signed_off,
    }
    if visit.assignee is not None:
        attrs["assignee"] = ref(("Clinician", visit.assignee))
    return Entity(("Consultation", visit.id), attrs)
