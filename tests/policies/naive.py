"""The policy floor as plain sentences in plain Python, written beside the policies and not from them.

It reads the design's words ("what the policies must say"), knows no Cedar, and is asked about plain facts. Where it and
the policies disagree, one of them is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

READS_A_RECORD = {"get_patient_record", "get_medical_history"}
READS_A_CONSULTATION = {"get_consultation"}
CHANGES_A_CONSULTATION = {
    "record_prescription",
    "sign_off_consultation",
    "override_guardrail",
    "assign_consultation",
}
ONLY_A_PERSON_MAY = {
    "find_patients",
    "request_emergency_access",
    "receive_stock",
    "dispense_medication",
    "list_my_consultations",
    "get_consultation",
    "sign_off_consultation",
    "override_guardrail",
    "assign_consultation",
}


@dataclass
class Record:
    """A patient's record."""

    id: str
    clinic: str
    care_team: set[str] = field(default_factory=set)
    attending: set[str] = field(default_factory=set)
    sensitivity: str = "N"


@dataclass
class Visit:
    """A consultation and whom it is about."""

    id: str
    clinic: str
    patient: Record
    agents: set[str] = field(default_factory=set)
    assignee: str | None = None
    open: bool = True
    signed_off: bool = False


@dataclass
class Grant:
    """What an agent's grant binds it to."""

    visit: Visit
    patient_id: str


@dataclass
class Call:
    """Who does what to what, in plain facts.

    Args:
        kind: `Agent`, `Clinician`, `Auditor`, `Administrator` or `Patient`.
        who: The caller's id.
        roles: The caller's roles.
        clinic: The caller's clinic.
        active: Whether the person still works there.
        action: What is done.
        thing_clinic: The clinic of what it is done to.
        record: The patient's record, where it is done to one.
        visit: The consultation, likewise.
        prescription_active: Whether the prescription is active, likewise.
        grant: What the caller is bound to.
        now: When.
        emergency_until: When the caller's emergency access to the record ends, where there is one.
        controlled: Whether the prescription names a controlled drug.
        found: For which medications of it each guardrail speaks.
        overridden: For which medications a physician has set each guardrail aside.
    """

    kind: str
    who: str
    roles: set[str]
    clinic: str
    action: str
    thing_clinic: str
    now: datetime
    active: bool = True
    record: Record | None = None
    visit: Visit | None = None
    prescription_active: bool | None = None
    grant: Grant | None = None
    emergency_until: datetime | None = None
    controlled: bool = False
    found: dict[str, set[str]] = field(default_factory=dict)
    overridden: dict[str, set[str]] = field(default_factory=dict)

    def is_a(self, role: str) -> bool:
        kinds = {"intake_agent": "Agent", "prescription_agent": "Agent"}
        kinds |= dict.fromkeys(("physician", "nurse", "pharmacist"), "Clinician")
        kinds |= {"auditor": "Auditor", "administrator": "Administrator"}
        return role in self.roles and self.kind == kinds[role]

    @property
    def takes_part(self) -> bool:
        """An agent that is one of its consultation's agents."""
        return self.kind == "Agent" and self.grant is not None and self.who in self.grant.visit.agents

    @property
    def is_assigned(self) -> bool:
        return self.kind == "Clinician" and self.visit is not None and self.visit.assignee == self.who

    @property
    def treats(self) -> bool:
        """The caller is on the care team of the patient it is about."""
        about = self.visit.patient if self.visit else self.record
        return self.kind == "Clinician" and about is not None and self.who in about.care_team


def unresolved(call: Call, rule: str) -> set[str]:
    """The medications that a guardrail speaks for and nobody has set it aside for."""
    return call.found.get(rule, set()) - call.overridden.get(rule, set())


Rule = Callable[[Call], bool]

PERMITS: dict[str, Rule] = {
    # an intake agent reads the record and history of the patient of its consultation
    "intake-agent-reads-its-patient": lambda c: (
        c.action in READS_A_RECORD
        and c.is_a("intake_agent")
        and c.takes_part
        and c.grant is not None
        and c.record is not None
        and c.grant.patient_id == c.record.id
    ),
    # a prescription agent records in its consultation
    "prescription-agent-records-in-its-consultation": lambda c: (
        c.action == "record_prescription"
        and c.is_a("prescription_agent")
        and c.grant is not None
        and c.visit is not None
        and c.grant.visit.id == c.visit.id
        and c.who in c.visit.agents
    ),
    # whoever treats patients here, and an agent inside its consultation, searches articles and reads the stock
    "clinician-searches-knowledge-base": lambda c: c.action == "search_knowledge_base" and c.kind == "Clinician",
    "agent-searches-knowledge-base": lambda c: c.action == "search_knowledge_base" and c.takes_part,
    "clinician-reads-stock": lambda c: c.action == "check_pharmacy_inventory" and c.kind == "Clinician",
    "agent-reads-stock": lambda c: c.action == "check_pharmacy_inventory" and c.takes_part,
    # a physician reads patients of their care team and of their assigned consultations; a nurse those of the care team
    "physician-reads-care-team-patient": lambda c: c.action in READS_A_RECORD and c.is_a("physician") and c.treats,
    "nurse-reads-care-team-patient": lambda c: c.action in READS_A_RECORD and c.is_a("nurse") and c.treats,
    "physician-reads-patient-of-assigned-consultation": lambda c: (
        c.action in READS_A_RECORD and c.is_a("physician") and c.record is not None and c.who in c.record.attending
    ),
    # break-glass: a physician with a recorded reason, for an hour, reads any patient of the clinic
    "physician-requests-emergency-access": lambda c: c.action == "request_emergency_access" and c.is_a("physician"),
    "physician-breaks-glass": lambda c: (
        c.action in READS_A_RECORD
        and c.is_a("physician")
        and c.emergency_until is not None
        and c.now < c.emergency_until
    ),
    "physician-finds-patients": lambda c: c.action == "find_patients" and c.is_a("physician"),
    "nurse-finds-patients": lambda c: c.action == "find_patients" and c.is_a("nurse"),
    # a patient reads their own record and their own access report
    "patient-reads-own-record": lambda c: (
        c.action in READS_A_RECORD and c.kind == "Patient" and c.record is not None and c.record.id == c.who
    ),
    "patient-reads-own-access-report": lambda c: (
        c.action == "read_access_report" and c.kind == "Patient" and c.record is not None and c.record.id == c.who
    ),
    # an auditor reads the log and nothing clinical
    "auditor-reads-audit-log": lambda c: c.action == "read_audit_log" and c.is_a("auditor") and c.active,
    # a pharmacist dispenses and receives stock
    "pharmacist-receives-stock": lambda c: c.action == "receive_stock" and c.is_a("pharmacist"),
    "pharmacist-dispenses": lambda c: c.action == "dispense_medication" and c.is_a("pharmacist"),
    # the desk: a physician works on consultations assigned to them or about a patient they treat; a nurse looks
    "physician-lists-own-consultations": lambda c: c.action == "list_my_consultations" and c.is_a("physician"),
    "nurse-lists-own-consultations": lambda c: c.action == "list_my_consultations" and c.is_a("nurse"),
    "nurse-reads-consultation-of-care-team-patient": lambda c: (
        c.action == "get_consultation" and c.is_a("nurse") and c.treats
    ),
    "administrator-assigns-consultation": lambda c: (
        c.action == "assign_consultation" and c.is_a("administrator") and c.active
    ),
}


