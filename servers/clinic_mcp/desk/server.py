"""The desk: consultations as the people who decide in them see them, in Claude Desktop, Copilot or any MCP client."""

from __future__ import annotations

from clinic_mcp.core.clinic import consultations, guardrail_overrides, review_items, sign_offs
from clinic_mcp.core.tool import ServerTools, Work
from clinic_mcp.desk import entities, store
from clinic_mcp.desk.arguments import Assignment, Nothing, OfConsultation, Override, SignOff
from clinic_mcp.desk.store import Consultation, Listed

SERVER = ServerTools(
    "desk",
    title="Desk",
    instructions="For clinicians with their own token: see the consultations that wait for you, and sign them off.",
    writes=[sign_offs, guardrail_overrides, review_items, consultations],
)


@SERVER.tool(title="My consultations", arguments=Nothing, target=entities.desk, bulk=True)
def list_my_consultations(work: Work, arguments: Nothing) -> list[Listed]:
    """List the open consultations that are assigned to you or about a patient you treat, the oldest first, at most 50:
    session_id, patient_id, status, opened_at (ISO 8601), assigned_to_me and signed_off."""
    return store.mine(work)


@SERVER.tool(title="Consultation", arguments=OfConsultation, target=entities.consultation, kept=["session_id"])
def get_consultation(work: Work, arguments: OfConsultation) -> Consultation:
    """Show one consultation: symptoms, status, questions asked and their answers, who is assigned, who signed it off
    with which notes, and which prescribing guardrails were overridden. Times are ISO 8601."""
    return store.show(work, arguments.session_id)


@SERVER.tool(
    title="Sign off a consultation",
    arguments=SignOff,
    target=entities.consultation,
    kept=["session_id"],
    writes=True,
)
def sign_off_consultation(work: Work, arguments: SignOff) -> str:
    """Sign off a consultation in your own name: what the notes say, medication, dose and duration, may then be
    prescribed, once. The same notes again change nothing. Returns one sentence."""
    signed = store.sign_off(work, arguments.session_id, arguments.notes)
    return f"Consultation {arguments.session_id} is signed off ({signed.id})."


@SERVER.tool(
    title="Override a prescribing guardrail",
    arguments=Override,
    target=entities.consultation,
    kept=["session_id", "guardrail", "reason_code"],
    writes=True,
)
def override_guardrail(work: Work, arguments: Override) -> str:
    """Set one prescribing guardrail (allergy, interaction, duplicate, never_asked) aside for one medication in one
    consultation, in your own name and for a reason. It is recorded and reviewed. Returns one sentence."""
    signed = store.override(work, arguments)
    return (
        f"The guardrail is overridden for this medication in {arguments.session_id} ({signed.id}); it will be reviewed."
    )


@SERVER.tool(
    title="Assign a consultation",
    arguments=Assignment,
    target=entities.consultation,
    kept=["session_id"],
    writes=True,
)
def assign_consultation(work: Work, arguments: Assignment) -> str:
    """Assign a physician to an open consultation: for administrators. Returns one sentence."""
    store.assign(work, arguments.session_id, arguments.clinician_id)
    return f"Consultation {arguments.session_id} is assigned to {arguments.clinician_id}."
