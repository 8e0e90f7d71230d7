"""Consultations and their states: who is consulting about whom, and who signed off.

intake → awaiting_doctor ⇄ clarifying → prescribing → complete, or emergency. A clinician may sign off as soon as a
consultation is open. Every change is on the audit log in the transaction that makes it.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, column, insert, select, table, update

from clinic_mcp.audit.event import Draft, Phase, uuid7
from clinic_mcp.audit.log import AuditLog, Transaction
from clinic_mcp.core.clinic import Status, clarifications, consultations, now, people, sign_offs
from clinic_mcp.core.errors import Conflict, InvalidArguments, Refused

AGENTS = ("intake_agent", "prescription_agent")
"""The agents that take part in a consultation opened here."""
MAX_TEXT = 4_000

MOVES: dict[Status, frozenset[Status]] = {
    Status.INTAKE: frozenset({Status.AWAITING_DOCTOR, Status.EMERGENCY, Status.PRESCRIBING}),
    Status.AWAITING_DOCTOR: frozenset({Status.CLARIFYING, Status.PRESCRIBING, Status.EMERGENCY}),
    Status.CLARIFYING: frozenset({Status.AWAITING_DOCTOR, Status.PRESCRIBING, Status.EMERGENCY}),
    Status.PRESCRIBING: frozenset({Status.COMPLETE}),
    Status.COMPLETE: frozenset(),
    Status.EMERGENCY: frozenset(),
}
"""Which state may follow which."""

# The only thing this service knows of a patient: that there is one, at this clinic, and who treats them.
_patients = table("patients", column("id"), column("clinic_id"))
_care_team = table("care_team", column("patient_id"), column("clinician_id"))


@dataclass(frozen=True)
class Actor:
    """Who changes a consultation, for the audit log: a person, a client, or the operator at the CLI."""

    type: str
    id: str


class Consultations:
    """The consultations of one clinic.

    Args:
        log: The audit log; its transactions carry the changes.
        clinic_id: The clinic.
    """

    def __init__(self, log: AuditLog, clinic_id: str) -> None:
        self.log = log
        self.clinic_id = clinic_id

    def open(self, actor: Actor, patient_id: str, symptoms: str) -> dict[str, Any]:
        """Open a consultation about a patient.

        Raises:
            InvalidArguments: The symptoms are empty or too long.
            Refused: There is no such patient at this clinic.
        """
        _check_text("symptoms", symptoms)
        with self.log.transaction() as transaction:
            known = transaction.connection.execute(
                select(_patients.c.id).where(_patients.c.id == patient_id, _patients.c.clinic_id == self.clinic_id)
            ).first()
            if known is None:
                raise Refused("There is no such patient at this clinic.")
            session_id = f"C-{secrets.token_hex(8)}"
            call_id = uuid7()
            transaction.connection.execute(
                insert(consultations),
                {
                    "id": session_id,
                    "clinic_id": self.clinic_id,
                    "patient_id": patient_id,
                    "symptoms": symptoms,
                    "status": Status.INTAKE,
                    "open": True,
                    "agent_ids": " ".join(AGENTS),
                    "opened_at": now(),
                    "call_id": call_id,
                },
            )
            self._record(transaction, call_id, "consultation.opened", actor, session_id, patient_id)
            return self._view(transaction.connection, session_id)

    def show(self, connection: Connection, session_id: str) -> dict[str, Any]:
        """A consultation as its participants see it.

        Raises:
            Refused: There is none of that id at this clinic.
        """
        self._row(connection, session_id)
        return self._view(connection, session_id)

    def assign(self, actor: Actor, session_id: str, clinician_id: str) -> dict[str, Any]:
        """Assign a physician to an open consultation.

        Raises:
            Refused: No such consultation or physician.
            Conflict: It is closed.
        """
        with self.log.transaction() as transaction:
            row = self._open_row(transaction.connection, session_id)
            self._physician(transaction.connection, clinician_id)
            call_id = uuid7()
            self._update(transaction.connection, session_id, assignee_id=clinician_id)
            self._record(
                transaction, call_id, "consultation.assigned", actor, session_id, row.patient_id, person=clinician_id
            )
            return self._view(transaction.connection, session_id)

    def move(self, actor: Actor, session_id: str, status: Status) -> dict[str, Any]:
        """Move a consultation to another state.

        Raises:
            Refused: No such consultation.
            Conflict: It is closed, or that state cannot follow the present one.
        """
        with self.log.transaction() as transaction:
            row = self._open_row(transaction.connection, session_id)
            if row.status != status:  # a repeat changes nothing
                _check_move(row.status, status)
                self._update(transaction.connection, session_id, status=status)
                self._record(transaction, uuid7(), f"consultation.{status}", actor, session_id, row.patient_id)
            return self._view(transaction.connection, session_id)

    def ask(self, clinician_id: str, session_id: str, question: str) -> dict[str, Any]:
        """A clinician asks the patient something.

        Raises:
            Refused: No such consultation, or the clinician does not treat this patient.
            Conflict: The consultation is closed or not waiting for the doctor.
            InvalidArguments: The question is empty or too long.
        """
        _check_text("question", question)
        with self.log.transaction() as transaction:
            row = self._open_row(transaction.connection, session_id)
            self._treats(transaction.connection, clinician_id, row)
            _check_move(row.status, Status.CLARIFYING)
            call_id = uuid7()
            transaction.connection.execute(
                insert(clarifications),
                {
                    "id": f"Q-{secrets.token_hex(6)}",
                    "clinic_id": self.clinic_id,
                    "consultation_id": session_id,
                    "clinician_id": clinician_id,
                    "question": question,
                    "asked_at": now(),
                    "call_id": call_id,
                },
            )
            self._update(transaction.connection, session_id, status=Status.CLARIFYING)
            actor = Actor("Clinician", clinician_id)
            self._record(transaction, call_id, "consultation.clarifying", actor, session_id, row.patient_id)
            return self._view(transaction.connection, session_id)

    def answer(self, actor: Actor, session_id: str, answer: str) -> dict[str, Any]:
        """The patient's answer to the open question; the consultation waits for the doctor again.

        Raises:
            Refused: No such consultation.
            Conflict: It is closed, or no question is open.
            InvalidArguments: The answer is empty or too long.
        """
        _check_text("answer", answer)
        with self.log.transaction() as transaction:
            row = self._open_row(transaction.connection, session_id)
            changed = transaction.connection.execute(
                update(clarifications)
                .where(clarifications.c.consultation_id == session_id, clarifications.c.answer.is_(None))
                .values(answer=answer, answered_at=now())
            ).rowcount
            if not changed:
                raise Conflict("No question is open in this consultation.")
            self._update(transaction.connection, session_id, status=Status.AWAITING_DOCTOR)
            self._record(transaction, uuid7(), "consultation.answered", actor, session_id, row.patient_id)
            return self._view(transaction.connection, session_id)

    def sign_off(
        self, clinician_id: str, session_id: str, notes: str, *, recorded_by: Actor | None = None
    ) -> tuple[dict[str, Any], bool]:
        """A physician signs off a consultation: what the notes say may be prescribed, once.

        Args:
            clinician_id: The physician.
            session_id: The consultation.
            notes: What was decided.
            recorded_by: Who entered it, when not the physician with their own token.

        Returns:
            The sign-off, and whether it is new; the same notes by the same physician again are the same sign-off.

        Raises:
            Refused: No such consultation or physician, or the physician does not treat this patient.
            Conflict: The consultation is closed, or was signed off with other notes or by somebody else.
            InvalidArguments: The notes are empty or too long.
        """
        _check_text("notes", notes)
        with self.log.transaction() as transaction:
            row = self._open_row(transaction.connection, session_id)
            self._treats(transaction.connection, clinician_id, row)
            earlier = transaction.connection.execute(
                select(sign_offs).where(sign_offs.c.consultation_id == session_id)
            ).first()
            if earlier is not None:
                if (earlier.clinician_id, earlier.notes) != (clinician_id, notes):
                    raise Conflict(
                        "The consultation is signed off already.", "Open a new consultation for another decision."
                    )
                return {"sign_off_id": earlier.id, **self._view(transaction.connection, session_id)}, False
            _check_move(row.status, Status.PRESCRIBING)
            sign_off_id, call_id = f"S-{secrets.token_hex(8)}", uuid7()
            transaction.connection.execute(
                insert(sign_offs),
                {
                    "id": sign_off_id,
                    "clinic_id": self.clinic_id,
                    "consultation_id": session_id,
                    "clinician_id": clinician_id,
                    "notes": notes,
                    "signed_at": now(),
                    "call_id": call_id,
                },
            )
            self._update(transaction.connection, session_id, status=Status.PRESCRIBING)
            self._record(
                transaction,
                call_id,
                "consultation.signed_off",
                recorded_by or Actor("Clinician", clinician_id),
                session_id,
                row.patient_id,
                person=clinician_id,
                row_id=sign_off_id,
            )
            return {"sign_off_id": sign_off_id, **self._view(transaction.connection, session_id)}, True

    def close(self, actor: Actor, session_id: str) -> dict[str, Any]:
        """Close a consultation: its grants end with the next call. Closing twice changes nothing.

        Raises:
            Refused: No such consultation.
        """
        with self.log.transaction() as transaction:
            row = self._row(transaction.connection, session_id)
            if row.open:
                status = Status.EMERGENCY if row.status == Status.EMERGENCY else Status.COMPLETE
                self._update(transaction.connection, session_id, status=status, open=False, closed_at=now())
                self._record(transaction, uuid7(), "consultation.closed", actor, session_id, row.patient_id)
            return self._view(transaction.connection, session_id)

    def _row(self, connection: Connection, session_id: str) -> Any:
        row = connection.execute(
            select(consultations).where(consultations.c.id == session_id, consultations.c.clinic_id == self.clinic_id)
        ).first()
        if row is None:
            raise Refused("There is no such consultation at this clinic.", code="not_found")
        return row

    def _open_row(self, connection: Connection, session_id: str) -> Any:
        row = self._row(connection, session_id)
        if not row.open:
            raise Conflict("The consultation is closed.", "Open a new one to go on.")
        return row

    def _physician(self, connection: Connection, clinician_id: str) -> None:
        row = connection.execute(
            select(people.c.id).where(
                people.c.id == clinician_id,
                people.c.clinic_id == self.clinic_id,
                people.c.kind == "Clinician",
                people.c.role == "physician",
                people.c.active,
            )
        ).first()
        if row is None:
            raise Refused("Only an active physician of this clinic may do this.")

    def _treats(self, connection: Connection, clinician_id: str, row: Any) -> None:
        self._physician(connection, clinician_id)
        if row.assignee_id == clinician_id:
            return
        member = connection.execute(
            select(_care_team.c.clinician_id).where(
                _care_team.c.patient_id == row.patient_id, _care_team.c.clinician_id == clinician_id
            )
        ).first()
        if member is None:
            raise Refused("This physician is neither on the patient's care team nor assigned to the consultation.")

    def _update(self, connection: Connection, session_id: str, **values: object) -> None:
        connection.execute(update(consultations).where(consultations.c.id == session_id).values(**values))

    def _view(self, connection: Connection, session_id: str) -> dict[str, Any]:
        row = self._row(connection, session_id)
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

    def _record(
        self,
        transaction: Transaction,
        call_id: str,
        code: str,
        actor: Actor,
        session_id: str,
        patient_id: str,
        *,
        person: str | None = None,
        row_id: str | None = None,
    ) -> None:
        body: dict[str, Any] = {
            "principal": {"type": actor.type, "id": actor.id, "clinic": self.clinic_id},
            "session": {"consultation": session_id},
            "effect": {"table": code.split(".", maxsplit=1)[0] + "s", "row": row_id or session_id},
        }
        if person is not None:
            body["about"] = {"type": "Clinician", "id": person}
        transaction.record(Draft(Phase.ADMIN, code, call_id, body, (patient_id,)))


def _check_move(present: str, wanted: Status) -> None:
    if wanted not in MOVES[Status(present)]:
        raise Conflict(f"A consultation that is {present} cannot become {wanted}.", code="illegal_transition")


def _check_text(name: str, value: str) -> None:
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT:
        raise InvalidArguments(f"The {name} must be a text of 1 to {MAX_TEXT} characters.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise InvalidArguments(f"The {name} must be valid Unicode text.") from exc
    if "\x00" in value:
        raise InvalidArguments(f"The {name} must not hold a NUL character.")
