"""Break-glass: a physician's access to any patient of the clinic, with a reason, for an hour, and under review."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from sqlalchemy import bindparam, insert, select
from typing_extensions import TypedDict

from clinic_mcp.core.clinic import review_items, timestamp
from clinic_mcp.core.errors import Refused
from clinic_mcp.core.postgres import hold
from clinic_mcp.core.tool import Work
from clinic_mcp.patient_records.arguments import Emergency
from clinic_mcp.patient_records.models import emergency_access, patients

LASTS = timedelta(hours=1)
"""How long an emergency access lasts."""

_KNOWN = select(patients.c.id).where(patients.c.id == bindparam("patient"), patients.c.clinic_id == bindparam("clinic"))
_RUNNING = (
    select(emergency_access.c.expires_at, review_items.c.id)
    .join(review_items, review_items.c.row_id == emergency_access.c.id)
    .where(
        emergency_access.c.patient_id == bindparam("patient"),
        emergency_access.c.clinician_id == bindparam("clinician"),
        emergency_access.c.reason == bindparam("reason"),
        emergency_access.c.reason_code == bindparam("code"),
        emergency_access.c.expires_at > bindparam("now"),
    )
)


class Granted(TypedDict):
    """An emergency access: until when (ISO 8601, UTC), and the review item that was opened for it."""

    patient_id: str
    expires_at: str
    review_id: str


def grant(work: Work, arguments: Emergency) -> Granted:
    """Record an emergency access and the review it needs. The same request again, while it lasts, is the same access.

    Raises:
        Refused: The clinic has no such patient: somebody who may see any patient may know that.
    """
    person, patient = work.caller.principal.uid[1], arguments.patient_id
    if work.connection.execute(_KNOWN, {"patient": patient, "clinic": work.clinic_id}).first() is None:
        raise Refused("There is no such patient at this clinic.", code="not_found")
    hold(work.connection, f"emergency:{patient}:{person}")
    asked = {"patient": patient, "clinician": person, "reason": arguments.reason, "code": arguments.reason_code}
    running = work.connection.execute(_RUNNING, {**asked, "now": work.started}).first()
    if running is not None:
        work.effect = {"table": "emergency_access", "row": running.id, "kind": "repeat"}
        return {"patient_id": patient, "expires_at": running.expires_at, "review_id": running.id}
    access_id, review_id = f"E-{secrets.token_hex(8)}", f"V-{secrets.token_hex(8)}"
    expires = timestamp(datetime.fromisoformat(work.started) + LASTS)
    common = {"clinic_id": work.clinic_id, "patient_id": patient, "call_id": work.call_id}
    work.connection.execute(
        insert(emergency_access),
        {
            "id": access_id,
            "clinician_id": person,
            "reason_code": arguments.reason_code,
            "reason": arguments.reason,
            "granted_at": work.started,
            "expires_at": expires,
            **common,
        },
    )
    opened = {"id": review_id, "kind": "break-glass", "row_id": access_id, "person_id": person}
    work.connection.execute(insert(review_items), {**opened, "opened_at": work.started, **common})
    work.effect = {"table": "emergency_access", "row": access_id, "kind": "insert"}
    return {"patient_id": patient, "expires_at": expires, "review_id": review_id}
