"""Calls put on a clinic's log without a server: for tests that need many, or need one to stay open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from clinic_mcp.audit.event import Draft, Phase, Writer, uuid7
from clinic_mcp.audit.log import AuditLog

from support.clinic import Clinic

ALLOWED = {"effect": "allow", "policies": ["intake-agent-reads-its-patient"], "errors": 0}
REFUSED = {"effect": "deny", "policies": ["no-other-patient"], "errors": 0}


@contextmanager
def writing(clinic: Clinic, server: str = "patient-records") -> Iterator[AuditLog]:
    """A chain of its own in the clinic's log."""
    with clinic.database() as database:
        log = AuditLog(database, Writer(server, "main", "clinic-mcp/main"))
        try:
            yield log
        finally:
            log.close()


def intent(call_id: str, *patients: str, **body: Any) -> Draft:
    return Draft(Phase.INTENT, "call.allowed", call_id, {**_who(), "decision": ALLOWED, **body}, patients)


def outcome(call_id: str, *patients: str, **body: Any) -> Draft:
    done = {**_who(), "outcome": {"status": "ok"}, **body}
    return Draft(Phase.OUTCOME, "call.ok", call_id, done, patients)


def refusal(call_id: str, *patients: str, **body: Any) -> Draft:
    return Draft(Phase.DECISION, "call.refused", call_id, {**_who(), "decision": REFUSED, **body}, patients)


def answered(*patients: str, **body: Any) -> Sequence[Draft]:
    """The events of a call that was answered."""
    call_id = uuid7()
    return intent(call_id, *patients, **body), outcome(call_id, *patients, **body)


def _who() -> dict[str, Any]:
    return {
        "principal": {"type": "Clinician", "id": "dr-osei", "roles": ["physician"], "clinic": "main"},
        "call": {"server": "patient-records", "tool": "get_patient_record"},
        "network": {"transport": "http", "peer": "127.0.0.1"},
    }
