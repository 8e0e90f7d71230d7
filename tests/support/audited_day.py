"""A day at a clinic, for whoever reads its log afterwards: work, refusals, a broken glass, an override, a stranger."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from support.calls import NOTES
from support.clinic import Clinic
from support.servers import Caller, connected

REASON = "Found on the street, does not answer"
GLASS = {"patient_id": "P002", "reason_code": "unconscious", "reason": REASON}


@dataclass(frozen=True)
class Day:
    """What happened.

    Args:
        clinic: Where; its log is sequenced and signed.
        session: The consultation about P001.
    """

    clinic: Clinic
    session: str

    def call_of(self, condition: str) -> str:
        """The id of the newest call of which an event meets an SQL condition."""
        rows = self.clinic.execute(f"SELECT call_id FROM audit_events WHERE {condition} ORDER BY id DESC LIMIT 1")  # noqa: S608
        return str(rows[0]["call_id"])

    def item(self, kind: str) -> str:
        """The review item of that kind."""
        return str(self.clinic.execute("SELECT id FROM review_items WHERE kind = ?", kind)[0]["id"])


def spend(clinic: Clinic) -> Day:
    """Spend a day at a clinic."""
    with ExitStack() as stack:
        servers: dict[str, Caller] = {
            name: stack.enter_context(connected(clinic, name, "stdio"))
            for name in ("patient-records", "prescriptions", "desk")
        }

        def call(server: str, tool: str, arguments: dict[str, Any], token: str | None, code: str = "ok") -> None:
            assert servers[server].call(tool, arguments, token).code == code

        session = clinic.consult("P001", notes=NOTES)
        intake = clinic.tokens.grant(session, "intake_agent", audience="patient-records")
        record = "get_patient_record"
        call("patient-records", record, {"patient_id": "P001"}, intake)
        call("patient-records", "get_medical_history", {"patient_id": "P001"}, intake)
        call("patient-records", record, {"patient_id": "P002"}, intake, "refused")
        call("patient-records", record, {"patient_id": "P001"}, None, "unauthenticated")
        osei, lindqvist = (clinic.tokens.person(who, "patient-records") for who in ("dr-osei", "dr-lindqvist"))
        call("patient-records", "find_patients", {"name": "Bob", "birth_date": "1972-07-28"}, osei)
        call("patient-records", record, {"patient_id": "P002"}, lindqvist, "refused")
        call("patient-records", "request_emergency_access", GLASS, lindqvist)
        call("patient-records", record, {"patient_id": "P002"}, lindqvist)
        override = {
            "session_id": session,
            "guardrail": "allergy",
            "medication": "Amoxicillin 500mg",
            "reason_code": "tolerated-before",
            "reason": "Took it in 2024 without a reaction",
        }
        call("desk", "override_guardrail", override, clinic.tokens.person("dr-osei", "desk"))
        agent = clinic.tokens.grant(session, "prescription_agent", audience="prescriptions")
        call("prescriptions", "record_prescription", {"session_id": session, "prescription": NOTES}, agent)
    clinic.run("audit", "sequence")
    return Day(clinic, session)
