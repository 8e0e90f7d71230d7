"""The pharmacy server: what is in stock, what arrives, what is handed out."""

from __future__ import annotations

from clinic_mcp.core.tool import ServerTools, Work
from clinic_mcp.pharmacy import entities, ledger, store
from clinic_mcp.pharmacy.arguments import Delivery, Dispensing, OfMedication
from clinic_mcp.pharmacy.ledger import Dispensed, Received
from clinic_mcp.pharmacy.models import stock_entries
from clinic_mcp.pharmacy.store import Stock

SERVER = ServerTools(
    "pharmacy",
    title="Pharmacy",
    instructions="Reads the pharmacy's stock. Check every medication here before prescribing it.",
    writes=[stock_entries],
)


@SERVER.tool(title="Check the pharmacy's stock", arguments=OfMedication, target=entities.pharmacy)
def check_pharmacy_inventory(work: Work, arguments: OfMedication) -> Stock:
    """Check whether a medication is in stock. Returns medication, generic_name, in_stock, quantity and unit; where
    nothing is left, alternatives that are in stock, each with medication, quantity and unit. Expired stock never
    counts. An alternative is a suggestion for the clinician, not an equivalent for every patient."""
    return store.stock_of(work.connection, arguments.medication_name, work.clinic_id)


@SERVER.tool(
    title="Receive stock", arguments=Delivery, target=entities.pharmacy, kept=["quantity", "expires"], writes=True
)
def receive_stock(work: Work, arguments: Delivery) -> Received:
    """Put a lot that arrived on the shelf: for pharmacists. The same lot with the same quantity again is the same
    delivery. Returns medication, lot, expires, received and quantity now in stock."""
    return ledger.receive(work, arguments)


@SERVER.tool(
    title="Dispense a medication",
    arguments=Dispensing,
    target=entities.prescription,
    kept=["prescription_id", "quantity"],
    writes=True,
)
def dispense_medication(work: Work, arguments: Dispensing) -> Dispensed:
    """Hand out a medication of an active prescription: for pharmacists. It is taken from the lots that expire first,
    never from expired ones, and once: the same again is the same dispensing. Returns medication, dispensed, lots (each
    lot and quantity) and quantity left in stock."""
    return ledger.dispense(work, arguments)
