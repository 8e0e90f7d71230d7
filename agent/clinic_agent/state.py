"""What a consultation knows at every step; the checkpoint stores exactly this."""

from typing import Any, TypedDict


class ConsultationState(TypedDict, total=False):
    """One consultation, from the patient's words to the prescription."""

    session_id: str
    patient_id: str
    symptoms: str
    patient_history: dict[str, Any]

    intake_summary: str
    is_emergency: bool
    triage_score: int  # 1 routine, 2 minor, 3 moderate, 4 severe, 5 urgent but not an emergency
    triage_reason: str

    doctor_clarification_req: str
    patient_clarification_ans: str

    doctor_notes: str
    prescription: str

    status: str  # intake | emergency | awaiting_doctor | clarifying | prescribing | complete
    messages: list[dict[str, Any]]  # what the patient sees, and under "usage" what each agent spent
