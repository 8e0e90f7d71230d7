"""Arguments of a desk tool → the Cedar consultation with its patient, or the desk itself."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from clinic_mcp.consultations import rows
from clinic_mcp.core.clinic import consultations, sign_offs
from clinic_mcp.core.identity import Caller, consultation_entity, patient_entity
from clinic_mcp.core.policy import Entity, ref
from clinic_mcp.core.tool import Target
from clinic_mcp.desk.arguments import Nothing, OfConsultation

_CONSULTATION = (
    select(consultations, sign_offs.c.id.label("sign_off_id"), rows.patients.c.sensitivity)
    .select_from(
        consultations.outerjoin(sign_offs, sign_offs.c.consultation_id == consultations.c.id).outerjoin(
            rows.patients, rows.patients.c.id == consultations.c.patient_id
        )
    )
    .where(consultations.c.id == bindparam("consultation"))
)


def desk(_connection: Connection, _arguments: Nothing, clinic_id: str, _caller: Caller) -> Target:
    """This clinic's desk: one resource."""
    return Target(Entity(("Desk", clinic_id), {"clinic": ref(("Clinic", clinic_id))}))


def consultation(connection: Connection, arguments: OfConsultation, clinic_id: str, _caller: Caller) -> Target:
    """The consultation a call is about. One nobody knows looks like one nobody may see."""
    row = connection.execute(_CONSULTATION, {"consultation": arguments.session_id}).first()
    if row is None:
        unknown = patient_entity("unknown", clinic=clinic_id)
        entity = consultation_entity(
            arguments.session_id,
            clinic=clinic_id,
            patient=unknown.uid,
            agent_ids=[],
            assignee=None,
            is_open=True,
            signed_off=False,
        )
        return Target(entity, entities=(unknown,), known=False)
    patient = patient_entity(
        row.patient_id,
        clinic=row.clinic_id,
        care_team=rows.team_of(connection, row.patient_id),
        sensitivity=row.sensitivity,
    )
    entity = consultation_entity(
        row.id,
        clinic=row.clinic_id,
        patient=patient.uid,
        agent_ids=row.agent_ids.split(),
        assignee=row.assignee_id,
        is_open=bool(row.open),
        signed_off=row.sign_off_id is not None,
    )
    return Target(entity, patients=(row.patient_id,), entities=(patient,))
