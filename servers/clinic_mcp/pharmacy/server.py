"""The pharmacy server: what is in stock."""

from __future__ import annotations

from clinic_mcp.core.tool import ServerTools, Work
from clinic_mcp.pharmacy import entities, store
from clinic_mcp.pharmacy.arguments import OfMedication
from clinic_mcp.pharmacy.store import Stock

SERVER = ServerTools(
    "pharmacy",
    title="Pharmacy",
    instructions="Reads the pharmacy's stock. Check every medication here before prescribing it.",
)


@SERVER.tool(title="Check the pharmacy's stock", arguments=OfMedication, target=entities.pharmacy)
def check_pharmacy_inventory(work: Work, arguments: OfMedication) -> Stock:
    """Check whether a medication is in stock. Returns medication, generic_name, in_stock, quantity and unit; where
    nothing is left, alternatives that are in stock, each with medication, quantity and unit. Expired stock never
    counts. An alternative is a suggestion for the clinician, not an equivalent for every patient."""
    return store.stock_of(work.connection, arguments.medication_name, work.clinic_id)
