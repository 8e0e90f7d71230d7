"""Arguments of a pharmacy tool → the Cedar pharmacy."""

from __future__ import annotations

from sqlalchemy import Connection

from clinic_mcp.core.policy import Entity, ref
from clinic_mcp.core.tool import Target
from clinic_mcp.pharmacy.arguments import OfMedication


def pharmacy(_connection: Connection, _arguments: OfMedication, clinic_id: str) -> Target:
    """This clinic's pharmacy: one resource, no patients."""
    return Target(Entity(("Pharmacy", clinic_id), {"clinic": ref(("Clinic", clinic_id))}))
