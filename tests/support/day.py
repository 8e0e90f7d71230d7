"""A day at a clinic: what agents and people did, for tests of what the log says of it."""

from __future__ import annotations

from support.calls import NOTES
from support.clinic import Clinic
from support.servers import connected

CALLS = 10
"""How many calls a day has."""
GLASS = {"patient_id": "P004", "reason_code": "unconscious", "reason": "Found on the street, does not answer"}


def spend(clinic: Clinic) -> None:
    """Reads, a search, writes, a broken glass, refusals and a stranger, by an agent and by people."""
    session = clinic.consult("P001", notes=NOTES)
    osei = clinic.tokens.person("dr-osei")
    intake = clinic.tokens.grant(session, "intake_agent")
    prescriber = clinic.tokens.grant(session, "prescription_agent")
    with connected(clinic, "patient-records", "stdio") as records:
        records.call("get_patient_record", {"patient_id": "P001"}, intake)
        records.call("get_patient_record", {"patient_id": "P002"}, intake)
        records.call("get_patient_record", {"patient_id": "P001"}, None)
        records.call("get_patient_record", {"patient_id": "P002"}, osei)
        lindqvist = clinic.tokens.person("dr-lindqvist")
        records.call("request_emergency_access", GLASS, lindqvist)
        records.call("get_patient_record", {"patient_id": "P004"}, lindqvist)
        records.call("find_patients", {"name": "Alice", "birth_date": "1985-03-12"}, osei)
    with connected(clinic, "prescriptions", "stdio") as prescriptions:
        prescriptions.call("record_prescription", {"session_id": session, "prescription": NOTES}, prescriber)
    with connected(clinic, "desk", "stdio") as desk:
        desk.call("sign_off_consultation", {"session_id": clinic.consult("P002"), "notes": "Rest"}, osei)
        desk.call("list_my_consultations", {}, osei)
