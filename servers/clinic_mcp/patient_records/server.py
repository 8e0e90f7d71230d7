"""The patient-records server: a patient's basic record and history, and the way to them."""

from __future__ import annotations

from clinic_mcp.core.clinic import review_items
from clinic_mcp.core.tool import ServerTools, Work
from clinic_mcp.patient_records import emergency, entities, find, store
from clinic_mcp.patient_records.arguments import Emergency, Find, OfPatient
from clinic_mcp.patient_records.emergency import Granted
from clinic_mcp.patient_records.find import Found
from clinic_mcp.patient_records.models import emergency_access
from clinic_mcp.patient_records.store import HistoryEntry, PatientRecord

SERVER = ServerTools(
    "patient-records",
    title="Patient records",
    instructions="Reads a patient's record and history. An agent sees only the patient of its consultation.",
    writes=[emergency_access, review_items],
)


@SERVER.tool(title="Patient record", arguments=OfPatient, target=entities.record, kept=["patient_id"])
def get_patient_record(work: Work, arguments: OfPatient) -> PatientRecord:
    """Fetch a patient's basic record: id, name, date of birth (dob, ISO 8601), blood type and known allergies.
    "None" means no known allergies; an allergy status nobody recorded is said as such."""
    return store.patient_record(work.connection, arguments.patient_id, work.clinic_id)


@SERVER.tool(title="Medical history", arguments=OfPatient, target=entities.record, kept=["patient_id"])
def get_medical_history(work: Work, arguments: OfPatient) -> list[HistoryEntry]:
    """Fetch a patient's medical history, newest first: a list of date (ISO 8601), condition, treatment and notes.
    At most 200 entries are returned."""
    return store.medical_history(work.connection, arguments.patient_id, work.clinic_id)


@SERVER.tool(title="Find patients", arguments=Find, target=entities.register, bulk=True)
def find_patients(work: Work, arguments: Find) -> list[Found]:
    """Find patients by name and date of birth, among those whose record the caller may read: a list of id, name and
    birth_date, at most 20. An empty list does not mean that the clinic does not know the patient."""
    return find.patients_by_name(work, arguments.name, arguments.birth_date)


@SERVER.tool(
    title="Request emergency access",
    arguments=Emergency,
    target=entities.patient,
    kept=["patient_id", "reason_code"],
    writes=True,
)
def request_emergency_access(work: Work, arguments: Emergency) -> Granted:
    """Open a patient's record in an emergency ("break the glass"), for one hour, to a physician who does not treat the
    patient. It is recorded with the reason, and somebody reviews it afterwards. Returns patient_id, expires_at
    (ISO 8601) and review_id."""
    return emergency.grant(work, arguments)
