"""Which tools the suite has: a server must know them to check the policies, without loading the other servers."""

from __future__ import annotations

TOOLS: dict[str, tuple[str, ...]] = {
    "patient-records": (
        "get_patient_record",
        "get_medical_history",
        "find_patients",
        "request_emergency_access",
    ),
    "knowledge-base": ("search_knowledge_base",),
    "pharmacy": ("check_pharmacy_inventory", "receive_stock", "dispense_medication"),
    "prescriptions": ("record_prescription",),
    "desk": (
        "list_my_consultations",
        "get_consultation",
        "sign_off_consultation",
        "override_guardrail",
        "assign_consultation",
    ),
}
"""Each server's tools by name; a test holds it to the servers."""

ALL_TOOLS = tuple(tool for tools in TOOLS.values() for tool in tools)
