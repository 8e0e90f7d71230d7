"""What the desk reads of consultations, and the two things it writes there."""

from __future__ import annotations

from typing import NotRequired

from sqlalchemy import bindparam, column, func, or_, select, table
from typing_extensions import TypedDict

from clinic_mcp.consultations import rows
from clinic_mcp.consultations import sign_off as signing
from clinic_mcp.core.clinic import Rule, consultations, guardrail_overrides, sign_offs
from clinic_mcp.core.errors import InvalidArguments
from clinic_mcp.core.tool import Work
from clinic_mcp.desk import entities
from clinic_mcp.desk.arguments import OfConsultation, Override

LIST_LIMIT = 50
"""Consultations one list holds, the oldest first."""

_items = table("inventory_items", column("id"), column("clinic_id"), column("medication"))


class Listed(TypedDict):
    """A consultation in a list. `opened_at` is ISO 8601 in UTC."""

    session_id: str
    patient_id: str
    status: str
    opened_at: str
    assigned_to_me: bool
    signed_off: bool


class Question(TypedDict):
    """A clinician's question to the patient, and the answer once there is one."""

    question: str
    answer: str | None


class Overridden(TypedDict):
    """A guardrail that was overridden for a medication."""

    guardrail: str
    medication: str
    reason_code: str
    by: str


class Consultation(TypedDict):
    """A consultation. Times are ISO 8601 in UTC."""

    session_id: str
    patient_id: str
    symptoms: str
    status: str
    open: bool
    opened_at: str
    closed_at: str | None
    assignee: str | None
    signed_off_by: str | None
    notes: NotRequired[str]
    clarifications: list[Question]
    overrides: list[Overridden]


_MINE = (
    select(consultations, sign_offs.c.id.label("sign_off_id"))
    .select_from(consultations.outerjoin(sign_offs, sign_offs.c.consultation_id == consultations.c.id))
    .where(
        consultations.c.clinic_id == bindparam("clinic"),
        consultations.c.open,
        or_(
            consultations.c.assignee_id == bindparam("me"),
            consultations.c.patient_id.in_(
                select(rows.care_team.c.patient_id).where(rows.care_team.c.clinician_id == bindparam("me"))
            ),
        ),
    )
    .order_by(consultations.c.opened_at, consultations.c.id)
    .limit(LIST_LIMIT)
)


def mine(work: Work) -> list[Listed]:
    """The open consultations that the caller is assigned to or whose patient they treat, and may read."""
    me = work.caller.principal.uid[1]
    found: list[Listed] = []
    for row in work.connection.execute(_MINE, {"clinic": work.clinic_id, "me": me}).all():
        arguments = OfConsultation.model_construct(session_id=row.id)
        target = entities.consultation(work.connection, arguments, work.clinic_id, work.caller)
        if not work.may("get_consultation", {"session_id": row.id}, target):
            continue
        work.disclosed.append(row.patient_id)
        found.append(
            {
                "session_id": row.id,
                "patient_id": row.patient_id,
                "status": row.status,
                "opened_at": row.opened_at,
                "assigned_to_me": row.assignee_id == me,
                "signed_off": row.sign_off_id is not None,
            }
        )
    return found


def show(work: Work, session_id: str) -> Consultation:
    """One consultation, whole."""
    row = rows.one(work.connection, work.clinic_id, session_id)
    view = rows.view(work.connection, work.clinic_id, session_id)
    signed = work.connection.execute(
        select(sign_offs.c.notes).where(sign_offs.c.consultation_id == session_id)
    ).scalar()
    set_aside = work.connection.execute(
        select(guardrail_overrides, _items.c.medication)
        .join(_items, _items.c.id == guardrail_overrides.c.item_id)
        .where(guardrail_overrides.c.consultation_id == session_id)
        .order_by(guardrail_overrides.c.signed_at)
    )
    shown: Consultation = {
        "session_id": view["session_id"],
        "patient_id": view["patient_id"],
        "symptoms": row.symptoms,
        "status": view["status"],
        "open": view["open"],
        "opened_at": view["opened_at"],
        "closed_at": view["closed_at"],
        "assignee": view["assignee"],
        "signed_off_by": view["signed_off_by"],
        "clarifications": view["clarifications"],
        "overrides": [
            {
                "guardrail": entry.rule,
                "medication": entry.medication,
                "reason_code": entry.reason_code,
                "by": entry.clinician_id,
            }
            for entry in set_aside
        ],
    }
    if signed is not None:
        shown["notes"] = signed
    return shown


def sign_off(work: Work, session_id: str, notes: str) -> signing.Signed:
    """Sign a consultation off in the caller's own name."""
    me = work.caller.principal.uid[1]
    signed = signing.sign(work.connection, work.clinic_id, me, session_id, notes, work.call_id)
    work.effect = {"table": "sign_offs", "row": signed.id, "kind": "insert" if signed.new else "repeat"}
    return signed


def override(work: Work, arguments: Override) -> signing.Signed:
    """Override a guardrail in the caller's own name.

    Raises:
        InvalidArguments: The formulary has no medication of that label.
    """
    wanted = "".join(arguments.medication.lower().split())
    items = work.connection.execute(
        select(_items.c.id).where(
            _items.c.clinic_id == work.clinic_id, func.replace(func.lower(_items.c.medication), " ", "") == wanted
        )
    ).all()
    if len(items) != 1:
        raise InvalidArguments(
            "The formulary has no such medication (medication).", "Give the label: name and strength."
        )
    me = work.caller.principal.uid[1]
    what = signing.Override(Rule(arguments.guardrail), items[0].id, arguments.reason_code, arguments.reason)
    signed = signing.override(work.connection, work.clinic_id, me, arguments.session_id, what, work.call_id)
    work.effect = {"table": "guardrail_overrides", "row": signed.id, "kind": "insert" if signed.new else "repeat"}
    return signed


def assign(work: Work, session_id: str, clinician_id: str) -> None:
    """Assign a physician."""
    rows.assign(work.connection, work.clinic_id, session_id, clinician_id, work.call_id)
    work.effect = {"table": "consultations", "row": session_id, "kind": "update", "about": clinician_id}
