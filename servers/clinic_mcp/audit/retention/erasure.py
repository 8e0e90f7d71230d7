"""Erasing a patient's detail: on the record in the transaction in which it goes, so that a killed one did nothing."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from clinic_mcp.audit.event import Draft, Phase, uuid7
from clinic_mcp.audit.on_record import Asking
from clinic_mcp.audit.retention import detail, hold
from clinic_mcp.audit.retention.vanish import flush, overwriting
from clinic_mcp.core.postgres import hold as lock

CODE = "audit.erased"


class Reason(StrEnum):
    """The grounds of GDPR, Article 17(1), by their letters."""

    NO_LONGER_NECESSARY = "gdpr-17-1-a"
    CONSENT_WITHDRAWN = "gdpr-17-1-b"
    OBJECTED = "gdpr-17-1-c"
    UNLAWFUL = "gdpr-17-1-d"
    LEGAL_OBLIGATION = "gdpr-17-1-e"
    OFFERED_TO_A_CHILD = "gdpr-17-1-f"


def erase(desk: Asking, patient: str | None, event_id: str | None, reason: Reason) -> dict[str, Any]:
    """Erase the detail of the calls that named a patient, or of one event.

    Args:
        desk: The clinic and its log.
        patient: The patient's id.
        event_id: Only this event's.
        reason: Why.

    Returns:
        How many bodies went, of how many events, and whether their bytes are gone from SQLite's write-ahead log.

    Raises:
        Conflict: The log is on hold.
        AuditUnavailable: It could not be recorded; nothing was erased.
    """
    with desk.log.transaction() as transaction:
        overwriting(transaction.connection)
        lock(transaction.connection, "audit.retention")
        hold.refuse(transaction.connection)
        bodies, of = detail.erase(transaction.connection, patient, event_id)
        counts = {"bodies": bodies, "events": of}
        erased = {"reason": str(reason), **counts, **({"event": event_id} if event_id else {})}
        body = {"principal": desk.principal, "erased": erased}
        transaction.record(Draft(Phase.ADMIN, CODE, uuid7(), body, (patient,) if patient else ()))
    return {**counts, "reason": str(reason), "flushed": flush(desk.database)}
