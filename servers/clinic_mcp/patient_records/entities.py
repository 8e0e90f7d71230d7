"""Arguments of a patient-records tool → the Cedar patient."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from clinic_mcp.core.clinic import consultations
from clinic_mcp.core.policy import Entity, ref
from clinic_mcp.core.tool import Target
from clinic_mcp.patient_records.arguments import OfPatient
from clinic_mcp.patient_records.models import care_team, patients

_PATIENT = select(patients.c.clinic_id).where(patients.c.id == bindparam("patient"))
_CARE_TEAM = select(care_team.c.clinician_id).where(care_team.c.patient_id == bindparam("patient"))
_ATTENDING = select(consultations.c.assignee_id).where(
    consultations.c.patient_id == bindparam("patient"),
    consultations.c.open,
    consultations.c.assignee_id.is_not(None),
)


def patient(connection: Connection, arguments: OfPatient, clinic_id: str) -> Target:
    """The patient a call asks about. One nobody knows looks like one nobody may see."""
    of = {"patient": arguments.patient_id}
    row = connection.execute(_PATIENT, of).first()
    team = connection.execute(_CARE_TEAM, of).scalars().all() if row else []
    attending = connection.execute(_ATTENDING, of).scalars().all() if row else []
    attrs = {
        "clinic": ref(("Clinic", row.clinic_id if row else clinic_id)),
        "careTeam": [ref(("Clinician", clinician)) for clinician in team],
        "attending": [ref(("Clinician", clinician)) for clinician in dict.fromkeys(attending)],
    }
    return Target(
        Entity(("Patient", arguments.patient_id), attrs), patients=(arguments.patient_id,), known=row is not None
    )
