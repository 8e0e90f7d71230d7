"""A hold: nothing is purged or erased while somebody may still need it, e.g. for a claim in court (GDPR 17(3)(e))."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Connection, select

from clinic_mcp.audit.event import Phase
from clinic_mcp.audit.models import events
from clinic_mcp.core.errors import Conflict

ON, OFF = "audit.held", "audit.released"
CODES = (ON, OFF)


class Reason(StrEnum):
    """Why the log is held, or no longer is."""

    LITIGATION = "litigation"
    INVESTIGATION = "investigation"
    REGULATOR = "regulator"
    INCIDENT = "incident"
    OVER = "over"


def is_on(connection: Connection, after: int = 0) -> bool:
    """Whether the log is held: what the newest event about it says.

    Args:
        connection: An open transaction.
        after: Look only at events with a higher number, where it was not held before.
    """
    said = select(events.c.code).where(events.c.id > after, events.c.phase == Phase.ADMIN, events.c.code.in_(CODES))
    found: str | None = connection.execute(said.order_by(events.c.id.desc()).limit(1)).scalar()
    return found == ON


def refuse(connection: Connection, after: int = 0) -> None:
    """Stop here if the log is held.

    Args:
        connection: An open transaction.
        after: As for `is_on`.

    Raises:
        Conflict: It is.
    """
    if is_on(connection, after):
        raise Conflict(
            "The log is on hold: nothing may be purged or erased.",
            "`clinic-mcp audit hold off --reason over` ends it, once nobody needs it any more.",
        )
