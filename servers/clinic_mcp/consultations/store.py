"""Consultations and their states: who is consulting about whom, and who signed off.

intake → awaiting_doctor ⇄ clarifying → prescribing → complete, or emergency. A clinician may sign off as soon as a
consultation is open. Every change is on the audit log in the transaction that makes it.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from clinic_mcp.audit.event import Draft, Phase, uuid7
from clinic_mcp.audit.log import AuditLog, Transaction
from clinic_mcp.consultations import rows
from clinic_mcp.consultations.sign_off import sign
from clinic_mcp.core.clinic import Status, clarifications, consultations, now
from clinic_mcp.core.errors import Conflict, Refused
from clinic_mcp.core.postgres import hold


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
        rows.check_text("symptoms", symptoms)
        if "\x00" in patient_id:  # PostgreSQL takes no NUL, not even to look for one
            raise Refused("There is no such patient at this clinic.")
        with self.log.transaction() as transaction:
            known = transaction.connection.execute(
                select(rows.patients.c.id).where(
                    rows.patients.c.id == patient_id, rows.patients.c.clinic_id == self.clinic_id
                )
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
                    "agent_ids": " ".join(rows.AGENTS),
                    "opened_at": now(),
                    "call_id": call_id,
                },
            )
            self._record(transaction, call_id, "consultation.opened", actor, session_id, patient_id)
            return rows.view(transaction.connection, self.clinic_id, session_id)

    def show(self, connection: Connection, session_id: str) -> dict[str, Any]:
        """A consultation as its participants see it.

        Raises:
            Refused: There is none of that id at this clinic.
        """
        rows.one(connection, self.clinic_id, session_id)
        return rows.view(connection, self.clinic_id, session_id)

    def assign(self, actor: Actor, session_id: str, clinician_id: str) -> dict[str, Any]:
        """Assign a physician to an open consultation.

        Raises:
            Refused: No such consultation or physician.
            Conflict: It is closed.
        """
        with self.log.transaction() as transaction:
            row = rows.opened(transaction.connection, self.clinic_id, session_id)
            call_id = uuid7()
            rows.assign(transaction.connection, self.clinic_id, session_id, clinician_id, call_id)
            self._record(
                transaction, call_id, "consultation.assigned", actor, session_id, row.patient_id, person=clinician_id
            )
            return rows.view(transaction.connection, self.clinic_id, session_id)

    def move(self, actor: Actor, session_id: str, status: Status) -> dict[str, Any]:
        """Move a consultation to another state.

        Raises:
            Refused: No such consultation.
            Conflict: It is closed, or that state cannot follow the present one.
        """
        with self.log.transaction() as transaction:
            row = rows.opened(transaction.connection, self.clinic_id, session_id)
            if row.status != status:  # a repeat changes nothing
                rows.check_move(row.status, status)
                rows.change(transaction.connection, session_id, status=status)
                self._record(transaction, uuid7(), f"consultation.{status}", actor, session_id, row.patient_id)
            return rows.view(transaction.connection, self.clinic_id, session_id)

    def ask(self, clinician_id: str, session_id: str, question: str) -> dict[str, Any]:
        """A clinician asks the patient something.

        Raises:
            Refused: No such consultation, or the clinician does not treat this patient.
            Conflict: The consultation is closed or not waiting for the doctor.
            InvalidArguments: The question is empty or too long.
        """
        rows.check_text("question", question)
        with self.log.transaction() as transaction:
            row = rows.opened(transaction.connection, self.clinic_id, session_id)
            rows.check_treats(transaction.connection, self.clinic_id, clinician_id, row)
            rows.check_move(row.status, Status.CLARIFYING)
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
            rows.change(transaction.connection, session_id, status=Status.CLARIFYING)
            actor = Actor("Clinician", clinician_id)
            self._record(transaction, call_id, "consultation.clarifying", actor, session_id, row.patient_id)
            return rows.view(transaction.connection, self.clinic_id, session_id)

    def answer(self, actor: Actor, session_id: str, answer: str) -> dict[str, Any]:
        """The patient's answer to the open question; the consultation waits for the doctor again.

        Raises:
            Refused: No such consultation.
            Conflict: It is closed, or no question is open.
            InvalidArguments: The answer is empty or too long.
        """
        rows.check_text("answer", answer)
        with self.log.transaction() as transaction:
            row = rows.opened(transaction.connection, self.clinic_id, session_id)
            changed = transaction.connection.execute(
                update(clarifications)
                .where(clarifications.c.consultation_id == session_id, clarifications.c.answer.is_(None))
                .values(answer=answer, answered_at=now())
            ).rowcount
            if not changed:
                raise Conflict("No question is open in this consultation.")
            rows.change(transaction.connection, session_id, status=Status.AWAITING_DOCTOR)
            self._record(transaction, uuid7(), "consultation.answered", actor, session_id, row.patient_id)
            return rows.view(transaction.connection, self.clinic_id, session_id)

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
        rows.check_text("notes", notes)
        with self.log.transaction() as transaction:
            call_id = uuid7()
            signed = sign(transaction.connection, self.clinic_id, clinician_id, session_id, notes, call_id)
            if signed.new:
                self._record(
                    transaction,
                    call_id,
                    "consultation.signed_off",
                    recorded_by or Actor("Clinician", clinician_id),
                    session_id,
                    signed.patient_id,
                    person=clinician_id,
                    row_id=signed.id,
                )
            view = rows.view(transaction.connection, self.clinic_id, session_id)
            return {"sign_off_id": signed.id, **view}, signed.new

    def close(self, actor: Actor, session_id: str) -> dict[str, Any]:
        """Close a consultation: its grants end with the next call. Closing twice changes nothing.

        Raises:
            Refused: No such consultation.
        """
        with self.log.transaction() as transaction:
            hold(transaction.connection, f"consultation:{session_id}")
            row = rows.one(transaction.connection, self.clinic_id, session_id)
            if row.open:
                status = Status.EMERGENCY if row.status == Status.EMERGENCY else Status.COMPLETE
                rows.change(transaction.connection, session_id, status=status, open=False, closed_at=now())
                self._record(transaction, uuid7(), "consultation.closed", actor, session_id, row.patient_id)
            return rows.view(transaction.connection, self.clinic_id, session_id)

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