def _desk(action: str, assigned: str, team: str) -> dict[str, Rule]:
    return {
        assigned: lambda c: c.action == action and c.is_a("physician") and c.is_assigned,
        team: lambda c: c.action == action and c.is_a("physician") and c.treats,
    }


PERMITS |= _desk(
    "get_consultation",
    "physician-reads-assigned-consultation",
    "physician-reads-consultation-of-care-team-patient",
)
PERMITS |= _desk(
    "sign_off_consultation",
    "physician-signs-off-assigned-consultation",
    "physician-signs-off-for-care-team-patient",
)
PERMITS |= _desk(
    "override_guardrail",
    "physician-overrides-in-assigned-consultation",
    "physician-overrides-for-care-team-patient",
)
PERMITS |= _desk(
    "record_prescription",
    "physician-records-in-assigned-consultation",
    "physician-records-for-care-team-patient",
)

FORBIDS: dict[str, Rule] = {
    # other patient, other consultation, closed consultation
    "no-other-patient": lambda c: (
        c.action in READS_A_RECORD
        and c.grant is not None
        and c.record is not None
        and c.record.id != c.grant.patient_id
    ),
    "no-other-consultation": lambda c: (
        c.action in READS_A_CONSULTATION | CHANGES_A_CONSULTATION
        and c.grant is not None
        and c.visit is not None
        and c.visit.id != c.grant.visit.id
    ),
    "no-closed-consultation": lambda c: c.grant is not None and not c.grant.visit.open,
    "no-write-in-closed-consultation": lambda c: (
        c.action in CHANGES_A_CONSULTATION and c.visit is not None and not c.visit.open
    ),
    # another clinic, an inactive clinician
    "no-other-clinic": lambda c: c.clinic != c.thing_clinic,
    "no-inactive-clinician": lambda c: c.kind == "Clinician" and not c.active,
    # what only a person does; an agent and very restricted records
    "no-agent-in-person": lambda c: c.kind == "Agent" and c.action in ONLY_A_PERSON_MAY,
    "no-agent-on-very-restricted-record": lambda c: (
        c.kind == "Agent" and c.action in READS_A_RECORD and c.record is not None and c.record.sensitivity == "V"
    ),
    "no-agent-in-very-restricted-consultation": lambda c: (
        c.kind == "Agent"
        and c.action in READS_A_CONSULTATION | CHANGES_A_CONSULTATION
        and c.visit is not None
        and c.visit.patient.sensitivity == "V"
    ),
    # prescribing
    "no-prescription-before-sign-off": lambda c: (
        c.action == "record_prescription" and c.visit is not None and not c.visit.signed_off
    ),
    "no-prescription-against-allergy": lambda c: c.action == "record_prescription" and bool(unresolved(c, "allergy")),
    "no-prescription-against-interaction": lambda c: (
        c.action == "record_prescription" and bool(unresolved(c, "interaction"))
    ),
    "no-prescription-of-duplicate-therapy": lambda c: (
        c.action == "record_prescription" and bool(unresolved(c, "duplicate"))
    ),
    "no-prescription-before-allergies-are-asked": lambda c: (
        c.action == "record_prescription" and bool(unresolved(c, "never_asked"))
    ),
    "no-controlled-drug-by-agent": lambda c: c.action == "record_prescription" and c.kind == "Agent" and c.controlled,
    "no-dispensing-without-active-prescription": lambda c: (
        c.action == "dispense_medication" and c.prescription_active is False
    ),
}


def decide(call: Call) -> tuple[bool, frozenset[str]]:
    """Whether a call is right, and because of which rules: every forbid that speaks, else every permit.

    Args:
        call: The call.
    """
    refusing = frozenset(name for name, rule in FORBIDS.items() if rule(call))
    if refusing:
        return False, refusing
    allowing = frozenset(name for name, rule in PERMITS.items() if rule(call))
    return bool(allowing), allowing or frozenset({"default-deny"})
