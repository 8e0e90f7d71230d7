"""The audit expectation of every tool: who may call it rightly, with what, and what is off limits.

A tool without a row here fails `tests/core/test_registration.py` and the matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
        agent: The agent that may call it in its own signed-off consultation.
        wrong_agent: An agent that may not.
        own: Arguments about the caller's own consultation and patient.
        foreign: Arguments about somebody else's record, one that exists and one that does not; none where the
            arguments name no patient's record.
        deny: The policies that refuse the foreign record, at least.
        patients: Whether the call is about a patient.
        writes: The table a right call writes a row in.
        canary: Arguments with a marker in every free text.
    """

    server: str
    agent: str
    wrong_agent: str
    own: Callable[[str], dict[str, Any]]
    foreign: Callable[[Clinic], tuple[dict[str, Any], dict[str, Any]]] | None
    deny: str | None
    patients: bool
    writes: str | None
    canary: Callable[[str, str], dict[str, Any]]


def _patients(_clinic: Clinic) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"patient_id": "P002"}, {"patient_id": "P999"}


def _sessions(clinic: Clinic) -> tuple[dict[str, Any], dict[str, Any]]:
    other = clinic.consult("P002", notes=NOTES)
    return (
        {"session_id": other, "prescription": PRESCRIPTION},
        {"session_id": "C-ffffffffffffffff", "prescription": PRESCRIPTION},
    )


_record = Expectation(
    server="patient-records",
    agent="intake_agent",
    wrong_agent="prescription_agent",
    own=lambda _session: {"patient_id": "P001"},
    foreign=_patients,
    deny="no-other-patient",
    patients=True,
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
        own=lambda _session: {"query": "fever in adults"},
        foreign=None,
        deny=None,
        patients=False,
        writes=None,
        canary=lambda _session, marker: {"query": f"fever {marker}"},
    ),
    "check_pharmacy_inventory": Expectation(
        server="pharmacy",
        agent="prescription_agent",
        wrong_agent="visiting_agent",
        own=lambda _session: {"medication_name": "Paracetamol 500mg"},
        foreign=None,
        deny=None,
        patients=False,
        writes=None,
        canary=lambda _session, marker: {"medication_name": marker},
    ),
    "record_prescription": Expectation(
        server="prescriptions",
        agent="prescription_agent",
        wrong_agent="intake_agent",
        own=lambda session: {"session_id": session, "prescription": PRESCRIPTION},
        foreign=_sessions,
        deny="no-other-consultation",
        patients=True,
        writes="prescriptions",
        canary=lambda session, marker: {"session_id": session, "prescription": f"Paracetamol 500mg {marker}"},
    ),
}


def add_visiting_agent(clinic: Clinic) -> None:
    """An agent the clinic knows, with the intake agent's role, that takes part in no consultation."""
    clinic.execute(
        "INSERT INTO agents (id, clinic_id, role, active) VALUES ('visiting_agent', 'main', 'intake_agent', 1)"
    )
