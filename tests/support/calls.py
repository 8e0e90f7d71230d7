"""The audit expectation of every tool: who may call it rightly, with what, and what is off limits.

A tool without a row here fails `tests/core/test_registration.py` and the matrix.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clinic_mcp.audit.event import Draft, Phase, Writer, uuid7
from clinic_mcp.audit.log import AuditLog
from sqlalchemy import text

from support.clinic import Clinic

NOTES = "Paracetamol 500mg three times daily for 3 days"
PRESCRIPTION = "Paracetamol 500mg three times daily for 3 days"

INTENT = ("intent", "call.allowed")
DONE = ("outcome", "call.ok")
REFUSED = ("decision", "call.refused")
STRANGER = ("unauthenticated", "call.unauthenticated")
GATE = ("unauthenticated", "http.unauthenticated")


@dataclass(frozen=True)
class Expectation:
    """How one tool is called in the matrix.

    Args:
        server: Its server.
        agent: The agent that may call it in its own signed-off consultation; for a tool of people's, one that may not.
        wrong_agent: An agent that may not; for a tool of people's, a person.
        person: Who may call it, where it is people's.
        own: Arguments about the caller's own consultation and patient.
        foreign: Arguments about somebody else's record, one that exists and one that does not; none where the
            arguments name no patient's record.
        deny: The policies that refuse the foreign record, at least.
        patients: Whether the call is about a patient: `asked` about, only `answered` with, or not at all.
        about: Which one.
        writes: The table a right call writes a row in.
        canary: Arguments with a marker in every free text.
    """

    server: str
    agent: str
    wrong_agent: str
    own: Callable[[Clinic, str], dict[str, Any]]
    foreign: Callable[[Clinic], tuple[dict[str, Any], dict[str, Any]]] | None
    deny: str | None
    patients: str | None
    writes: str | None
    canary: Callable[[str, str], dict[str, Any]]
    person: str | None = None
    about: str = "P001"

    def right(self, clinic: Clinic, session: str, **changes: Any) -> str:
        """A credential that may make the call."""
        if self.person is not None:
            return clinic.tokens.person(self.person, self.server, **changes)
        return clinic.tokens.grant(session, self.agent, audience=self.server, **changes)

    def wrong(self, clinic: Clinic, session: str) -> str:
        """A valid credential that may not."""
        if self.person is not None:
            return clinic.tokens.person(self.wrong_agent, self.server)
        return clinic.tokens.grant(session, self.wrong_agent, audience=self.server)


def _patients(_clinic: Clinic) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"patient_id": "P002"}, {"patient_id": "P999"}


def _sessions(clinic: Clinic) -> tuple[dict[str, Any], dict[str, Any]]:
    other = clinic.consult("P002", notes=NOTES)
    return (
        {"session_id": other, "prescription": PRESCRIPTION},
        {"session_id": "C-ffffffffffffffff", "prescription": PRESCRIPTION},
    )


def _consultations_of_strangers(clinic: Clinic, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    other = clinic.consult("P005")  # dr-osei is not on that care team
    return {"session_id": other, **more}, {"session_id": "C-ffffffffffffffff", **more}


_PRESCRIPTION = text(
    "INSERT INTO prescriptions (id, clinic_id, consultation_id, sign_off_id, patient_id, text, text_sha256, status,"
    " intent, items, findings, result, recorded, call_id) SELECT :id, 'main', consultation_id, id, 'P001', :text, '',"
    " 'active', 'order', 'paracetamol-500', '[]', '', '2026-11-22T10:00:00.000Z', :call FROM sign_offs"
    " WHERE consultation_id = :session"
)


def _prescribed(clinic: Clinic, session: str) -> str:
    """An active prescription of paracetamol, with the event that explains it; its id."""
    name, call_id = f"RX-{secrets.token_hex(6)}", uuid7()
    with clinic.database() as database:
        log = AuditLog(database, Writer("test", "main", "clinic-mcp/main"), announce=False)
        with log.transaction() as transaction:
            values = {"id": name, "text": PRESCRIPTION, "call": call_id, "session": session}
            transaction.connection.execute(_PRESCRIPTION, values)
            effect = {"effect": {"table": "prescriptions", "row": name, "kind": "insert"}}
            transaction.record(Draft(Phase.ADMIN, "test.prescribed", call_id, effect))
        log.close()
    return name


REASON = {"reason_code": "no-alternative", "reason": "Nothing else is at hand here"}
_record = Expectation(
    server="patient-records",
    agent="intake_agent",
    wrong_agent="prescription_agent",
    own=lambda _clinic, _session: {"patient_id": "P001"},
    foreign=_patients,
    deny="no-other-patient",
    patients="asked",
    writes=None,
    canary=lambda _session, marker: {"patient_id": marker},
)

EXPECTED: dict[str, Expectation] = {
    "get_patient_record": _record,
    "get_medical_history": _record,
    "search_knowledge_base": Expectation(
        server="knowledge-base",
        agent="intake_agent",
        wrong_agent="visiting_agent",
        own=lambda _clinic, _session: {"query": "fever in adults"},
        foreign=None,
        deny=None,
        patients=None,
        writes=None,
        canary=lambda _session, marker: {"query": f"fever {marker}"},
    ),
    "check_pharmacy_inventory": Expectation(
        server="pharmacy",
        agent="prescription_agent",
        wrong_agent="visiting_agent",
        own=lambda _clinic, _session: {"medication_name": "Paracetamol 500mg"},
        foreign=None,
        deny=None,
        patients=None,
        writes=None,
        canary=lambda _session, marker: {"medication_name": marker},
    ),
    "record_prescription": Expectation(
        server="prescriptions",
        agent="prescription_agent",
        wrong_agent="intake_agent",
        own=lambda _clinic, session: {"session_id": session, "prescription": PRESCRIPTION},
        foreign=_sessions,
        deny="no-other-consultation",
        patients="asked",
        writes="prescriptions",
        canary=lambda session, marker: {"session_id": session, "prescription": f"Paracetamol 500mg {marker}"},
    ),
}

EXPECTED |= {
    "find_patients": Expectation(
        server="patient-records",
        agent="intake_agent",
        person="dr-osei",
        wrong_agent="pharm-rossi",
        own=lambda _clinic, _session: {"name": "Alice", "birth_date": "1985-03-12"},
        foreign=None,
        deny=None,
        patients="answered",
        writes=None,
        canary=lambda _session, marker: {"name": marker, "birth_date": "1985-03-12"},
    ),
    "request_emergency_access": Expectation(
        server="patient-records",
        agent="intake_agent",
        person="dr-lindqvist",
        wrong_agent="nurse-adeyemi",
        own=lambda _clinic, session: {
            "patient_id": "P002",
            "reason_code": "unconscious",
            "reason": f"Found on the street, {session}",
        },
        foreign=None,
        deny=None,
        patients="asked",
        about="P002",
        writes="emergency_access",
        canary=lambda _session, marker: {
            "patient_id": "P002",
            "reason_code": "unconscious",
            "reason": f"Found here, {marker}",
        },
    ),
    "receive_stock": Expectation(
        server="pharmacy",
        agent="prescription_agent",
        person="pharm-rossi",
        wrong_agent="dr-osei",
        own=lambda _clinic, session: {
            "medication_name": "Paracetamol 500mg",
            "quantity": 100,
            "lot": session,
            "expires": "2099-01-31",
        },
        foreign=None,
        deny=None,
        patients=None,
        writes="stock_entries",
        canary=lambda _session, marker: {
            "medication_name": f"Paracetamol {marker}",
            "quantity": 1,
            "lot": marker,
            "expires": "2099-01-31",
        },
    ),
    "dispense_medication": Expectation(
        server="pharmacy",
        agent="prescription_agent",
        person="pharm-rossi",
        wrong_agent="dr-osei",
        own=lambda clinic, session: {
            "medication_name": "Paracetamol 500mg",
            "quantity": 9,
            "prescription_id": _prescribed(clinic, session),
        },
        foreign=None,
        deny=None,
        patients="asked",
        writes="stock_entries",
        canary=lambda _session, marker: {
            "medication_name": marker,
            "quantity": 9,
            "prescription_id": "RX-ffffffffffff",
        },
    ),
    "list_my_consultations": Expectation(
        server="desk",
        agent="intake_agent",
        person="dr-osei",
        wrong_agent="pharm-rossi",
        own=lambda _clinic, _session: {},
        foreign=None,
        deny=None,
        patients="answered",
        writes=None,
        canary=lambda _session, marker: {marker: marker},
    ),
    "get_consultation": Expectation(
        server="desk",
        agent="intake_agent",
        person="dr-osei",
        wrong_agent="admin-kaur",
        own=lambda _clinic, session: {"session_id": session},
        foreign=_consultations_of_strangers,
        deny="default-deny",
        patients="asked",
        writes=None,
        canary=lambda _session, marker: {"session_id": marker},
    ),
    "sign_off_consultation": Expectation(
        server="desk",
        agent="prescription_agent",
        person="dr-osei",
        wrong_agent="nurse-adeyemi",
        own=lambda clinic, _session: {"session_id": clinic.consult(), "notes": NOTES},
        foreign=lambda clinic: _consultations_of_strangers(clinic, notes=NOTES),
        deny="default-deny",
        patients="asked",
        writes="sign_offs",
        canary=lambda session, marker: {"session_id": session, "notes": marker},
    ),
    "override_guardrail": Expectation(
        server="desk",
        agent="prescription_agent",
        person="dr-osei",
        wrong_agent="nurse-adeyemi",
        own=lambda _clinic, session: {
            "session_id": session,
            "guardrail": "allergy",
            "medication": "Amoxicillin 500mg",
            **REASON,
        },
        foreign=lambda clinic: _consultations_of_strangers(
            clinic, guardrail="allergy", medication="Amoxicillin 500mg", **REASON
        ),
        deny="default-deny",
        patients="asked",
        writes="guardrail_overrides",
        canary=lambda session, marker: {
            "session_id": session,
            "guardrail": "allergy",
            "medication": "Amoxicillin 500mg",
            "reason_code": "no-alternative",
            "reason": f"{marker} {marker}",
        },
    ),
    "assign_consultation": Expectation(
        server="desk",
        agent="intake_agent",
        person="admin-kaur",
        wrong_agent="dr-osei",
        own=lambda _clinic, session: {"session_id": session, "clinician_id": "dr-lindqvist"},
        foreign=None,
        deny=None,
        patients="asked",
        writes="consultations",
        canary=lambda session, marker: {"session_id": session, "clinician_id": marker},
    ),
}


def add_visiting_agent(clinic: Clinic) -> None:
    """An agent the clinic knows, with the intake agent's role, that takes part in no consultation."""
    clinic.execute(
        "INSERT INTO agents (id, clinic_id, role, active) VALUES ('visiting_agent', 'main', 'intake_agent', TRUE)"
    )
