"""A consultation's rows, and the checks before one changes. Each function works in its caller's transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, column, select, table, update

from clinic_mcp.core.clinic import Status, clarifications, consultations, people, sign_offs
from clinic_mcp.core.errors import Conflict, InvalidArguments, Refused
from clinic_mcp.core.postgres import hold

AGENTS = ("intake_agent", "prescription_agent")
"""The agents that take part in a consultation opened here."""
MAX_TEXT = 4_000
"""Characters a text of a consultation may have."""

MOVES: dict[Status, frozenset[Status]] = {
    Status.INTAKE: frozenset({Status.AWAITING_DOCTOR, Status.EMERGENCY, Status.PRESCRIBING}),
    Status.AWAITING_DOCTOR: frozenset({Status.CLARIFYING, Status.PRESCRIBING, Status.EMERGENCY}),
    Status.CLARIFYING: frozenset({Status.AWAITING_DOCTOR, Status.PRESCRIBING, Status.EMERGENCY}),
    Status.PRESCRIBING: frozenset({Status.COMPLETE}),
    Status.COMPLETE: frozenset(),
    Status.EMERGENCY: frozenset(),
}
"""Which state may follow which."""

# The only thing consultations know of a patient: that there is one, at this clinic, and who treats them.
patients = table("patients", column("id"), column("clinic_id"), column("sensitivity"))
care_team = table("care_team", column("patient_id"), column("clinician_id"))


def one(connection: Connection, clinic_id: str, session_id: str) -> Any:
    """A consultation's row.

    Raises:
        Refused: There is none of that id at this clinic.
    """
    if "\x00" in session_id:  # PostgreSQL takes no NUL, not even to look for one
        raise Refused("There is no such consultation at this clinic.", code="not_found")
    row = connection.execute(
        select(consultations).where(consultations.c.id == session_id, consultations.c.clinic_id == clinic_id)
    ).first()
    if row is None:
        raise Refused("There is no such consultation at this clinic.", code="not_found")
    return row


def opened(connection: Connection, clinic_id: str, session_id: str) -> Any:
    """The row of a consultation that is open; nobody else changes it until the transaction ends.

    Raises:
        Refused: There is none of that id at this clinic.
        Conflict: It is closed.
    """
    hold(connection, f"consultation:{session_id}")
    row = one(connection, clinic_id, session_id)
    if not row.open:
        raise Conflict("The consultation is closed.", "Open a new one to go on.")
    return row


def check_physician(connection: Connection, clinic_id: str, clinician_id: str) -> None:
    """Raises:
    Refused: The person is no active physician of this clinic.
    """
    row = connection.execute(
        select(people.c.id).where(
            people.c.id == clinician_id,
            people.c.clinic_id == clinic_id,
            people.c.kind == "Clinician",
            people.c.role == "physician",
            people.c.active,
        )
    ).first()
    if row is None:
        raise Refused("Only an active physician of this clinic may do this.")


def check_treats(connection: Connection, clinic_id: str, clinician_id: str, row: Any) -> None:
    """Raises:
    Refused: The person is no active physician here, or neither on the patient's care team nor assigned.
    """
    check_physician(connection, clinic_id, clinician_id)
    if row.assignee_id != clinician_id and clinician_id not in team_of(connection, row.patient_id):
        raise Refused("This physician is neither on the patient's care team nor assigned to the consultation.")


def team_of(connection: Connection, patient_id: str) -> list[str]:
    """The ids of the clinicians who treat a patient."""
    return list(
        connection.execute(select(care_team.c.clinician_id).where(care_team.c.patient_id == patient_id)).scalars()
    )


def assign(connection: Connection, clinic_id: str, session_id: str, clinician_id: str, call_id: str) -> None:
    """Assign a physician to an open consultation.

    Raises:
        Refused: No such consultation or physician.
        Conflict: It is closed.
    """
    opened(connection, clinic_id, session_id)
    check_physician(connection, clinic_id, clinician_id)
    change(connection, session_id, assignee_id=clinician_id, call_id=call_id)


def change(connection: Connection, session_id: str, **values: object) -> None:
    """Change a consultation's columns."""
    connection.execute(update(consultations).where(consultations.c.id == session_id).values(**values))


def view(connection: Connection, clinic_id: str, session_id: str) -> dict[str, Any]:
    """A consultation as its participants see it.

    Raises:
        Refused: There is none of that id at this clinic.
    """
    row = one(connection, clinic_id, session_id)
    signed = connection.execute(
        select(sign_offs.c.clinician_id).where(sign_offs.c.consultation_id == session_id)
    ).scalar()
    asked = connection.execute(
        select(clarifications.c.question, clarifications.c.answer)
        .where(clarifications.c.consultation_id == session_id)
        .order_by(clarifications.c.asked_at)
    )
    return {
        "session_id": row.id,
        "patient_id": row.patient_id,
        "status": row.status,
        "open": bool(row.open),
        "opened_at": row.opened_at,
        "closed_at": row.closed_at,
        "assignee": row.assignee_id,
        "signed_off_by": signed,
        "clarifications": [{"question": entry.question, "answer": entry.answer} for entry in asked],
    }


def check_move(present: str, wanted: Status) -> None:
    """Raises:
    Conflict: That state cannot follow the present one.
    """
    if wanted not in MOVES[Status(present)]:
        raise Conflict(f"A consultation that is {present} cannot become {wanted}.", code="illegal_transition")


def check_text(name: str, value: str) -> None:
    """Raises:
    InvalidArguments: The value is no text that can be kept: empty, too long, not Unicode, or with a NUL.
    """
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT:
        raise InvalidArguments(f"The {name} must be a text of 1 to {MAX_TEXT} characters.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise InvalidArguments(f"The {name} must be valid Unicode text.") from exc
    if "\x00" in value:
        raise InvalidArguments(f"The {name} must not hold a NUL character.")
