"""Arguments of a pharmacy tool → the Cedar pharmacy, or the prescription something is dispensed for."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, column, select, table

from clinic_mcp.core.identity import Caller, patient_entity
from clinic_mcp.core.policy import Entity, ref
from clinic_mcp.core.tool import Target
from clinic_mcp.pharmacy.arguments import Dispensing, OfMedication

# What the pharmacy may know of a prescription: whose it is, whether it is in force, and which items it has.
prescriptions = table(
    "prescriptions", column("id"), column("clinic_id"), column("patient_id"), column("status"), column("items")
)
_PRESCRIPTION = select(prescriptions).where(prescriptions.c.id == bindparam("prescription"))


def pharmacy(_connection: Connection, _arguments: OfMedication, clinic_id: str, _caller: Caller) -> Target:
    """This clinic's pharmacy: one resource, no patients."""
    return Target(Entity(("Pharmacy", clinic_id), {"clinic": ref(("Clinic", clinic_id))}))


def prescription(connection: Connection, arguments: Dispensing, clinic_id: str, _caller: Caller) -> Target:
    """The prescription something is dispensed for. One nobody knows looks like one that is not in force."""
    row = connection.execute(_PRESCRIPTION, {"prescription": arguments.prescription_id}).first()
    clinic = row.clinic_id if row else clinic_id
    patient = patient_entity(row.patient_id if row else "unknown", clinic=clinic)
    attrs = {
        "clinic": ref(("Clinic", clinic)),
        "patient": ref(patient.uid),
        "active": row is not None and row.status == "active",
    }
    entity = Entity(("Prescription", arguments.prescription_id), attrs)
    return Target(entity, patients=(row.patient_id,) if row else (), entities=(patient,), known=row is not None)
