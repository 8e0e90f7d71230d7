"""Who reads what: records, the knowledge base, the stock, the audit log."""

from __future__ import annotations

from collections.abc import Iterator

from golden_world import (
    ADMIN,
    ALICE,
    AUDITOR,
    BOB,
    GONE,
    INTAKE,
    KNOWLEDGE,
    LOG,
    NURSE,
    OPEN,
    OSEI,
    P001,
    P002,
    PHARMACIST,
    PRESCRIBER,
    REGISTER,
    STOCK,
    VERY_RESTRICTED,
    VISITOR,
    Case,
    emergency,
    patient,
    person,
)


def cases() -> Iterator[Case]:
    """Every case of reading."""
    yield from record_cases()
    yield from patient_cases()
    yield from reference_cases()
    yield from audit_cases()


def record_cases() -> Iterator[Case]:
    """Records and histories."""
    for action, what in (("get_patient_record", "record"), ("get_medical_history", "history")):
        yield Case(f"intake-agent-reads-{what}-of-its-patient", True, INTAKE, action, P001, OPEN)
        yield Case(f"intake-agent-reads-{what}-of-another-patient", False, INTAKE, action, P002, OPEN)
        yield Case(f"physician-reads-{what}-of-care-team-patient", True, OSEI, action, P001)
        yield Case(f"physician-reads-{what}-of-a-stranger", False, OSEI, action, P002)
        yield Case(f"prescription-agent-reads-{what}-of-its-patient", False, PRESCRIBER, action, P001, OPEN)
        yield Case(f"auditor-reads-{what}-of-a-patient", False, AUDITOR, action, P001)
        yield Case(f"administrator-reads-{what}-of-a-patient", False, ADMIN, action, P001)
        yield Case(f"nurse-reads-{what}-of-care-team-patient", True, NURSE, action, P001)
        yield Case(f"nurse-reads-{what}-of-a-stranger", False, NURSE, action, P002)
        yield Case(f"pharmacist-reads-{what}-of-care-team-patient", False, PHARMACIST, action, P001)
        yield Case(f"patient-reads-own-{what}", True, ALICE, action, P001)
        yield Case(f"patient-reads-{what}-of-another-patient", False, BOB, action, P001)
        yield Case(f"physician-reads-{what}-in-an-emergency", True, OSEI, action, P002, facts=emergency())
        past = emergency("2026-11-22T10:00:00.000Z")
        yield Case(f"physician-reads-{what}-after-an-emergency", False, OSEI, action, P002, facts=past)
    read = "get_patient_record"
    yield Case("intake-agent-reads-record-without-a-consultation", False, INTAKE, read, P001)
    yield Case("visiting-agent-reads-record-in-a-consultation-it-takes-no-part-in", False, VISITOR, read, P001, OPEN)
    assigned = patient("P002", attending=("dr-osei",))
    yield Case("physician-reads-record-of-patient-of-assigned-consultation", True, OSEI, read, assigned)
    yield Case("inactive-physician-reads-record-of-care-team-patient", False, GONE, read, P001)
    gone_assigned = patient("P002", attending=("dr-gone",))
    yield Case("inactive-physician-reads-record-of-assigned-consultation", False, GONE, read, gone_assigned)
    name = "physician-reads-history-of-patient-of-assigned-consultation"
    yield Case(name, True, OSEI, "get_medical_history", assigned)
    attending_nurse = patient("P002", attending=("nurse-adeyemi",))
    yield Case("nurse-reads-record-of-patient-of-assigned-consultation", False, NURSE, read, attending_nurse)


