"""Records a prescription exactly once per sign-off, and has a draft signed by the physician who records the same."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from clinic_mcp.core.clinic import consultations, now, sign_offs
from clinic_mcp.core.errors import Conflict
from clinic_mcp.core.postgres import hold
from clinic_mcp.core.tool import Work
from clinic_mcp.prescriptions import checks, reads
from clinic_mcp.prescriptions.checks import interacting
from clinic_mcp.prescriptions.models import prescriptions
from clinic_mcp.prescriptions.review import Review, review

_SIGN_OFF = (
    select(sign_offs.c.id, sign_offs.c.notes, consultations.c.patient_id)
    .join(consultations, consultations.c.id == sign_offs.c.consultation_id)
    .where(sign_offs.c.consultation_id == bindparam("consultation"), consultations.c.open)
)
_RECORDED = select(
    prescriptions.c.id, prescriptions.c.text_sha256, prescriptions.c.result, prescriptions.c.status
).where(prescriptions.c.sign_off_id == bindparam("sign_off"))


def record(work: Work, session_id: str, text: str) -> str:
    """Record the prescription that a sign-off allows, or answer again what the first call answered.

    An agent's is active when it says what was signed. A physician's is active: recording it in person is signing
    exactly this; recording what is kept as a draft signs that draft.

    Args:
        work: The call's transaction; its rows and its audit outcome commit together.
        session_id: The consultation.
        text: The prescription.

    Raises:
        Conflict: The sign-off already has another prescription, there is no sign-off in an open consultation, or what
            is recorded of the patient has changed since the policies were asked.
    """
    hold(work.connection, f"consultation:{session_id}")
    signed = work.connection.execute(_SIGN_OFF, {"consultation": session_id}).first()
    if signed is None:
        # The policies refuse this first; it happens when the consultation was closed a moment ago.
        raise Conflict("The consultation is not open, or no clinician has signed it off.")
    digest = hashlib.sha256(text.encode()).hexdigest()
    signer = _signer(work)
    earlier = work.connection.execute(_RECORDED, {"sign_off": signed.id}).first()
    if earlier is not None:
        if earlier.text_sha256 != digest:
            raise Conflict(
                "This sign-off already has a prescription with other content.",
                "A clinician must sign off a new consultation to change it.",
            )
        if earlier.status == "draft" and signer is not None:
            return _sign_draft(work, earlier.id, session_id, signer)
        work.effect = {"table": "prescriptions", "row": earlier.id, "kind": "repeat"}
        return str(earlier.result)
    # Two prescriptions for one patient at once would each be checked without the other.
    hold(work.connection, f"patient:{signed.patient_id}")
    about = reads.patient(work.connection, signed.patient_id, work.clinic_id)
    facts = checks.facts(work.connection, text, about, session_id, work.clinic_id)
    if facts != work.facts:
        raise Conflict("What is recorded of the patient has changed a moment ago.", "Try again.")
    checked = _review(work.connection, session_id, text, signed.notes, about, facts, work.clinic_id)
    return _insert(work, session_id, signed, text, digest, checked, signer)


def _signer(work: Work) -> str | None:
    """The clinician who records it in person, or none for an agent."""
    kind, name = work.caller.principal.uid
    return name if kind == "Clinician" else None


def _review(
    connection: Connection,
    session_id: str,
    text: str,
    notes: str,
    about: reads.About,
    facts: dict[str, Any],
    clinic_id: str,
) -> Review:
    overridden = {rule: frozenset(items) for rule, items in facts["overridden"].items()}
    formulary = reads.formulary(connection, clinic_id)
    checked = review(text, notes, formulary, about.allergy_classes, about.allergy_status, overridden)
    # A contraindicated pair is the policies' to refuse; a milder one needs the clinician's eye.
    milder = [rule for rule in reads.interactions(connection, clinic_id) if rule.severity in ("avoid", "precaution")]
    taken = [one.names for one in reads.therapies(connection, about.patient_id, session_id, clinic_id)]
    for item in checked.items:
        others = [*taken, *(other.groups for other in checked.items if other != item)]
        for rule in interacting(item, others, milder):
            checked.find("interaction", "check", f"{item.label}: {rule.sentence}")
    return checked


def _sign_draft(work: Work, prescription_id: str, session_id: str, signer: str) -> str:
    result = f"Prescription {prescription_id} for session {session_id} signed by {signer}: it is active."
    work.connection.execute(
        update(prescriptions)
        .where(prescriptions.c.id == prescription_id, prescriptions.c.status == "draft")
        .values(status="active", intent="order", signed_by=signer, result=result, call_id=work.call_id)
    )
    work.effect = {"table": "prescriptions", "row": prescription_id, "kind": "sign"}
    return result


def _insert(
    work: Work, session_id: str, signed: Any, text: str, digest: str, checked: Review, signer: str | None
) -> str:
    prescription_id = f"RX-{secrets.token_hex(6)}"
    active = checked.active or signer is not None
    result = f"Prescription {prescription_id} recorded for session {session_id}."
    if not active:
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
            "sign_off_id": signed.id,
            "patient_id": signed.patient_id,
            "text": text,
            "text_sha256": digest,
            "status": "active" if active else "draft",
            "intent": "order" if active else "proposal",
            "items": " ".join(sorted({item.id for item in checked.items})),
            "signed_by": signer,
            "findings": json.dumps([finding.as_json() for finding in checked.findings]),
            "result": result,
            "recorded": now(),
            "call_id": work.call_id,
        },
    )
    work.effect = {"table": "prescriptions", "row": prescription_id, "kind": "insert"}
    return result
