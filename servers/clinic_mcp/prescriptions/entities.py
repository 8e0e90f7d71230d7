"""Arguments of a prescriptions tool → the Cedar consultation, and what the guardrails must know of the prescription."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from clinic_mcp.core.clinic import consultations, sign_offs
from clinic_mcp.core.identity import Caller, consultation_entity, patient_entity
from clinic_mcp.core.tool import Target
from clinic_mcp.prescriptions import reads
from clinic_mcp.prescriptions.arguments import Record
from clinic_mcp.prescriptions.checks import facts

_CONSULTATION = (
    select(
        consultations.c.clinic_id,
        consultations.c.patient_id,
        consultations.c.open,
        consultations.c.agent_ids,
        consultations.c.assignee_id,
        sign_offs.c.id.label("sign_off_id"),
    )
    .select_from(consultations.outerjoin(sign_offs, sign_offs.c.consultation_id == consultations.c.id))
    .where(consultations.c.id == bindparam("consultation"))
)


def consultation(connection: Connection, arguments: Record, clinic_id: str, _caller: Caller) -> Target:
    """The consultation a call writes in. One nobody knows looks like one nobody may write in."""
    row = connection.execute(_CONSULTATION, {"consultation": arguments.session_id}).first()
    clinic = row.clinic_id if row else clinic_id
    patient_id = row.patient_id if row else "unknown"
    about = reads.patient(connection, patient_id, clinic)
    entity = consultation_entity(
        arguments.session_id,
        clinic=clinic,
        patient=("Patient", patient_id),
        agent_ids=row.agent_ids.split() if row else [],
        assignee=row.assignee_id if row else None,
        is_open=bool(row.open) if row else True,
        signed_off=row is not None and row.sign_off_id is not None,
    )
    patient = patient_entity(patient_id, clinic=clinic, care_team=about.care_team, sensitivity=about.sensitivity)
    return Target(
        entity,
        patients=(patient_id,) if row else (),
        facts=facts(connection, arguments.prescription, about, arguments.session_id, clinic_id),
        entities=(patient,),
        known=row is not None,
    )
