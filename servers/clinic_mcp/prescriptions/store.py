"""Records a prescription exactly once per sign-off."""

from __future__ import annotations

import hashlib
import json
import secrets

from sqlalchemy import Connection, bindparam, insert, select

from clinic_mcp.core.clinic import consultations, now, sign_offs
from clinic_mcp.core.errors import Conflict
from clinic_mcp.core.tool import Work
from clinic_mcp.prescriptions import reads
from clinic_mcp.prescriptions.models import prescriptions
from clinic_mcp.prescriptions.review import Review, review

_SIGN_OFF = (
    select(sign_offs.c.id, sign_offs.c.notes, consultations.c.patient_id)
    .join(consultations, consultations.c.id == sign_offs.c.consultation_id)
    .where(sign_offs.c.consultation_id == bindparam("consultation"), consultations.c.open)
)
_RECORDED = select(prescriptions.c.id, prescriptions.c.text_sha256, prescriptions.c.result).where(
    prescriptions.c.sign_off_id == bindparam("sign_off")
)


def record(work: Work, session_id: str, text: str) -> str:
    """Record the prescription that a sign-off allows, or answer again what the first call answered.

    Args:
        work: The call's transaction; its rows and its audit outcome commit together.
        session_id: The consultation.
        text: The prescription.

    Raises:
        Conflict: The sign-off already has another prescription, or there is no sign-off in an open consultation.
    """
    signed = work.connection.execute(_SIGN_OFF, {"consultation": session_id}).first()
    if signed is None:
        # The policies refuse this first; it happens when the consultation was closed a moment ago.
        raise Conflict("The consultation is not open, or no clinician has signed it off.")
    digest = hashlib.sha256(text.encode()).hexdigest()
    earlier = work.connection.execute(_RECORDED, {"sign_off": signed.id}).first()
    if earlier is not None:
        if earlier.text_sha256 != digest:
            raise Conflict(
                "This sign-off already has a prescription with other content.",
                "A clinician must sign off a new consultation to change it.",
            )
        work.effect = {"table": "prescriptions", "row": earlier.id, "kind": "repeat"}
        return str(earlier.result)
    checked = _review(work.connection, text, signed.notes, signed.patient_id, work.clinic_id)
    return _insert(work, session_id, signed.id, signed.patient_id, text, digest, checked)


def _review(connection: Connection, text: str, notes: str, patient_id: str, clinic_id: str) -> Review:
    status, classes = reads.allergies_of(connection, patient_id, clinic_id)
    return review(text, notes, reads.formulary(connection, clinic_id), classes, status)


def _insert(
    work: Work, session_id: str, sign_off_id: str, patient_id: str, text: str, digest: str, checked: Review
) -> str:
    prescription_id = f"RX-{secrets.token_hex(6)}"
    result = f"Prescription {prescription_id} recorded for session {session_id}."
    if not checked.active:
        reasons = " ".join(finding.sentence for finding in checked.findings)
        result = (
            f"Prescription {prescription_id} kept as a draft for session {session_id}: a clinician must sign"
            f" exactly this before it is active. {reasons}"
        )
    work.connection.execute(
        insert(prescriptions),
        {
            "id": prescription_id,
            "clinic_id": work.clinic_id,
            "consultation_id": session_id,
            "sign_off_id": sign_off_id,
            "patient_id": patient_id,
            "text": text,
            "text_sha256": digest,
            "status": "active" if checked.active else "draft",
            "intent": "order" if checked.active else "proposal",
            "findings": json.dumps([finding.as_json() for finding in checked.findings]),
            "result": result,
            "recorded": now(),
            "call_id": work.call_id,
        },
    )
    work.effect = {"table": "prescriptions", "row": prescription_id, "kind": "insert"}
    return result
