"""A physician's signature under a consultation, and under the override of a guardrail in it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from clinic_mcp.consultations import rows
from clinic_mcp.core.clinic import Rule, Status, guardrail_overrides, now, review_items, sign_offs
from clinic_mcp.core.errors import Conflict


@dataclass(frozen=True)
class Signed:
    """What was signed: its id, whose consultation, and whether this call signed it or an earlier one."""

    id: str
    patient_id: str
    new: bool


def sign(
    connection: Connection, clinic_id: str, clinician_id: str, session_id: str, notes: str, call_id: str
) -> Signed:
    """Sign a consultation off: what the notes say may be prescribed, once.

    Args:
        connection: An open write transaction.
        clinic_id: The clinic.
        clinician_id: The physician.
        session_id: The consultation.
        notes: What was decided.
        call_id: The call or change that the row belongs to.

    Raises:
        Refused: No such consultation or physician, or the physician does not treat this patient.
        Conflict: The consultation is closed, or was signed off with other notes or by somebody else.
        InvalidArguments: The notes are empty or too long.
    """
    rows.check_text("notes", notes)
    row = rows.opened(connection, clinic_id, session_id)
    rows.check_treats(connection, clinic_id, clinician_id, row)
    earlier = connection.execute(select(sign_offs).where(sign_offs.c.consultation_id == session_id)).first()
    if earlier is not None:
        if (earlier.clinician_id, earlier.notes) != (clinician_id, notes):
            raise Conflict("The consultation is signed off already.", "Open a new consultation for another decision.")
        return Signed(earlier.id, row.patient_id, new=False)
    rows.check_move(row.status, Status.PRESCRIBING)
    sign_off_id = f"S-{secrets.token_hex(8)}"
    connection.execute(
        insert(sign_offs),
        {
            "id": sign_off_id,
            "clinic_id": clinic_id,
            "consultation_id": session_id,
            "clinician_id": clinician_id,
            "notes": notes,
            "signed_at": now(),
            "call_id": call_id,
        },
    )
    rows.change(connection, session_id, status=Status.PRESCRIBING)
    return Signed(sign_off_id, row.patient_id, new=True)


@dataclass(frozen=True)
class Override:
    """Which guardrail a physician sets aside, for which medication, and why."""

    rule: Rule
    item_id: str
    reason_code: str
    reason: str


def override(
    connection: Connection, clinic_id: str, clinician_id: str, session_id: str, what: Override, call_id: str
) -> Signed:
    """Set a prescribing guardrail aside for one medication in one consultation, and have it reviewed.

    Args:
        connection: An open write transaction.
        clinic_id: The clinic.
        clinician_id: The physician.
        session_id: The consultation.
        what: The guardrail, the formulary item, the coded reason and the reason in words.
        call_id: The call that the rows belong to.

    Raises:
        Refused: No such consultation or physician, or the physician does not treat this patient.
        Conflict: The consultation is closed, or the guardrail was overridden there for another reason.
        InvalidArguments: The reason is empty or too long.
    """
    rows.check_text("reason", what.reason)
    row = rows.opened(connection, clinic_id, session_id)
    rows.check_treats(connection, clinic_id, clinician_id, row)
    earlier = connection.execute(
        select(guardrail_overrides).where(
            guardrail_overrides.c.consultation_id == session_id,
            guardrail_overrides.c.rule == what.rule,
            guardrail_overrides.c.item_id == what.item_id,
        )
    ).first()
    if earlier is not None:
        said = (earlier.clinician_id, earlier.reason_code, earlier.reason)
        if said != (clinician_id, what.reason_code, what.reason):
            raise Conflict("This guardrail is overridden for this medication already, for another reason.")
        return Signed(earlier.id, row.patient_id, new=False)
    override_id, moment = f"O-{secrets.token_hex(8)}", now()
    common = {"clinic_id": clinic_id, "call_id": call_id}
    connection.execute(
        insert(guardrail_overrides),
        {
            "id": override_id,
            "consultation_id": session_id,
            "rule": what.rule,
            "item_id": what.item_id,
            "clinician_id": clinician_id,
            "reason_code": what.reason_code,
            "reason": what.reason,
            "signed_at": moment,
            **common,
        },
    )
    connection.execute(
        insert(review_items),
        {
            "id": f"V-{secrets.token_hex(8)}",
            "kind": "override",
            "row_id": override_id,
            "person_id": clinician_id,
            "patient_id": row.patient_id,
            "opened_at": moment,
            **common,
        },
    )
    return Signed(override_id, row.patient_id, new=True)
