"""Arguments of a patient-records tool → the Cedar resource and what is known of the caller's emergency access."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, bindparam, literal, null, select, union_all

from clinic_mcp.core.clinic import consultations
from clinic_mcp.core.identity import NORMAL, Caller, patient_entity
from clinic_mcp.core.policy import Entity, moment, ref
from clinic_mcp.core.tool import Target
from clinic_mcp.patient_records.arguments import Find, OfPatient
from clinic_mcp.patient_records.models import care_team, emergency_access, patients

_PATIENT = union_all(  # one question to the database, because every call asks it
    select(
        literal("patient").label("what"), patients.c.clinic_id.label("id"), patients.c.sensitivity.label("more")
    ).where(patients.c.id == bindparam("patient")),
    select(literal("careTeam"), care_team.c.clinician_id, null()).where(care_team.c.patient_id == bindparam("patient")),
    select(literal("attending"), consultations.c.assignee_id, null())
    .where(
        consultations.c.patient_id == bindparam("patient"),
        consultations.c.open,
        consultations.c.assignee_id.is_not(None),
    )
    .distinct(),
)
_EMERGENCY = (
    select(emergency_access.c.reason_code, emergency_access.c.expires_at)
    .where(
        emergency_access.c.patient_id == bindparam("patient"),
        emergency_access.c.clinician_id == bindparam("clinician"),
        emergency_access.c.clinic_id == bindparam("clinic"),
    )
    .order_by(emergency_access.c.expires_at.desc())
    .limit(1)
)


def record(connection: Connection, arguments: OfPatient, clinic_id: str, caller: Caller) -> Target:
    """The patient whose record is asked for, and the caller's last emergency access to it, where there was one.

    A patient nobody knows looks like one nobody may see.
    """
    return _patient(connection, arguments.patient_id, clinic_id, _emergency(connection, arguments, clinic_id, caller))


def patient(connection: Connection, arguments: OfPatient, clinic_id: str, _caller: Caller) -> Target:
    """The patient a call is about."""
    return _patient(connection, arguments.patient_id, clinic_id, None)


def register(_connection: Connection, _arguments: Find, clinic_id: str, _caller: Caller) -> Target:
    """This clinic's list of patients: one resource."""
    return Target(Entity(("Register", clinic_id), {"clinic": ref(("Clinic", clinic_id))}))


def _patient(connection: Connection, patient_id: str, clinic_id: str, facts: dict[str, Any] | None) -> Target:
    rows = connection.execute(_PATIENT, {"patient": patient_id}).all()
    known = next((row for row in rows if row.what == "patient"), None)
    members = {what: [row.id for row in rows if row.what == what and known] for what in ("careTeam", "attending")}
    entity = patient_entity(
        patient_id,
        clinic=known.id if known else clinic_id,
        care_team=members["careTeam"],
        attending=members["attending"],
        sensitivity=known.more if known else NORMAL,
    )
    return Target(entity, patients=(patient_id,), facts=facts, known=known is not None)


def _emergency(connection: Connection, arguments: OfPatient, clinic_id: str, caller: Caller) -> dict[str, Any]:
    kind, person = caller.principal.uid
    if kind != "Clinician":  # nobody else breaks the glass
        return {}
    asked = {"patient": arguments.patient_id, "clinician": person, "clinic": clinic_id}
    row = connection.execute(_EMERGENCY, asked).first()
    if row is None:
        return {}
    return {"emergency": {"reason": row.reason_code, "expires": moment(row.expires_at)}}
