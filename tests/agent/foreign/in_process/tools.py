"""The five tools as a proof of concept has them: plain functions over data in the same process."""

from agent_standins.mcp_servers import HISTORY, PATIENTS, STOCK
from langchain_core.tools import tool


@tool
def get_patient_record(patient_id: str) -> dict:
    """Get a patient's record."""
    return PATIENTS[patient_id]


@tool
def get_medical_history(patient_id: str) -> list:
    """Get a patient's history."""
    return HISTORY[patient_id]


@tool
def search_knowledge_base(query: str) -> list:
    """Search the articles."""
    return [{"topic": "Fever", "content": f"About {query}.", "category": "symptom"}]


@tool
def check_pharmacy_inventory(medication_name: str) -> dict:
    """Check the stock."""
    item = STOCK.get(medication_name.lower())
    if item is None:
        missing = {"medication": medication_name, "in_stock": False, "quantity": 0}
        return {**missing, "note": "Not found in pharmacy system."}
    return {**item, "in_stock": item["quantity"] != 0, "unit": "tablets"}


@tool
def record_prescription(session_id: str, prescription: str) -> str:
    """Record the prescription."""
    return f"Prescription recorded for session {session_id}."
