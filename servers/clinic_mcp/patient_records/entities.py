"""Arguments of a patient-records tool → the Cedar patient."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, literal, select, union

from clinic_mcp.core.clinic import consultations
from clinic_mcp.core.policy import Entity, ref
from clinic_mcp.core.tool import Target
from clinic_mcp.patient_records.arguments import OfPatient
from clinic_mcp.patient_records.models import care_team, patients

_CLINIC = select(literal("clinic").label("what"), patients.c.clinic_id.label("id")).where(
    patients.c.id == bindparam("patient")
)
_CARE_TEAM = select(literal("careTeam"), care_team.c.clinician_id).where(care_team.c.patient_id == bindparam("patient"))
_ATTENDING = select(literal("attending"), consultations.c.assignee_id).where(
    consultations.c.patient_id == bindparam("patient"),
    consultations.c.open,
    consultations.c.assignee_id.is_not(None),
)
_PATIENT = union(_CLINIC, _CARE_TEAM, _ATTENDING)  # one question to the database, because every call asks it


def patient(connection: Connection, arguments: OfPatient, clinic_id: str) -> Target:
    """The patient a call asks about. One nobody knows looks like one nobody may see."""
    rows = connection.execute(_PATIENT, {"patient": arguments.patient_id}).all()
    clinic = next((row.id for row in rows if row.what == "clinic"), None)
    attrs: dict[str, object] = {"clinic": ref(("Clinic", clinic or clinic_id))}
    for what in ("careTeam", "attending"):
        attrs[what] = [ref(("Clinician", row.id)) for row in rows if row.what == what and clinic]
    entity = Entity(("Patient", arguments.patient_id), attrs)
    return Target(entity, patients=(arguments.patient_id,), known=clinic is not None)
