"""The patient-records server: a patient's basic record and history."""

from __future__ import annotations

from clinic_mcp.core.tool import ServerTools, Work
from clinic_mcp.patient_records import entities, store
from clinic_mcp.patient_records.arguments import OfPatient
from clinic_mcp.patient_records.store import HistoryEntry, PatientRecord

SERVER = ServerTools(
    "patient-records",
    title="Patient records",
    instructions="Reads a patient's record and history. An agent sees only the patient of its consultation.",
)


@SERVER.tool(title="Patient record", arguments=OfPatient, target=entities.patient)
def get_patient_record(work: Work, arguments: OfPatient) -> PatientRecord:
    """Fetch a patient's basic record: id, name, date of birth (dob, ISO 8601), blood type and known allergies.
    "None" means no known allergies; an allergy status nobody recorded is said as such."""
    return store.patient_record(work.connection, arguments.patient_id, work.clinic_id)


@SERVER.tool(title="Medical history", arguments=OfPatient, target=entities.patient)
def get_medical_history(work: Work, arguments: OfPatient) -> list[HistoryEntry]:
    """Fetch a patient's medical history, newest first: a list of date (ISO 8601), condition, treatment and notes.
    At most 200 entries are returned."""
    return store.medical_history(work.connection, arguments.patient_id, work.clinic_id)
