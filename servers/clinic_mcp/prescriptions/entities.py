"""Arguments of a prescriptions tool → the Cedar consultation."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from clinic_mcp.core.clinic import consultations, sign_offs
from clinic_mcp.core.identity import consultation_entity
from clinic_mcp.core.tool import Target
from clinic_mcp.prescriptions.arguments import Record

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


def consultation(connection: Connection, arguments: Record, clinic_id: str) -> Target:
    """The consultation a call writes in. One nobody knows looks like one nobody may write in."""
    row = connection.execute(_CONSULTATION, {"consultation": arguments.session_id}).first()
    entity = consultation_entity(
        arguments.session_id,
        clinic=row.clinic_id if row else clinic_id,
        patient=("Patient", row.patient_id if row else "unknown"),
        agent_ids=row.agent_ids.split() if row else [],
        assignee=row.assignee_id if row else None,
        is_open=bool(row.open) if row else True,
        signed_off=row is not None and row.sign_off_id is not None,
    )
    return Target(entity, patients=(row.patient_id,) if row else (), known=row is not None)