def patient_cases() -> Iterator[Case]:
    """Restricted records, finding a patient, breaking the glass."""
    read = "get_patient_record"
    yield Case("intake-agent-reads-very-restricted-record-of-its-patient", False, INTAKE, read, VERY_RESTRICTED, OPEN)
    restricted = patient("P001", team=("dr-osei",), sensitivity="R")
    yield Case("intake-agent-reads-restricted-record-of-its-patient", True, INTAKE, read, restricted, OPEN)
    yield Case("physician-reads-very-restricted-record-of-care-team-patient", True, OSEI, read, VERY_RESTRICTED)
    hidden = patient("P002", sensitivity="V")
    yield Case("physician-reads-very-restricted-record-in-an-emergency", True, OSEI, read, hidden, facts=emergency())
    yield Case("inactive-physician-reads-record-in-an-emergency", False, GONE, read, P002, facts=emergency())
    yield Case("nurse-reads-record-in-an-emergency", False, NURSE, read, P002, facts=emergency())
    foreign = patient("P002", clinic="elsewhere")
    yield Case(
        "physician-reads-record-at-another-clinic-in-an-emergency", False, OSEI, read, foreign, facts=emergency()
    )
    find = "find_patients"
    yield Case("physician-finds-patients", True, OSEI, find, REGISTER)
    yield Case("nurse-finds-patients", True, NURSE, find, REGISTER)
    yield Case("pharmacist-finds-patients", False, PHARMACIST, find, REGISTER)
    yield Case("auditor-finds-patients", False, AUDITOR, find, REGISTER)
    yield Case("patient-finds-patients", False, ALICE, find, REGISTER)
    yield Case("intake-agent-finds-patients", False, INTAKE, find, REGISTER, OPEN)
    ask = "request_emergency_access"
    yield Case("physician-requests-emergency-access-to-a-stranger", True, OSEI, ask, P002)
    yield Case("nurse-requests-emergency-access", False, NURSE, ask, P002)
    yield Case("intake-agent-requests-emergency-access", False, INTAKE, ask, P002, OPEN)
    yield Case("patient-requests-emergency-access", False, ALICE, ask, P001)
    name = "nurse-requests-emergency-access-to-care-team-patient"
    yield Case(name, False, NURSE, ask, P001)
    yield Case("physician-requests-emergency-access-to-care-team-patient", True, OSEI, ask, P001)


def reference_cases() -> Iterator[Case]:
    """The knowledge base and the stock."""
    for action, thing, what in (
        ("search_knowledge_base", KNOWLEDGE, "searches-knowledge-base"),
        ("check_pharmacy_inventory", STOCK, "reads-stock"),
    ):
        yield Case(f"intake-agent-{what}-in-its-consultation", True, INTAKE, action, thing, OPEN)
        yield Case(f"prescription-agent-{what}-in-its-consultation", True, PRESCRIBER, action, thing, OPEN)
        yield Case(f"visiting-agent-{what}-in-a-consultation-it-takes-no-part-in", False, VISITOR, action, thing, OPEN)
        yield Case(f"intake-agent-{what}-without-a-consultation", False, INTAKE, action, thing)
        yield Case(f"physician-{what}", True, OSEI, action, thing)
        yield Case(f"nurse-{what}", True, NURSE, action, thing)
        yield Case(f"pharmacist-{what}", True, PHARMACIST, action, thing)
        yield Case(f"auditor-{what}", False, AUDITOR, action, thing)
        yield Case(f"administrator-{what}", False, ADMIN, action, thing)


def audit_cases() -> Iterator[Case]:
    """The audit log, and a patient's report about themselves."""
    yield Case("auditor-reads-audit-log", True, AUDITOR, "read_audit_log", LOG)
    inactive = person("auditor-gone", "auditor", "Auditor", active=False)
    yield Case("inactive-auditor-reads-audit-log", False, inactive, "read_audit_log", LOG)
    yield Case("physician-reads-audit-log", False, OSEI, "read_audit_log", LOG)
    yield Case("administrator-reads-audit-log", False, ADMIN, "read_audit_log", LOG)
    yield Case("intake-agent-reads-audit-log", False, INTAKE, "read_audit_log", LOG)
    report = "read_access_report"
    yield Case("patient-reads-own-access-report", True, ALICE, report, P001)
    yield Case("patient-reads-access-report-of-another-patient", False, BOB, report, P001)
    yield Case("physician-reads-access-report-of-care-team-patient", False, OSEI, report, P001)
    assigned = patient("P002", attending=("dr-osei",))
    yield Case("physician-reads-access-report-of-patient-of-assigned-consultation", False, OSEI, report, assigned)
    yield Case("nurse-reads-access-report-of-care-team-patient", False, NURSE, report, P001)
    # The database makes nobody an auditor or administrator without the role. The policies ask for both all the same.
    trainee = person("auditor-new", "trainee", "Auditor")
    yield Case("auditor-without-the-role-reads-audit-log", False, trainee, "read_audit_log", LOG)
