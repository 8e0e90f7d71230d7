"""The prescriptions server: records what a clinician signed off."""

from __future__ import annotations

from clinic_mcp.core.tool import ServerTools, Work
from clinic_mcp.prescriptions import entities, store
from clinic_mcp.prescriptions.arguments import Record
from clinic_mcp.prescriptions.models import prescriptions

SERVER = ServerTools(
    "prescriptions",
    title="Prescriptions",
    instructions="Records the prescription of a consultation that a clinician has signed off, once.",
    writes=[prescriptions],
)


@SERVER.tool(
    title="Record the prescription", arguments=Record, target=entities.consultation, kept=["session_id"], writes=True
)
def record_prescription(work: Work, arguments: Record) -> str:
    """Record the final prescription for a consultation, one medication a line. Works once per sign-off: a repeat with
    the same text answers the same. Returns one sentence: that it is recorded, or that it is kept as a draft a
    clinician must sign, and why."""
    return store.record(work, arguments.session_id, arguments.prescription)
